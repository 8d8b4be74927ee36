"""A small set of drawn photos in class folders, and a model trained on it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from indexer.core.home import Home
from indexer.training.options import TrainingOptions
from indexer.training.train import TrainReport, train

KINDS = ("disc", "square", "stripes")


def draw(kind: str, seed: int) -> Image.Image:
    """One photo: a shape of some colour, size and place on a light ground."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    image = Image.new("RGB", (120, 100), tuple(int(value) for value in rng.integers(200, 256, 3)))
    pen, colour = ImageDraw.Draw(image), tuple(int(value) for value in rng.integers(0, 160, 3))
    left, top, side = (
        int(rng.integers(5, 25)),
        int(rng.integers(5, 20)),
        int(rng.integers(50, 70)),
    )
    if kind == "disc":
        pen.ellipse((left, top, left + side, top + side), fill=colour)
    elif kind == "square":
        pen.rectangle((left, top, left + side, top + side), fill=colour)
    else:
        for step in range(0, side, 12):
            pen.rectangle((left, top + step, left + side, top + step + 5), fill=colour)
    return image


def copy_home(template: Home, folder: Path) -> Home:
    """A home of a test's own, as ``template`` was made once for all."""
    return Home(shutil.copytree(template.path, folder / "home"))


def move_to_other_disk(home: Home, disk: Path, name: str) -> None:
    """A folder of a home at another place, to which a link leads."""
    shutil.move(home.path / name, disk / f"disk-{name}")
    (home.path / name).symlink_to(disk / f"disk-{name}")


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 products in three class folders, without splits, one of them no image at all."""
    folder = tmp_path_factory.mktemp("shapes")
    for kind in KINDS:
        (folder / kind).mkdir()
        for number in range(10):
            draw(kind, number).save(folder / kind / f"{number}.png")
    (folder / "disc" / "text.jpg").write_text("not a photo")
    return folder


@pytest.fixture(scope="session")
def few_shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 photos to train on, 6 to validate and 3 to test, for recipes that take long."""
    folder = tmp_path_factory.mktemp("few")
    for kind in KINDS:
        for number in range(7):
            split = "train" if number < 4 else "validation" if number < 6 else "test"
            (folder / split / kind).mkdir(parents=True, exist_ok=True)
            draw(kind, number).save(folder / split / kind / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def feature_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def trained(
    shapes: Path, feature_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainReport:
    out = tmp_path_factory.mktemp("trained") / "model"
    return train(
        shapes,
        out,
        TrainingOptions(epochs=8, batch_size=16, seed=1, device="cpu", cache=feature_cache),
    )
