"""Tags that no column holds, on folds: by votes alone, by the head alone, by both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from indexer.core.atomic_files import written_aside
from indexer.evaluation.evaluate import evaluation_photos
from indexer.evaluation.tag_metrics import heads_only, sample_by, votes_only
from indexer.model.bundle import Bundle, load_bundle
from indexer.model.calibration import pair_calibration_error
from indexer.model.torch_runtime import TorchRuntime
from indexer.tagging.fit import fit_rule
from indexer.tagging.samples import TagSample
from indexer.training.feature_cache import photo_features
from indexer.training.metrics import TagCounts, bootstrap
from indexer.training.options import TrainingOptions
from indexer.training.problem import read_problem
from indexer.training.tag_samples import tag_columns
from indexer.training.train import train
from tools.bench.data.fold_split import FoldData, write_manifest
from tools.bench.harness.framework import BenchRow
from tools.output import log

WAYS = ("votes", "head", "both")
_RESAMPLES = 2000
# Columns that become tags: what a shop would write as one list.
_JOINED = ("gender", "base_colour", "season", "usage")


@dataclass(frozen=True)
class TagOutcomes:
    """What each way suggested for P held-out products, over T tags."""

    groups: list[str]  # what is resampled together, [P]
    tags: list[str]
    actual: list[list[int]]  # places of its tags, [P]
    suggested: dict[str, list[list[int]]]  # way -> places, [P]
    ece: dict[str, float]  # way -> calibration error of this fold

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def joined_tags(data: FoldData) -> FoldData:
    """The same photos with ``_JOINED`` as tags, one list of several values, and without columns.

    Their category stays, and is no tag: so no single-value head knows any of the tags.
    """
    rows = []
    for row in data.rows:
        given = (row.attributes.get(name) for name in _JOINED)
        tags = tuple(dict.fromkeys(str(value) for value in given if value is not None))
        rows.append(replace(row, tags=tags, attributes={}))
    return replace(data, rows=rows)


def measure_labels(
    data: FoldData, folds: Sequence[int], options: TrainingOptions, work: Path, key: str
) -> BenchRow:
    """Columns joined to a list of tags (``joined_tags``); each fold's model by ``train``.

    Rules of votes alone, of the head alone and of both are fitted on the fold's validation
    products and asked about its held-out products, before its train products. Micro- and macro-F1
    over all folds with 95% intervals (bootstrap by product and near-duplicates), paired
    differences; a finished fold is kept in ``work``.
    """
    found = [_judged(data, fold, options, work / "folds" / f"labels-{key}") for fold in folds]
    tags = sorted({tag for one in found for tag in one.tags})
    actual = _table(tags, [(one.tags, one.actual) for one in found])
    groups = list(chain.from_iterable(one.groups for one in found))
    drawn = bootstrap(groups, resamples=_RESAMPLES)
    plain: dict[str, dict[str, float]] = {}
    resampled: dict[str, dict[str, np.ndarray]] = {}
    for way in WAYS:
        said = _table(tags, [(one.tags, one.suggested[way]) for one in found])
        counts = TagCounts(actual, said)
        plain[way] = {
            "micro_f1": float(counts.micro()[2]),
            "macro_f1": float(counts.macro_f1()),
        }
        resampled[way] = {
            "micro_f1": counts.micro(drawn.weights)[2],
            "macro_f1": counts.macro_f1(drawn.weights),
        }
    row: BenchRow = {
        "recipe": measure_labels.__doc__,
        "products": len(actual),
        "folds_run": len(found),
        "tags": len(tags),
        "carried": {tag: int(n) for tag, n in zip(tags, actual.sum(0), strict=True)},
        "figures": {way: _with_bounds(plain[way], resampled[way]) for way in WAYS},
        "ece": {way: _mean_ece(found, way) for way in WAYS},
        "both_over": {
            "votes": _difference(plain, resampled, "both", "votes"),
            "head": _difference(plain, resampled, "both", "head"),
        },
    }
    _show(row)
    return row


def _judged(data: FoldData, fold: int, options: TrainingOptions, folder: Path) -> TagOutcomes:
    kept = folder / f"{fold}.json"
    if kept.is_file():
        return TagOutcomes(**json.loads(kept.read_text(encoding="utf-8")))
    manifest = write_manifest(folder / f"{fold}.csv", data.rows, data.split(fold).tolist())
    report = train(manifest, folder / f"model-{fold}", options)
    group = dict(zip([row.product_id for row in data.rows], data.group.tolist(), strict=True))
    outcomes = _outcomes(load_bundle(Path(report.model)), manifest, group)
    with written_aside(kept) as aside:
        aside.write_text(json.dumps(outcomes.to_json()), encoding="utf-8")
    log(f"labels, fold {fold + 1}: {report.seconds['total']:.0f} s")
    return outcomes


def _outcomes(bundle: Bundle, manifest: Path, group: dict[str, str]) -> TagOutcomes:
    problem = read_problem(manifest, 0)
    runtime = TorchRuntime(bundle.network())
    features = photo_features(problem.rows, runtime)
    split = np.array([problem.split[row.product_id] for row in features.rows])
    sets = {
        name: evaluation_photos(features, runtime, split == name)
        for name in ("train", "validation", "test")
    }
    plain = replace(bundle.decision, tag_rule=None)
    fitted_on = sample_by(runtime, plain, sets, "validation", fitting=True)
    asked = sample_by(runtime, plain, sets, "test")
    if fitted_on is None or asked is None:
        raise RuntimeError(f"{manifest} has no tags")
    columns = tag_columns(sets["train"].rows)
    suggested: dict[str, list[list[int]]] = {}
    ece: dict[str, float] = {}
    for way, change in zip(WAYS, (votes_only, heads_only, _unchanged), strict=True):
        known, questions = change(fitted_on), change(asked)
        if known is None or questions is None:
            raise RuntimeError(f"{manifest} has no tags")
        with threadpool_limits(1, "blas"):
            rule = fit_rule(known, columns)
        confidence = questions.confidence(rule)
        suggested[way] = _places(questions.suggested(confidence, rule))
        ece[way] = pair_calibration_error(confidence, asked.actual)
    # As the sample has them: in the order of their first photo.
    products = dict.fromkeys(row.product_id for row in sets["test"].rows if row.tags)
    return TagOutcomes(
        [group[product] for product in products],
        list(asked.tags),
        _places(asked.actual),
        suggested,
        ece,
    )


def _unchanged(sample: TagSample | None) -> TagSample | None:
    return sample


def _places(marked: np.ndarray) -> list[list[int]]:
    """Bool [P, T] as the places of each row."""
    return [np.flatnonzero(row).tolist() for row in marked]


def _table(
    tags: Sequence[str], parts: Sequence[tuple[Sequence[str], Sequence[Sequence[int]]]]
) -> np.ndarray:
    """Folds with tags of their own as one bool [P, T]."""
    place = {tag: number for number, tag in enumerate(tags)}
    found = np.zeros((sum(len(rows) for _, rows in parts), len(tags)), bool)
    start = 0
    for names, rows in parts:
        for number, row in enumerate(rows, start):
            found[number, [place[names[one]] for one in row]] = True
        start += len(rows)
    return found


def _mean_ece(found: Sequence[TagOutcomes], way: str) -> float:
    return float(np.mean([one.ece[way] for one in found]))


def _with_bounds(
    plain: dict[str, float], resampled: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    return {
        name: {"value": value, "interval": _percentiles(resampled[name])}
        for name, value in plain.items()
    }


def _difference(
    plain: dict[str, dict[str, float]],
    resampled: dict[str, dict[str, np.ndarray]],
    one: str,
    other: str,
) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "difference": value - plain[other][name],
            "interval": _percentiles(resampled[one][name] - resampled[other][name]),
        }
        for name, value in plain[one].items()
    }


def _percentiles(drawn: np.ndarray) -> list[float]:
    return [float(bound) for bound in np.percentile(drawn, (2.5, 97.5))]


def _show(row: BenchRow) -> None:
    for way, measures in row["figures"].items():
        for name, one in measures.items():
            low, high = one["interval"]
            log(f"{way} {name}: {one['value']:.4f} ({low:.4f} to {high:.4f})")
        log(f"{way} ece: {row['ece'][way]:.4f}")
    for way, measures in row["both_over"].items():
        for name, one in measures.items():
            low, high = one["interval"]
            log(f"both over {way}, {name}: {one['difference']:+.4f} ({low:+.4f} to {high:+.4f})")
