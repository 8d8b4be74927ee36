"""Floors, weights, percentiles and advice: what stands round the measures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from indexer.core.errors import BadDataError, BadSettingsError
from indexer.quality.assess import assess_quality
from indexer.quality.findings import FINDINGS
from indexer.quality.profiles import MARKETPLACE, PROFILES, STUDIO, overall, profile
from indexer.quality.shop_percentiles import ShopQuality


def photo(shade: int = 90, side: int = 224) -> np.ndarray:
    pixels = np.full((side, side, 3), 240, np.uint8)
    pixels[side // 6 : -side // 6, side // 6 : -side // 6] = (shade, 60, 70)
    return pixels


def test_profiles_ask_for_every_code_in_rising_floors() -> None:
    for asked in PROFILES.values():
        assert tuple(asked.floors) == FINDINGS.names()
        for floors in asked.floors.values():
            assert 0 < floors.note <= floors.warning <= floors.fail
            assert 0 < floors.weight <= 1


def test_marketplace_catches_every_photo_of_224_px() -> None:
    """However large the product is in 224 px, its resolution is a warning; 1200 px of product are
    fine."""
    filled = np.full((224, 224, 3), 255, np.uint8)
    filled[1:-1, 1:-1] = (60, 60, 90)
    for pixels in (filled, photo(), np.full((224, 224, 3), 255, np.uint8)):
        found = {f.code: f for f in assess_quality(pixels, profile=MARKETPLACE)}
        assert found["low-resolution"].level == "fail"
    fine = {
        f.code: f for f in assess_quality(photo(side=512), size=(2400, 2400), profile=MARKETPLACE)
    }
    assert fine["low-resolution"].level == "ok"


def test_floors_can_be_set_and_leave_the_scores() -> None:
    """A changed floor changes the level of its own code and no score."""
    strict = profile("studio", {"low-resolution": {"note": 0.0, "warning": 0.0, "fail": 0.0}})
    usual = profile("studio")
    before, after = assess_quality(photo(), profile=usual), assess_quality(photo(), profile=strict)
    assert [f.score for f in before] == [f.score for f in after]
    assert {f.code for f, g in zip(before, after, strict=True) if f.level != g.level} <= {
        "low-resolution"
    }
    assert profile("studio", {"blurred": {"warning": 0.6}}).floors["blurred"].warning == 0.6
    assert STUDIO.floors["blurred"].warning != 0.6


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("catwalk", {}, "catwalk"),
        ("studio", {"blurry": {"note": 0.1}}, "blurry"),
        ("studio", {"blurred": {"flor": 0.1}}, "flor"),
        ("studio", {"blurred": {"note": "high"}}, "high"),
        ("studio", {"blurred": {"note": float("nan")}}, "nan"),
        ("studio", {"blurred": {"note": 0.9, "warning": 0.1}}, "rise"),
        ("studio", {"blurred": {"weight": 3}}, "weight"),
        ("studio", {"blurred": 0.5}, "blurred"),
    ],
)
def test_bad_floors_are_refused_by_name(name: str, changes: dict, named: str) -> None:
    with pytest.raises(BadSettingsError, match=named):
        profile(name, changes)


def test_overall_falls_with_what_is_found() -> None:
    """Nothing above a note is 1; a failure of full weight is 0; a weight of 0 makes a finding count
    for nothing."""
    findings = assess_quality(photo(), profile=STUDIO)
    lenient = profile(
        "studio", {code: {"note": 2, "warning": 2, "fail": 2} for code in FINDINGS.names()}
    )
    assert overall(findings, lenient) == 1.0
    assert overall(findings, STUDIO) == 0.0  # 149 px of product
    no_pixels = profile("studio", {"low-resolution": {"weight": 0}})
    assert overall(findings, no_pixels) > 0.5


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


def test_advice_stands_in_both_languages_for_every_code() -> None:
    """One sentence each, no number left unfilled, Chinese in Chinese characters."""
    for finding in assess_quality(photo()):
        english, chinese = finding.advice["en"], finding.advice["zh"]
        assert english.endswith(".")
        assert chinese.endswith("。")
        assert "{" not in english + chinese
        assert any("一" <= letter <= "鿿" for letter in chinese)
    said = FINDINGS["low-resolution"].advice.fill({"longer_side": 180.0})
    assert said["en"].startswith("The product is 180 px on its longer side")
