"""Boxes of things in a photo, and which of them are products: on drawn pictures whose boxes are
known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from indexer.imaging.geometry import iou
from indexer.imaging.object_proposals import (
    MOST,
    in_catalog_similarity,
    propose_regions,
    select_objects,
)

THINGS = {
    "disc": (60, 50, 140, 140),
    "bar": (330, 80, 90, 260),
    "tile": (120, 300, 120, 110),
}  # x, y, width, height
INK = {"disc": (170, 30, 40), "bar": (30, 60, 150), "tile": (20, 20, 20)}


def scene(ground: str) -> Image.Image:
    """Three things on a plain, a graded or a grainy ground, 480 x 440 px."""
    rng = np.random.default_rng(3)
    pixels = np.full((440, 480, 3), (228, 222, 214), np.float32)
    if ground == "graded":
        pixels -= np.linspace(0, 70, 440, dtype=np.float32)[:, None, None]
    if ground == "grainy":
        pixels += rng.normal(0, 18, (440, 480, 1))
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for name, (x, y, w, h) in THINGS.items():
        draw = pen.ellipse if name == "disc" else pen.rectangle
        draw((x, y, x + w - 1, y + h - 1), fill=INK[name])
    return image


@pytest.mark.parametrize("ground", ["plain", "graded", "grainy"])
def test_each_thing_gets_a_box(ground: str) -> None:
    """Every drawn thing is covered by one of the boxes; the last box is the whole photo."""
    boxes = propose_regions(scene(ground))
    assert len(boxes) <= MOST + 1
    assert boxes[-1] == (0, 0, 480, 440)
    for name, box in THINGS.items():
        assert max(iou(box, other) for other in boxes[:-1]) > 0.8, name


@pytest.mark.parametrize("size", [(1, 1), (5, 900), (40, 40), (640, 480)])
def test_a_photo_of_nothing_has_no_things(size: tuple[int, int]) -> None:
    """Of a plain picture of any size the whole is the only box, and nothing fails."""
    assert propose_regions(Image.new("RGB", size, (120, 130, 90))) == [(0, 0, *size)]


def test_faint_noise_is_nothing() -> None:
    """Grain alone is no thing."""
    rng = np.random.default_rng(0)
    grain = np.clip(150 + rng.normal(0, 3, (300, 300, 3)), 0, 255).astype(np.uint8)
    assert len(propose_regions(Image.fromarray(grain))) == 1


def test_boxes_like_the_catalog_are_chosen_best_first() -> None:
    """Of boxes of one thing the best is kept; what is too far from the catalog is left out;
    ``most`` is the most."""
    boxes = [
        (0, 0, 100, 100),
        (5, 5, 95, 95),
        (200, 0, 100, 100),
        (0, 200, 100, 100),
        (0, 0, 400, 400),
    ]
    closeness = np.array([0.80, 0.70, 0.90, 0.55, 0.95])
    chosen = select_objects(boxes, closeness, 0.7, limit=5)
    assert [(one.place, one.score) for one in chosen] == [(2, 0.9), (0, 0.8)]
    assert [one.place for one in select_objects(boxes, closeness, 0.7, limit=1)] == [2]


def test_a_part_is_not_chosen_beside_its_whole() -> None:
    """A print on a shirt is as alike as the shirt; the larger box is worth more, and the part is
    the same object."""
    boxes = [(40, 40, 60, 60), (0, 0, 200, 200), (0, 0, 400, 400)]
    assert [
        one.place for one in select_objects(boxes, np.array([0.82, 0.80, 0.1]), 0.7, limit=3)
    ] == [1]


@pytest.mark.parametrize(("whole", "places"), [(0.69, [1]), (0.6, [])])
def test_the_whole_photo_stands_in_where_no_part_is_alike(whole: float, places: list[int]) -> None:
    """A thing that fills the frame has no box of its own."""
    boxes = [(0, 0, 50, 50), (0, 0, 200, 200)]
    assert [
        one.place for one in select_objects(boxes, np.array([0.2, whole]), 0.7, limit=3)
    ] == places


def test_usual_is_what_nearly_all_products_reach() -> None:
    """The 2% quantile of mean cosines; nothing to compare is below everything."""
    cosines = np.linspace(0.5, 1.0, 101)[:, None].repeat(3, axis=1)
    assert in_catalog_similarity(cosines) == pytest.approx(0.51)
    assert in_catalog_similarity(np.empty((0, 3))) == -1.0
