"""Evaluation: which photos ask, which are searched, and what cannot be given is None."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from indexer.core.errors import (
    BadDataError,
    WeightsUnavailableError,
)
from indexer.evaluation.evaluate import evaluate, frozen_photos
from indexer.imaging.decode import Photo
from indexer.model.bundle import load_bundle
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.options import TrainingOptions
from indexer.training.problem import read_problem
from indexer.training.train import TrainReport, train
from tests.indexer.conftest import KINDS, draw


def test_evaluate_repeats_the_model_s_own_split_and_names_an_empty_one(
    trained: TrainReport, tmp_path: Path, feature_cache: Path
) -> None:
    (tmp_path / "d" / "disc").mkdir(parents=True)
    draw("disc", 0).save(tmp_path / "d" / "disc" / "0.png")
    with pytest.raises(BadDataError, match=r"no (test|train) photos"):
        evaluate(Path(trained.model), tmp_path / "d", cache=feature_cache)
    assert json.loads((Path(trained.model) / "training.json").read_text())["seed"] == 1


def test_what_data_without_train_photos_cannot_give_is_none(
    trained: TrainReport, tmp_path: Path, feature_cache: Path
) -> None:
    """A folder with a test split alone: categories are judged, retrieval is None."""
    for kind in KINDS:
        (tmp_path / "d" / "test" / kind).mkdir(parents=True)
        for number in range(3):
            draw(kind, number).save(tmp_path / "d" / "test" / kind / f"{number}.png")
    found = evaluate(Path(trained.model), tmp_path / "d", cache=feature_cache)
    assert (found["n"], found["gallery"]) == (9, 0)
    assert found["accuracy"] > 0.5
    assert [found[name] for name in ("hit_rate_at_1", "hit_rate_at_10", "map", "tags")] == [
        None
    ] * 4
    assert found["instance_hit_rate_at_1"] is not None


def test_all_photos_are_asked_whatever_their_split(
    trained: TrainReport, tmp_path: Path, feature_cache: Path
) -> None:
    """Photos from elsewhere need no split of their own: each is asked, and searched among the
    others; so few are told as such."""
    for kind in KINDS:
        (tmp_path / "d" / kind).mkdir(parents=True)
        for number in range(3):
            draw(kind, number).save(tmp_path / "d" / kind / f"{number}.png")
    found = evaluate(Path(trained.model), tmp_path / "d", split="all", cache=feature_cache)
    assert (found["n"], found["photos"], found["gallery"]) == (9, 9, 9)
    assert found["hit_rate_at_1"] is not None
    low, high = found["intervals"]["accuracy"]
    assert high - low > 0.2
    assert any("flatter" in note for note in found["notes"])
    assert any("too few to judge" in note for note in found["notes"])
    part = evaluate(Path(trained.model), tmp_path / "d", split="train", cache=feature_cache)
    assert part["n"] < 9


def test_photos_that_training_set_aside_are_in_the_gallery(
    trained: TrainReport, tmp_path: Path, feature_cache: Path
) -> None:
    """DATA without a validation split: its train photos are the gallery, all of them; its own
    validation is not."""
    for split, numbers in (("train", range(8)), ("test", range(8, 10))):
        for kind in KINDS:
            (tmp_path / "d" / split / kind).mkdir(parents=True)
            for number in numbers:
                draw(kind, number).save(tmp_path / "d" / split / kind / f"{number}.png")
    problem = read_problem(tmp_path / "d", 1)
    assert 0 < len(problem.set_aside) < 24
    assert problem.set_aside == {row.product_id for row in problem.of("validation")}
    found = evaluate(Path(trained.model), tmp_path / "d", cache=feature_cache)
    assert (found["n"], found["gallery"]) == (6, 24)
    held = evaluate(Path(trained.model), tmp_path / "d", split="validation", cache=feature_cache)
    assert held["n"] + held["gallery"] == 24


def test_a_baseline_from_weights_that_are_not_kept_is_none(trained: TrainReport) -> None:
    """A network fine-tuned from a file has no features before training to compare with: it says so,
    and builds none."""
    bundle = load_bundle(Path(trained.model))
    tuned = dataclasses.replace(
        bundle, training={**bundle.training, "recipe": "finetune", "weights": "mine.pth"}
    )
    with pytest.raises(WeightsUnavailableError, match=r"mine\.pth"):
        frozen_photos(tuned, None, {}, "cpu", None)  # type: ignore[arg-type]


def test_nothing_that_training_or_an_evaluation_computed_is_computed_again(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos that trained the model never pass the network again; what is asked passes it once,
    as it is and taken again, and the second evaluation runs no network at all."""
    problem = read_problem(shapes, 1)
    passed: list[int] = []
    extract = TorchRuntime.extract_features

    def counted(self: TorchRuntime, photos: Sequence[Photo]) -> np.ndarray:
        passed.append(len(photos))
        return extract(self, photos)

    def forbidden(*_: object) -> np.ndarray:
        raise AssertionError("a photo went through the network beside the cache")

    monkeypatch.setattr(TorchRuntime, "extract_features", counted)
    monkeypatch.setattr(TorchRuntime, "embed", forbidden)
    # Other tests evaluate too.
    cache = tmp_path / "cache"
    train(
        shapes,
        tmp_path / "model",
        TrainingOptions(epochs=2, batch_size=16, seed=1, device="cpu", cache=cache),
    )
    passed.clear()
    first = evaluate(tmp_path / "model", shapes, cache=cache)
    asked = len(problem.of("test"))
    assert sum(passed) == 2 * asked
    passed.clear()
    assert evaluate(tmp_path / "model", shapes, cache=cache) == first
    assert passed == []
