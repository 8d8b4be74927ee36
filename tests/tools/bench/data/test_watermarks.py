"""Watermarks lie where they say, as strong as they say, and are no horizontal band."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tools.bench.data.watermarks import WATERMARKS, watermarked

GREY = Image.new("RGB", (300, 300), (120, 120, 120))


def change(way: str, opacity: float, seed: int = 0) -> np.ndarray:
    """Per-pixel change [H, W] of plain grey."""
    marked = watermarked(GREY, way, opacity, np.random.default_rng(seed))
    return np.asarray(np.abs(np.asarray(marked, np.float32) - 120).max(2))


@pytest.mark.parametrize("way", WATERMARKS)
def test_opacity_is_the_strength(way: str) -> None:
    """At a quarter of the opacity each pixel changes by a quarter, within rounding."""
    full, faint = change(way, 1.0), change(way, 0.25)
    assert full.max() > 60
    assert np.abs(faint - full / 4).max() <= 1.5


def test_words_lie_where_they_are_said_to_lie() -> None:
    """Tilted words span a fifth of the rows, tiles all quarters, an upright line one side."""
    for seed in range(4):
        tilted, tiled, upright = (change(way, 1.0, seed) > 20 for way in WATERMARKS)
        assert tilted.any(1).sum() > 60
        assert all(tiled[rows, columns].any() for rows in QUARTERS for columns in QUARTERS)
        columns = np.flatnonzero(upright.any(0))
        assert columns[-1] - columns[0] < 60
        assert upright.any(1).sum() > 90


QUARTERS = (slice(0, 150), slice(150, 300))
