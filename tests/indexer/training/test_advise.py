"""``advise``: figures that are right, and a recommendation that follows from them."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indexer.core.errors import BadDataError
from indexer.training.advise import (
    advise,
    costs,
    frozen_runtime,
    measure_speed,
    probe,
    recommend,
    sampled,
)
from indexer.training.problem import read_problem
from indexer.training.train import RECIPES
from tests.indexer.conftest import KINDS, draw
from tests.indexer.training.test_label_errors import row


def found(**changes: Any) -> dict[str, Any]:
    """Figures of a usual data set, with changes."""
    usual: dict[str, Any] = {
        "photos": {"train": 3000, "validation": 300, "test": 300},
        "categories": {"median": 200.0},
        "probe": {"validation_accuracy": 0.9, "majority": 0.2},
        "cost_s": {"linear": 70.0, "finetune_start": 30.0, "finetune_epoch": 100.0},
    }
    return {**usual, **changes}


def test_finetune_is_proposed_where_data_and_time_allow_it() -> None:
    """As many epochs as fit into the minutes, and a command that says so."""
    advice = recommend(found(), "efficientnet_lite0", Path("d"), 10.0)
    assert (advice["recipe"], advice["epochs"]) == ("finetune", 6)
    assert advice["command"].startswith(
        "catalens train d --out model --backbone efficientnet_lite0 --recipe finetune"
    )
    assert "--epochs 6" in advice["command"]
    assert advice["seconds"] == 30 + 6 * 100
    assert "0.900" in advice["reasons"][0]


def test_the_command_can_be_run_as_it_stands() -> None:
    """With the weights that were probed, and in quotes where a shell would read more into it."""
    name = "timm:test_vit?img_size=96&drop_rate=0.1"
    command = recommend(found(), name, Path("my data"), 10.0, weights=Path("w"))["command"]
    assert shlex.split(command)[:9] == [
        "catalens",
        "train",
        "my data",
        "--out",
        "model",
        "--backbone",
        name,
        "--weights",
        "w",
    ]
    assert f"'{name}'" in command


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"photos": {"train": 120, "validation": 20, "test": 20}}, "too few"),
        ({"categories": {"median": 2.0}}, "fewer than 5 photos"),
        (
            {"cost_s": {"linear": 70.0, "finetune_start": 30.0, "finetune_epoch": 400.0}},
            "not enough for three",
        ),
        ({"probe": {"validation_accuracy": 0.995, "majority": 0.2}}, "little is left"),
    ],
)
def test_linear_is_proposed_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    advice = recommend(found(**changes), "efficientnet_lite0", Path("d"), 15.0)
    assert advice["recipe"] == "linear"
    assert any(reason in text for text in advice["reasons"])
    assert "--epochs" not in advice["command"]


def test_costs_come_from_the_measured_speed() -> None:
    """``linear`` sees up to 800 photos in each look that it compares, and the others twice; too few
    to compare by once, as ``finetune`` does."""
    speed = {"forward_per_s": 50.0, "training_per_s": 20.0}
    cost = costs({"train": 1000, "validation": 200, "test": 9}, speed)
    fit = 1000 * RECIPES["linear"].epochs * 1e-4
    assert cost["finetune_epoch"] == pytest.approx(1000 / 20 + 200 / 50)
    assert cost["finetune_start"] == pytest.approx(1200 / 50 + fit)
    assert cost["linear"] == pytest.approx((800 * 4 + 400 * 2) / 50 + fit)
    few = costs({"train": 80, "validation": 10, "test": 9}, speed)
    assert few["linear"] == few["finetune_start"] == pytest.approx(90 / 50 + 80 * 20 * 1e-4)


def test_times_of_a_crowded_machine_are_told_as_such() -> None:
    """Where other programs had the processor while speed was measured, the advice says so."""
    cost = {"linear": 70.0, "finetune_start": 30.0, "finetune_epoch": 400.0}
    for crowded in (True, False):
        advice = recommend(
            found(cost_s=cost, speed={"crowded": crowded}), "efficientnet_lite0", Path("d"), 15.0
        )
        assert any("kept busy" in reason for reason in advice["reasons"]) is crowded


@pytest.mark.parametrize(("spent", "crowded"), [(0.1, True), (30.0, False)])
def test_a_crowded_machine_is_known_by_the_processor_time(
    spent: float, crowded: bool, shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some twenty seconds pass, in which this process computes for so many."""
    clock, used = itertools.count(0.0, 2.0), iter([0.0, spent])
    clocks = SimpleNamespace(perf_counter=lambda: next(clock), process_time=lambda: next(used))
    monkeypatch.setattr("indexer.training.advise.time", clocks)
    rows = read_problem(shapes, 0).of("train")[:2]
    assert measure_speed(frozen_runtime(), rows)["crowded"] is crowded


def test_probe_judges_held_photos_only() -> None:
    """Right labels are read, swapped validation labels are all wrong, and the commonest class is
    the train photos'."""
    rng = np.random.default_rng(0)
    labels = np.array([0] * 40 + [1] * 20)
    values = rng.normal(size=(2, 16))[labels] + 0.1 * rng.normal(size=(60, 16))
    validation = np.arange(60) % 4 == 0
    right = probe(values, labels, ~validation, validation, 2)
    majority = pytest.approx(10 / 15)
    assert right == {"validation_accuracy": 1.0, "majority": majority, "photos": 15}
    swapped = np.where(validation, 1 - labels, labels)
    assert probe(values, swapped, ~validation, validation, 2)["validation_accuracy"] == 0.0
    assert probe(values, labels, ~validation, np.zeros(60, bool), 2)["validation_accuracy"] is None


def test_a_sample_keeps_products_whole() -> None:
    rows = [row(number // 3) for number in range(30)]
    kept = sampled(rows, 10)
    assert len(kept) == 9
    assert all(sum(entry.product_id == other.product_id for other in kept) == 3 for entry in kept)
    assert sampled(rows, 30) == rows


def test_advise_tells_what_a_folder_holds(tmp_path: Path, feature_cache: Path) -> None:
    """Counts, a copy between train and test, and a folder that is too small to unfreeze a network
    for."""
    for name, numbers in (("train", range(5)), ("validation", range(5, 7)), ("test", range(7, 8))):
        for kind in KINDS:
            (tmp_path / name / kind).mkdir(parents=True)
            for number in numbers:
                draw(kind, number).save(tmp_path / name / kind / f"{name}{number}.png")
    draw("disc", 0).save(tmp_path / "test" / "disc" / "copy.png")
    document = advise(tmp_path, device="cpu", cache=feature_cache)
    assert document["photos"] == {"train": 15, "validation": 6, "test": 4}
    assert document["categories"]["count"] == 3
    assert document["categories"]["median"] == 5
    assert document["duplicates"] == {"photos": 1, "between_products": 1}
    assert document["leaks"]["photos"] == 1
    assert any("1 of 4 test photos" in note for note in document["notes"])
    assert document["short_side_px"]["median"] == 100
    assert document["probe"]["validation_accuracy"] > document["probe"]["majority"]
    assert document["recommendation"]["recipe"] == "linear"


def test_few_validation_photos_give_counts_of_folds(shapes: Path, feature_cache: Path) -> None:
    """Of 29 photos no share of four is told: all are held out in folds and counted; more are told
    with their number and interval."""
    document = advise(shapes, device="cpu", cache=feature_cache)
    folds = document["probe"]["folds"]
    assert folds["photos"] < 30
    low, high = folds["interval"]
    assert low < folds["right"] / folds["photos"] <= high
    judged = document["recommendation"]["reasons"][0]
    assert f"names {folds['right']} of {folds['photos']} photos right" in judged
    probed = {"validation_accuracy": 0.9, "majority": 0.2, "photos": 300}
    many = recommend(found(probe=probed), "b", Path("d"), 10.0)["reasons"][0]
    assert "0.900 of 300 validation photos (95% interval 0.860 to 0.932)" in many


def test_photos_without_labels_can_be_trained_on_as_they_are(
    tmp_path: Path, feature_cache: Path
) -> None:
    draw("disc", 0).save(tmp_path / "a.png")
    document = advise(tmp_path, device="cpu", cache=feature_cache)
    assert document["categories"] is None
    assert document["recommendation"]["recipe"] == "linear"
    assert "recaptures" in document["recommendation"]["reasons"][0]


def test_no_readable_photo_is_an_error(tmp_path: Path, feature_cache: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_text("no photo")
    with pytest.raises(BadDataError, match=r"x\.jpg"):
        advise(tmp_path, device="cpu", cache=feature_cache)
