"""The benchmark ``objects`` in small: scenes are seeded with true boxes, figures are shares of what
they name."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tools.bench.data.scenes import GROUNDS, cut_out, scene
from tools.bench.objects import summary


def studio() -> np.ndarray:
    """A red disc with a white middle on a white ground, 200 px; its box is 40, 60, 121 x 81."""
    image = Image.new("RGB", (200, 200), "white")
    pen = ImageDraw.Draw(image)
    pen.ellipse((40, 60, 160, 140), fill=(200, 20, 30))
    pen.ellipse((90, 90, 110, 110), fill="white")
    return np.asarray(image)


def test_a_cutout_is_the_product_alone() -> None:
    """Its box is tight, what is white within belongs to it, the ground does not; an empty photo has
    none."""
    found = cut_out(studio())
    assert found is not None
    assert found.alpha.shape == (81, 121)
    assert found.alpha[40, 60] == 1
    assert found.alpha[0, 0] == 0
    assert cut_out(np.full((200, 200, 3), 255, np.uint8)) is None


@pytest.mark.parametrize("seed", range(6))
def test_a_scene_is_seeded_and_its_boxes_are_true(seed: int) -> None:
    """The same seed gives the same scene; in each box lies the product that was pasted there, apart
    from others."""
    cutout = cut_out(studio())
    assert cutout is not None
    grounds = [np.full((300, 400, 3), shade, np.uint8) for shade in (60, 160)]
    shown, again = (scene([cutout] * 4, grounds, seed) for _ in range(2))
    np.testing.assert_array_equal(shown.pixels, again.pixels)
    assert shown.pasted == again.pasted
    assert shown.ground == GROUNDS[seed % 3]
    assert 1 <= len(shown.pasted) <= 3
    red = (shown.pixels[..., 0].astype(int) - shown.pixels[..., 1]) > 120
    inside = np.zeros_like(red)
    for pasted in shown.pasted:
        x, y, w, h = pasted.box
        inside[y : y + h, x : x + w] = True
        assert red[y : y + h, x : x + w].mean() > 0.5
    assert not red[~inside].any()


def test_figures_are_shares_over_products_and_boxes() -> None:
    """Recall counts products, precision boxes, whatever the scene."""
    hits = {
        f"{what} {how}": [True, False]
        for what in ("category", "product")
        for how in ("proposed", "true", "whole")
    }
    one = {
        **hits,
        "iou": [0.9, 0.2],
        "found": [True, False],
        "right": [True, False, False],
        "offered": [True] * 2,
        "one box": [],
    }
    other = {
        **hits,
        "iou": [0.7, 0.6],
        "found": [True, True],
        "right": [True],
        "offered": [True, False],
        "one box": [False],
    }
    found = summary([one, other])
    assert (found["recall"], found["precision"], found["mean_iou"]) == (
        0.75,
        0.5,
        pytest.approx(0.6),
    )
    assert found["product@1 proposed"] == 0.5
    assert (found["recall offered"], found["recall one box"]) == (0.75, 0.0)
    assert summary([])["recall"] == 0.0
