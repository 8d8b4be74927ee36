"""A tiny shop under the model of a random image and text pair that was taught three words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from indexer.core.home import Home
from indexer.core.native import torch
from indexer.feeds.importer import import_feed
from indexer.index_build.pipeline import build_index
from indexer.model.registry import register_model
from indexer.training.options import TrainingOptions
from indexer.training.train import train
from tests.indexer.model.pair_folders import NAME, SIDE, plant, random_pair

COLOURS = {"red": (220, 20, 20), "blue": (20, 20, 220), "green": (20, 200, 20)}
# Categories whose names say nothing of the colours; green was never taught.
CATEGORIES = {"red": "one", "blue": "two", "green": None}
EACH = 8


def thing(colour: str, number: int = 0) -> Image.Image:
    """A photo of the size that the network sees."""
    picture = Image.new("RGB", (SIDE, SIDE), (250, 250, 250))
    shade = tuple(value + 2 * number for value in COLOURS[colour])
    picture.paste(shade, (4 + number % 4, 2, 24, 30))
    return picture


def product_of(colour: str, number: int) -> str:
    """The id of one product."""
    return f"{colour[0]}{number}"


def write_feed(folder: Path) -> Path:
    """Photos of all colours, and a manifest whose titles hold no word for them."""
    folder.mkdir(parents=True)
    rows = []
    for colour, category in CATEGORIES.items():
        for number in range(EACH):
            product = product_of(colour, number)
            thing(colour, number).save(folder / f"{product}.png")
            row = {"product_id": product, "image": f"{product}.png", "title": f"Item {product}"}
            rows.append({**row, "category": category} if category else row)
    (folder / "products.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def make_pair_home(folder: Path) -> None:
    """Train the pair, whose words "red", "blue" and "green" mean the first photo of each, and index
    the shop: ``folder / "home"``, weights in ``folder / "weights"``."""
    feed, classes = write_feed(folder / "feed"), folder / "photos"
    for colour, category in CATEGORIES.items():
        for number in range(EACH) if category else ():
            (classes / str(category)).mkdir(parents=True, exist_ok=True)
            thing(colour, number).save(classes / str(category) / f"{number}.png")
    pair = random_pair(folder / "weights")
    shown = {name: np.asarray(thing(name), np.float32) / 255 for name in COLOURS}
    meanings = {
        name: torch.from_numpy((picture - 0.5) / 0.5).permute(2, 0, 1)
        for name, picture in shown.items()
    }
    plant(folder / "weights", pair, meanings)
    options = TrainingOptions(
        backbone=NAME,
        weights=folder / "weights",
        epochs=2,
        batch_size=8,
        device="cpu",
        look="whole",
        cache=folder / "cache",
    )
    report = train(classes, folder / "model", options)
    home = Home.create(folder / "home")
    import_feed(home, feed)
    build_index(home, bundle=register_model(home, report.model), activate=True)
