"""``catalens policy check``: what a file is made of, and its mistakes, in one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from indexer.moderation.detector import DETECTORS
from indexer.moderation.keypoint_matching import find_library
from tests.indexer.moderation import drawn
from tools.cli import run


def test_check_says_what_a_file_is_made_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policies with detectors and photos, the version, and the detectors that cannot run here."""
    monkeypatch.setattr(DETECTORS["nudity"], "package", "no_such_package")
    text = "  flags:\n    action: review\n    gallery: {photos: banned}\n    nudity: {}\n"
    file = drawn.write(tmp_path, text, photos=2)
    assert run(["policy", "check", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["policies"] == [
        {
            "policy": "flags",
            "action": "review",
            "detectors": ["nudity", "gallery"],
            "gallery": {"photos": ["banned/0.png", "banned/1.png"], "match": ["whole", "symbol"]},
        }
    ]
    assert "no_such_package" in found["missing"]["nudity"]
    assert len(found["policy_version"]) == 64


def test_check_refuses_a_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake is exit code 1 and one line that names it."""
    file = drawn.write(tmp_path, "  a:\n    nudty: {}\n")
    assert run(["policy", "check", str(file)]) == 1
    error = capsys.readouterr().err.strip()
    assert "line 4: policies.a.nudty" in error
    assert "\n" not in error


def test_check_warns_of_patterns_that_are_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A repeat in a repeat, and what looks back or around: each by policy, section and pattern."""
    text = (
        "  codes:\n    codes: {allow_text: ['(a+)+b', 'https://shop\\.example/.*']}\n"
        "  words:\n    text: {patterns: ['we(?!b)chat']}\n"
    )
    file = drawn.write(tmp_path, text)
    assert run(["policy", "check", str(file), "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["warnings"]
    assert first.startswith("policy codes, codes: the pattern '(a+)+b' repeats what is repeated")
    assert second.startswith("policy words, text: the pattern 'we(?!b)chat' looks around or back")
    assert run(["policy", "check", str(file)]) == 0
    assert "is for a person to review" in capsys.readouterr().err


def test_check_says_what_its_detectors_cannot_find(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Limits of each detector that a policy uses: that nudity's recall was never measured."""
    file = drawn.write(tmp_path, "  bare:\n    nudity: {}\n")
    assert run(["policy", "check", str(file), "--json"]) == 0
    limits = json.loads(capsys.readouterr().out)["limits"]
    assert "never measured" in limits["nudity"]
    assert {"nudity", "gallery", "codes", "text"} <= set(limits)
    assert run(["policy", "check", str(file)]) == 0
    shown = capsys.readouterr().err
    assert f"nudity: {limits['nudity']}" in shown
    assert limits["gallery"] not in shown


def test_check_says_where_keypoints_are_of_no_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gallery of plain crosses, and a machine without the package; a crest is fine."""
    pytest.importorskip("cv2")

    def warnings(file: Path) -> list[str]:
        assert run(["policy", "check", str(file), "--json"]) == 0
        return list(json.loads(capsys.readouterr().out)["warnings"])

    file = drawn.write_crests(tmp_path, "keypoints", 2)
    assert warnings(file) == []
    cross = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(cross).rectangle((120, 40, 180, 260), fill="black")
    for number in range(2):
        cross.save(tmp_path / "banned" / f"{number}.png")
    (few,) = warnings(file)
    assert few.startswith("policy crests, gallery: 2 of 2 photos have fewer than 50 keypoints")
    monkeypatch.setitem(sys.modules, "cv2", None)
    find_library.cache_clear()
    (absent,) = warnings(file)
    find_library.cache_clear()
    assert "pip install 'catalens[emblems]' (the policy answers review)" in absent
