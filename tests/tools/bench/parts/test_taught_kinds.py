"""Models of some kinds alone: a ready one is opened, the split asked is one of two, intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.core.errors import BadRequestError
from tools.bench.parts import taught_kinds
from tools.bench.parts.taught_kinds import asked_split, fit_classes, paired_interval


def test_a_ready_model_is_opened_whatever_the_order_of_its_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALENS_BENCH_MODELS", str(tmp_path))
    monkeypatch.setattr(taught_kinds, "load_bundle", lambda path: path.name)
    (tmp_path / "taught-hat-shirt").mkdir()
    problem: Any = None
    found: Any = fit_classes(tmp_path / "work", problem, ["shirt", "hat"])
    assert found == "taught-hat-shirt"


def test_the_photos_asked_are_of_the_test_or_the_validation_split(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert asked_split() == "test"
    monkeypatch.setenv("CATALENS_BENCH_SPLIT", "train")
    with pytest.raises(BadRequestError, match="test or validation, not 'train'"):
        asked_split()


def test_what_was_asked_about_one_photo_is_drawn_together() -> None:
    """A hundred draws of two photos know as much as one draw."""
    gains = np.array([1.0, -1.0])
    assert paired_interval(["a", "b"], gains) == [-1, 1]
    assert paired_interval(["a", "b"] * 100, np.tile(gains, 100)) == [-1, 1]
    low, high = paired_interval(list(map(str, range(200))), np.tile(gains, 100))
    assert -0.2 < low < 0 < high < 0.2
