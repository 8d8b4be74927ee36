"""A shop's own percentiles: measured, stored, read back, refused when damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from indexer.core.errors import BadDataError
from indexer.quality.assess import assess_quality
from indexer.quality.shop_percentiles import ShopQuality


def photo(shade: int = 90, side: int = 224) -> np.ndarray:
    pixels = np.full((side, side, 3), 240, np.uint8)
    pixels[side // 6 : -side // 6, side // 6 : -side // 6] = (shade, 60, 70)
    return pixels


def test_percentiles_are_of_the_shops_own_photos() -> None:
    """A score above all is 1, below all 0, in the middle 0.5; stored and read back they are the
    same."""
    photos = [assess_quality(photo(side=side)) for side in range(100, 300, 4)]
    shop = ShopQuality.measured(photos)
    assert shop.photos == 50
    assert all(len(known) == 101 for known in shop.quantiles.values())
    again = ShopQuality.from_json(json.loads(json.dumps(shop.as_json())))
    assert again == shop
    middle = float(np.median([findings[1].score for findings in photos]))
    assert shop.percentile("low-resolution", 1.0) == 1.0
    assert shop.percentile("low-resolution", 0.0) == 0.0
    assert shop.percentile("low-resolution", middle) == pytest.approx(0.5, abs=0.01)
    small = {f.code: f for f in assess_quality(photo(side=100), shop=shop)}
    assert small["low-resolution"].percentile == pytest.approx(1.0, abs=0.02)
    assert all(f.percentile is None for f in assess_quality(photo()))


@pytest.mark.parametrize(
    "stored",
    [
        None,
        {"photos": 3},
        {"photos": 1, "quantiles": {"blurred": [0.1, 0.2]}},
        {"photos": 1, "quantiles": {"blurred": list(range(101))[::-1]}},
        {"photos": 1, "quantiles": {"blurred": ["x"] * 101}},
    ],
)
def test_damaged_percentiles_are_refused(stored: object) -> None:
    with pytest.raises(BadDataError):
        ShopQuality.from_json(stored)
    with pytest.raises(BadDataError):
        ShopQuality.measured([])
