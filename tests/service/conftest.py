"""A tiny real shop for the service's tests: drawn products, the shipped network with a category
head, a built index."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from indexer.core.home import Home
from indexer.core.native import torch
from indexer.feeds.importer import import_feed
from indexer.imaging.decode import decode_photo
from indexer.index_build.pipeline import build_index
from indexer.model import backbones
from indexer.model.bundle import Bundle, write_bundle
from indexer.model.decision_layer import Category, Decision, TagParams
from indexer.model.network import Network
from indexer.model.open_runtime import open_embedder
from indexer.model.registry import pretrained, register_model
from indexer.model.spec import Head
from service.app import create_app
from service.engine import Engine
from service.settings import Settings
from tests.conftest import build_once

KINDS = ("ring", "stripes", "cross", "dots")
COLOURS = {
    "red": (200, 40, 40),
    "green": (40, 150, 60),
    "blue": (40, 70, 200),
    "black": (25, 25, 25),
    "tan": (200, 160, 110),
}
# Ids that routing, URLs and SQL may stumble over; the rest are plain.
ODD_IDS = {
    ("ring", "red"): "a/similar",
    ("ring", "green"): "shop:7",
    ("cross", "blue"): "红色 连衣裙/1",
    ("dots", "tan"): "50%2Foff?#",
}


def draw(
    kind: str, colour: tuple[int, int, int], *, turn: float = 0.0, size: int = 160
) -> Image.Image:
    """One product photo: ``kind`` in ``colour`` on white, turned by ``turn`` degrees."""
    image = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(image)
    unit = size / 16
    if kind == "ring":
        pen.ellipse((3 * unit, 3 * unit, 13 * unit, 13 * unit), outline=colour, width=int(2 * unit))
    elif kind == "stripes":
        for row in range(3, 13, 2):
            pen.rectangle((3 * unit, row * unit, 13 * unit, (row + 1) * unit), fill=colour)
    elif kind == "cross":
        pen.rectangle((7 * unit, 2 * unit, 9 * unit, 14 * unit), fill=colour)
        pen.rectangle((2 * unit, 7 * unit, 14 * unit, 9 * unit), fill=colour)
    else:
        for x in range(3, 14, 3):
            for y in range(3, 14, 3):
                pen.ellipse(
                    ((x - 1) * unit, (y - 1) * unit, (x + 1) * unit, (y + 1) * unit), fill=colour
                )
    return image.rotate(turn, fillcolor="white", resample=Image.Resampling.BILINEAR)


def encode(image: Image.Image, format: str = "PNG") -> bytes:
    """The picture as file bytes."""
    stream = io.BytesIO()
    image.save(stream, format)
    return stream.getvalue()


def photo(kind: str, colour: str, *, turn: float = 0.0) -> bytes:
    """The bytes of a product's photo; ``turn=0`` is byte for byte the first photo in the shop."""
    return encode(draw(kind, COLOURS[colour], turn=turn))


def product_id(kind: str, colour: str) -> str:
    return ODD_IDS.get((kind, colour), f"{kind}-{colour}")


def _mean(vectors: list[np.ndarray]) -> np.ndarray:
    mean = np.concatenate(vectors).mean(axis=0)
    return mean / np.linalg.norm(mean)


def _labelled(home: Home) -> Bundle:
    """The shipped network with heads of class means, for the category and the colour: a real
    classifier without training."""
    bare = pretrained(home)
    embedder = open_embedder(bare)
    vectors = {
        (kind, colour): embedder.embed(
            [decode_photo(photo(kind, colour, turn=turn)) for turn in (0, 12)]
        )
        for kind in KINDS
        for colour in COLOURS
    }
    kinds = [_mean([vectors[kind, colour] for colour in COLOURS]) for kind in KINDS]
    colours = [_mean([vectors[kind, colour] for kind in KINDS]) for colour in COLOURS]
    heads = (
        Head("category", tuple(range(len(kinds))), several=False),
        Head("colour", tuple(range(len(colours))), several=False),
    )
    spec = dataclasses.replace(bare.spec, heads=heads)
    network = Network(spec, backbones.build(bare.spec.backbone))
    with torch.no_grad():
        for linear, means in zip(network.heads.linear, (kinds, colours), strict=True):
            linear.weight.copy_(torch.from_numpy(np.stack(means).astype(np.float32)))
            linear.bias.zero_()
    decision = Decision(
        categories=tuple(Category(i, ("Shapes", kind)) for i, kind in enumerate(KINDS)),
        temperature=0.2,
        attributes={"colour": tuple(COLOURS)},
        attribute_temperatures={"colour": 0.2},
        tags=TagParams(k=5, temperature=0.05, threshold=0.3),
    )
    aside = home.path / "labelled"
    write_bundle(aside, network, decision, metrics={}, training={"recipe": "class means"})
    bundle = register_model(home, aside)
    shutil.rmtree(aside)
    shutil.rmtree(bare.path)
    return bundle


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with 20 products of two photos each, a labelled model and an active index. Copy it,
    never write to it."""
    return build_once(tmp_path_factory, "shop", build_shop) / "home"


def build_shop(folder: Path) -> None:
    """Make ``home`` below ``folder``, with the shop's data beside it."""
    data = folder / "data"
    data.mkdir()
    with (data / "products.jsonl").open("w", encoding="utf-8") as manifest:
        for kind in KINDS:
            for colour in COLOURS:
                for turn in (0, 12):
                    name = f"{kind}-{colour}-{turn}.png"
                    (data / name).write_bytes(photo(kind, colour, turn=turn))
                    row = {
                        "product_id": product_id(kind, colour),
                        "image": name,
                        "title": f"{colour} {kind}",
                        "category": f"Shapes > {kind}",
                        "tags": [kind, colour],
                        "colour": colour,
                    }
                    manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
    home = Home.create(folder / "home")
    report = import_feed(home, data)
    assert (report.added, report.skipped) == (20, [])
    build_index(home, bundle=_labelled(home), activate=True)


@pytest.fixture(scope="session")
def shop(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine over a copy of the template that no test writes to."""
    home = tmp_path_factory.mktemp("shop") / "home"
    shutil.copytree(template, home)
    with Engine(Settings(home=home), watch=False) as engine:
        yield engine


@pytest.fixture
def own_home(template: Path, tmp_path: Path) -> Path:
    """A copy of the template for one test."""
    shutil.copytree(template, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def own(own_home: Path) -> Iterator[Engine]:
    """An engine that one test may write to."""
    with Engine(Settings(home=own_home), watch=False) as engine:
        yield engine


@pytest.fixture
def web(shop: Engine):  # type: ignore[no-untyped-def]
    """A client of the shop nobody writes to; every answer is checked against its schema."""
    return create_app(shop, shop.settings, check_answers=True).test_client()


@pytest.fixture
def open_web(own: Engine) -> Callable[..., object]:
    """A client of the test's own shop, with settings of its own."""

    def make(**settings: object):  # type: ignore[no-untyped-def]
        return create_app(own, own.settings.replace(**settings), check_answers=True).test_client()

    return make
