"""Margins: all of a part stays, in a square of bounded size."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from indexer.imaging.margins import pad_to_square


def test_squared_keeps_all_of_a_tall_box() -> None:
    """A tall part stands in the middle of a square in its edge's colour; a square one is left as it
    is."""
    tall = Image.new("RGB", (40, 100), (10, 200, 30))
    tall.paste((255, 0, 0), (10, 20, 30, 80))
    padded = np.asarray(pad_to_square(tall))
    assert padded.shape == (100, 100, 3)
    np.testing.assert_array_equal(padded[:, 30:70], np.asarray(tall))
    assert (padded[:, :30] == (10, 200, 30)).all()
    assert (padded[:, 70:] == (10, 200, 30)).all()
    square = Image.new("RGB", (30, 30))
    assert pad_to_square(square) is square


@pytest.mark.parametrize(("size", "shrunk"), [((9000, 400), (1024, 46)), ((1, 60000), (1, 1024))])
def test_a_long_thin_picture_makes_no_huge_square(
    size: tuple[int, int], shrunk: tuple[int, int]
) -> None:
    """Its square has 1024 px a side, with all of the picture in the middle."""
    picture = Image.new("RGB", size, (200, 30, 30))
    picture.paste(
        (30, 30, 200), (0, 0, max(1, size[0] // 2), max(1, size[1] // 2))
    )  # half of it, along its length
    padded = pad_to_square(picture)
    assert padded.size == (1024, 1024)
    left, top = (1024 - shrunk[0]) // 2, (1024 - shrunk[1]) // 2
    part = padded.crop((left, top, left + shrunk[0], top + shrunk[1]))
    np.testing.assert_array_equal(
        np.asarray(part), np.asarray(picture.resize(shrunk, Image.Resampling.BOX))
    )


@pytest.mark.parametrize("size", [(4800, 1300), (400, 2000), (20, 4096)])
def test_an_ordinary_picture_keeps_its_pixels_in_the_square(size: tuple[int, int]) -> None:
    """Up to four times as long as wide, or of 4096 px, no pixel is changed."""
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    padded = np.asarray(pad_to_square(Image.fromarray(noise)))
    side = max(size)
    assert padded.shape == (side, side, 3)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    np.testing.assert_array_equal(padded[top : top + size[1], left : left + size[0]], noise)
