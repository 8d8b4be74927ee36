"""The benchmark ``folds``: goals over the other commit, variants by name, folds kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.core.errors import BadDataError, BadRequestError
from indexer.feeds.dataset import DatasetRow
from indexer.training.finetune import checkpoint_file
from tools.bench import folds
from tools.bench.data.fold_split import FoldData
from tools.bench.parts.fold_outcomes import Outcomes

OUTCOMES = Outcomes(["a 1.png"], ["a"], ["hat"], {"0": ["hat"]}, {"0": {"accuracy": [1.0]}})
DATA = FoldData(
    [DatasetRow("1", "a", Path("1.png"), None, ("hat",), (), "train", {})],
    np.zeros(1, np.int64),
    np.array(["a"]),
)


def goal(name: str) -> Any:
    return next(goal for goal in folds.GOALS if goal.name.startswith(name))


def test_a_gain_is_that_over_the_other_commit_and_unknown_without_it() -> None:
    over = {"base": {"accuracy": {"difference": 0.03}}}
    row = {"part": "clothing-linear", "over_before": over}
    assert goal("clothing, linear: accuracy").judge([row])["met"] is True
    assert goal("clothing, linear: accuracy").judge([{**row, "over_before": {}}])["met"] is None


def test_the_curve_is_a_mean_over_draws_and_seeds_of_the_base() -> None:
    samples = [
        {"variant": name, "photos": size, "accuracy": accuracy}
        for name, size, accuracy in (("base", 100, 0.7), ("base", 100, 0.8), ("lite1", 100, 0.1))
    ]
    row = {"part": "curve", "samples": samples}
    assert goal("clothing, 100").judge([row])["value"] == pytest.approx(0.75)
    assert goal("clothing, 200").judge([row])["value"] is None


def test_a_variant_that_is_not_there_is_refused_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CATALENS_BENCH_VARIANTS", "base,none")
    with pytest.raises(BadRequestError, match="'none'; there are: base, "):
        folds._chosen(folds.VARIANTS)


def test_every_variant_differs_from_the_base() -> None:
    for variants in (folds.VARIANTS, folds.FINETUNE_VARIANTS):
        for name, options in variants.items():
            assert (options == variants[folds.BASE]) == (name == folds.BASE)


def test_a_finished_fold_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold of fine-tuning takes a quarter of an hour; of another seed or recipe it is another."""
    made: list[int] = []

    def fail(manifest: Path, model: Path, options: Any) -> None:
        made.append(options.seed)
        raise BadDataError("trained")

    monkeypatch.setattr(folds, "train", fail)
    run = folds.FoldRun("base", folds.VARIANTS["base"], 0, 0)
    with pytest.raises(BadDataError, match="trained"):
        folds._judged("clothing-linear", run, DATA, tmp_path)
    folder = next((tmp_path / "folds").iterdir())
    (folder / "0-0.json").write_text(json.dumps(OUTCOMES.to_json()), encoding="utf-8")
    assert folds._judged("clothing-linear", run, DATA, tmp_path) == OUTCOMES
    others = (replace(run, seed=1), replace(run, options=folds.VARIANTS["lite1"]))
    for other in others:
        with pytest.raises(BadDataError, match="trained"):
            folds._judged("clothing-linear", other, DATA, tmp_path)
    assert len(made) == 3


def test_variants_that_choose_among_epochs_share_one_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epochs that ``base`` left are there for ``last``, and not for what trains otherwise."""
    found: dict[str, bool] = {}

    def fake(manifest: Path, model: Path, options: Any) -> None:
        assert (options.resume, options.keep_checkpoint) == (True, True)
        found[model.name] = checkpoint_file(model).is_file()
        checkpoint_file(model).write_bytes(b"epochs")

    monkeypatch.setattr(folds, "train", fake)
    for name in ("base", "last", "macro", "no-dropout", "softened"):
        options = replace(folds.FINETUNE_VARIANTS[name], recipe="finetune")
        run = folds.FoldRun(name, options, 0, 1)
        folds._trained(run, tmp_path / "m.csv", tmp_path / name, tmp_path / "kept", "code")
    shared = {"base": False, "last": True, "macro": True, "no-dropout": False, "softened": False}
    assert found == shared


def test_the_other_commit_s_document_is_compared_and_anything_else_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tmp_path / "before.json"
    monkeypatch.setenv("CATALENS_BENCH_BEFORE", str(before))
    rows = [{"part": "clothing-linear", "outcomes": {"base": OUTCOMES.to_json()}}]
    before.write_text(json.dumps({"rows": rows}), encoding="utf-8")
    found = folds._over_before("clothing-linear", {"base": OUTCOMES, "lite1": OUTCOMES})
    assert found["base"]["accuracy"]["difference"] == 0.0
    assert set(found) == {"base"}
    before.write_text("[]", encoding="utf-8")
    with pytest.raises(BadDataError, match="is no document of"):
        folds._over_before("clothing-linear", {"base": OUTCOMES})
