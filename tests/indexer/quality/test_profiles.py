"""Profiles: floors, weights, what may be changed, and the overall score."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.core.errors import BadSettingsError
from indexer.quality.assess import assess_quality
from indexer.quality.findings import FINDINGS
from indexer.quality.profiles import MARKETPLACE, PROFILES, STUDIO, overall, profile


def photo(shade: int = 90, side: int = 224) -> np.ndarray:
    pixels = np.full((side, side, 3), 240, np.uint8)
    pixels[side // 6 : -side // 6, side // 6 : -side // 6] = (shade, 60, 70)
    return pixels


def test_profiles_ask_for_every_code_in_rising_floors() -> None:
    for asked in PROFILES.values():
        assert tuple(asked.floors) == FINDINGS.names()
        for floors in asked.floors.values():
            assert 0 < floors.note <= floors.warning <= floors.fail
            assert 0 <= floors.weight <= 1


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
