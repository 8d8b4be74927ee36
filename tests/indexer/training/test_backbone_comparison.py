"""Frozen networks are compared on the same photos, and what they cost is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.core.errors import BadDataError
from indexer.training import backbone_comparison
from indexer.training.advise import frozen_runtime
from indexer.training.backbone_comparison import compare_backbones
from tests.indexer.model.timm_folders import random_folder

NAMES = ("timm:test_vit", "timm:test_convnext")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny random networks in the place of published ones, and 20 photos are enough."""
    folders = {name: random_folder(tmp_path / name[10:], name[5:]) for name in NAMES}

    def opened(name: str, **options: Any) -> Any:
        return frozen_runtime(name, **{**options, "weights": folders.get(name)})

    monkeypatch.setattr(backbone_comparison, "frozen_runtime", opened)
    monkeypatch.setattr(backbone_comparison, "LEAST_PHOTOS", 10)

    def here(row: Any) -> str | None:
        return "here" if row.name.startswith(NAMES) else None

    monkeypatch.setattr(backbone_comparison.backbones, "weights_source", here)


@pytest.mark.usefixtures("tiny")
def test_networks_are_judged_on_the_same_photos_with_what_they_cost(
    shapes: Path, tmp_path: Path
) -> None:
    """One that does not exist, or is not here, is named and left out; every other has a paired
    difference to the first, its costs, and a verdict in words."""
    found = compare_backbones(
        shapes,
        [*NAMES, "timm:no_such", "timm:test_efficientnet"],
        device="cpu",
        cache=tmp_path / "cache",
    )
    assert [score.backbone for score in found.scores] == list(NAMES)
    first, second = found.scores
    assert first.interval is None
    assert second.interval is not None
    assert second.difference == pytest.approx(
        (second.accuracy + second.hit_rate_at_1 - first.accuracy - first.hit_rate_at_1) / 2
    )
    assert second.interval[0] <= second.difference <= second.interval[1]
    assert min(second.seconds_per_1000, second.query_ms, second.finetune_epoch_minutes) > 0
    assert 0.1 < second.weights_mb < 10
    assert "timm:no_such is left out" in found.notes[0]
    assert "test_efficientnet is left out: its weights are not on this machine" in found.notes[1]
    verdict = "within noise of" if second.within_noise else "than"
    assert verdict in found.notes[2]


@pytest.mark.usefixtures("tiny")
def test_too_little_time_is_refused_before_it_is_spent(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match=r"0.0001 minutes are enough for \d photos"):
        compare_backbones(shapes, NAMES[:1], minutes=1e-4, device="cpu", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*"))


def test_photos_of_one_product_vary_together() -> None:
    """Four photos of one product that all gain are one gain, not four."""
    change = np.array([1.0] * 4 + [0.0] * 4)
    _, together = backbone_comparison._paired(change, np.repeat([0, 1], 4))
    _, apart = backbone_comparison._paired(change, np.arange(8))
    assert together[0] < 0 < apart[0]
