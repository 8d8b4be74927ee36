"""Each way an emblem is worn changes what it says it changes, and only there."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from indexer.imaging.decode import decode_photo
from tools.bench.data.logos import draw_logo
from tools.bench.data.worn_emblems import WORN, worn

GREY = Image.new("RGB", (240, 320), (127, 127, 127))
BADGE = draw_logo(0)


def covered(way: str, share: float, seed: int) -> float:
    """Share of the photo that differs from plain grey."""
    pixels = np.asarray(decode_photo(worn(GREY, BADGE, way, share, seed)).pixels, np.int64)
    return float((np.abs(pixels - 127).max(2) > 24).mean())


@pytest.mark.parametrize("way", WORN)
def test_one_seed_makes_one_photo(way: str) -> None:
    """The same seed gives the same bytes, another one others."""
    assert worn(GREY, BADGE, way, 0.2, 1) == worn(GREY, BADGE, way, 0.2, 1)
    assert worn(GREY, BADGE, way, 0.2, 1) != worn(GREY, BADGE, way, 0.2, 2)


def test_the_share_is_that_of_the_whole_emblem() -> None:
    """A round badge fills pi / 4 of its square; a part of it is hidden, and slants shrink it."""
    means = {way: np.mean([covered(way, 0.2, seed) for seed in range(4)]) for way in WORN}
    whole = 0.2 * np.pi / 4
    assert means["upright"] == pytest.approx(whole, rel=0.12)
    assert means["turned"] == pytest.approx(whole, rel=0.12)
    assert 0.5 * whole < means["partial"] < 0.82 * whole
    assert 0.3 * whole < means["slanted"] < 0.9 * whole
