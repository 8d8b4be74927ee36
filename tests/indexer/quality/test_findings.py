"""Finding specs: what shops and merchants rely on stays as it is."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from indexer.quality.advice_template import Advice
from indexer.quality.assess import assess_quality
from indexer.quality.findings import FINDINGS, FindingSpec, Floors, Measure

SNAPSHOT = json.loads((Path(__file__).parent / "findings.json").read_text(encoding="utf-8"))


def test_codes_floors_weights_and_advice_are_stable() -> None:
    """Codes in their order, floors and weights of both profiles, and both languages' advice are
    those of ``findings.json``: whoever changes one changes it there knowingly."""
    now = [
        {
            "code": spec.code,
            **{profile: list(astuple(floors)) for profile, floors in spec.floors.items()},
            "en": spec.advice.en,
            "zh": spec.advice.zh,
        }
        for spec in FINDINGS
    ]
    assert now == SNAPSHOT


def test_advice_takes_whole_numbers_shares_and_formats() -> None:
    """A number prints whole, with a format as that says, with a per cent sign as a share."""
    advice = Advice(en="{px} px, {px:.1f}, {share%}", zh="{px}")
    filled = advice.fill({"px": 12.34, "share": -0.256})
    assert filled == {"en": "12 px, 12.3, 26%", "zh": "12"}


def test_a_finding_needs_floors_of_every_profile() -> None:
    """A spec that leaves a profile out is refused by its code."""
    with pytest.raises(ValueError, match=r"tilted needs floors for studio, marketplace"):
        FindingSpec(
            "tilted",
            lambda photo: Measure(0.0, {}),
            floors={"studio": Floors(0.1, 0.2, 0.3)},
            advice=Advice("", ""),
        )


def test_advice_stands_in_both_languages_for_every_code() -> None:
    """One sentence each, no number left unfilled, Chinese in Chinese characters."""
    for finding in assess_quality(np.full((64, 64, 3), 128, np.uint8)):
        english, chinese = finding.advice["en"], finding.advice["zh"]
        assert english.endswith(".")
        assert chinese.endswith("。")
        assert "{" not in english + chinese
        assert any("一" <= letter <= "鿿" for letter in chinese)
    said = FINDINGS["low-resolution"].advice.fill({"longer_side": 180.0})
    assert said["en"].startswith("The product is 180 px on its longer side")
