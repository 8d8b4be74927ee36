"""``catalens policy check``: what a file is made of, and its mistakes, in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.moderation.detector import DETECTORS
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
