"""Galleries and their rivals: the same draws, the same catalog, figures as defined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.feeds.dataset import DatasetRow
from indexer.model.spec import Block
from indexer.training.feature_cache import Features
from tools.bench.parts.gallery_draws import (
    NAMES,
    UntaughtKinds,
    average_precision,
    recall_at_alarms,
    summarize,
)
from tools.bench.parts.taught_kinds import PhotoVectors

NAMED = ["bag", "cup", "hat"]


@pytest.fixture
def untaught(tmp_path: Path) -> UntaughtKinds:
    """Three kinds of 24 photos in 32 numbers; all features share a large mean."""
    rng = np.random.default_rng(0)
    label = np.repeat(NAMED, 24)
    split = np.tile(np.repeat(["train", "test"], 12), 3)
    values = np.repeat(np.eye(32)[:3], 24, axis=0) + 0.25 * rng.normal(size=(72, 32)) + 2.0
    values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    rows = []
    for number in range(72):
        file = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file)
        rows.append(DatasetRow(str(number), str(number), file, None, None, (), None, {}))
    names = np.array([row.product_id for row in rows])
    photos = PhotoVectors(Features(rows, values, names, names, []), split, label)
    centred = values - values.mean(0)
    own = (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)
    return UntaughtKinds(["hat"], NAMED, photos, (Block("g", 32, 1.0),), None, own, values)


def test_catalog_and_examples_are_what_a_shop_has(untaught: UntaughtKinds) -> None:
    """Examples are train photos of the kind left out, the catalog those of the others."""
    first, second = untaught.draws(2)
    assert {untaught.photos.label[place] for place in first.drawn} == {"hat"}
    assert set(untaught.photos.label[first.catalog]) == {"bag", "cup"}
    assert set(untaught.photos.split[first.catalog]) == {"train"}
    assert len(first.asked) == 36
    assert first.truth.sum() == 12
    assert first.drawn.tolist() != second.drawn.tolist()


def test_the_fair_rival_is_the_product_on_frozen_features(untaught: UntaughtKinds) -> None:
    """With vectors equal to the frozen ones, both rank alike, and above what sees no catalog."""
    same = UntaughtKinds(
        untaught.out,
        untaught.names,
        untaught.photos,
        untaught.blocks,
        None,
        untaught.frozen,
        untaught.frozen,
    )
    for draw in same.draws(2):
        found = same.judge(draw)
        assert found["gallery"] == found["frozen_discriminant"]
        assert found["gallery"]["average_precision"] >= found["frozen"]["average_precision"]


def test_recall_is_read_at_the_alarms_of_other_kinds() -> None:
    """Of 200 others one may reach the score: what lies above the second highest counts."""
    others = np.arange(200.0)
    scores = np.concatenate([others, [198.5, 197.5, 300.0]])
    truth = np.repeat([False, True], [200, 3])
    assert recall_at_alarms(truth, scores) == pytest.approx(2 / 3)
    assert average_precision(truth, scores) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)


def test_gains_are_paired_by_class(untaught: UntaughtKinds) -> None:
    """Means are over classes, whatever their draws; one class more or less is the error."""

    def sample(kind: str, ours: float, rival: float) -> dict[str, object]:
        found = {name: {"average_precision": rival, "recall": rival} for name in NAMES}
        found["gallery"] = {"average_precision": ours, "recall": ours}
        rest = {"reviewed_of_class": 0.5, "reviewed_of_known": 0.01}
        return {"class": kind, **found, **rest, "blocked_right": 3, "blocked_wrong": 1}

    row = summarize([sample("a", 0.8, 0.6), sample("a", 0.6, 0.6), sample("b", 0.9, 0.6)])
    assert row["gallery_average_precision"] == pytest.approx(0.8)
    assert row["ratio"] == pytest.approx(0.8 / 0.6)
    assert row["gain_recall"] == pytest.approx(0.2)
    assert row["gain_recall_standard_error"] == pytest.approx(0.1)
    assert row["block_precision"] == 0.75
