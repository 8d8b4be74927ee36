"""Search among photos of kinds that a model was never taught, beside the frozen network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexer.evaluation.evaluate import evaluation_photos
from indexer.model.runtime_base import Runtime
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.advise import frozen_runtime
from indexer.training.feature_cache import photo_features
from indexer.training.metrics import average_precision, ranked_neighbours
from indexer.training.problem import TrainingProblem, read_problem
from indexer.training.tag_samples import gallery_rules
from tools.bench.harness.framework import BenchRow, knob
from tools.bench.parts.taught_kinds import asked_split, fit_classes, paired_interval, recipe
from tools.output import log

DRAWS = 10  # of classes to train and classes to leave unseen
_MEASURES = ("hit_rate_at_1", "map")


def measure_unseen(data: Path, work: Path) -> BenchRow:
    """5 classes trained, the other 5 searched; 10 seeded draws (``CATALENS_BENCH_DRAWS``).

    Hit rate@1 and mAP of the served embedding, photos of the unseen classes against their train
    photos, beside the frozen features of the same photos; the intervals are of the photos asked.
    """
    problem, asked = read_problem(data, seed=0), asked_split()
    names = sorted({row.category[-1] for row in problem.rows if row.category})
    frozen, draws = frozen_runtime(), knob("DRAWS", DRAWS)
    photos: list[str] = []
    gained: list[np.ndarray] = []
    samples: list[dict[str, Any]] = []
    for draw in range(draws):
        order = [names[place] for place in np.random.default_rng(draw).permutation(len(names))]
        seen, unseen = order[: len(names) // 2], order[len(names) // 2 :]
        bundle = fit_classes(work / f"unseen-{draw}", problem, seen)
        files, found = judge(problem, TorchRuntime(bundle.network()), unseen, asked)
        same_files, before = judge(problem, frozen, unseen, asked)
        assert files == same_files
        photos += files
        gained.append(found - before)
        means = {
            "trained": dict(zip(_MEASURES, found.mean(0).tolist(), strict=True)),
            "frozen": dict(zip(_MEASURES, before.mean(0).tolist(), strict=True)),
        }
        samples.append({"draw": draw, "unseen": unseen, **means})
        log(f"draw {draw + 1} of {draws}: {means['trained']}, frozen {means['frozen']}")
    row: BenchRow = {
        "recipe": measure_unseen.__doc__,
        "trained_by": recipe(),
        "asked": asked,
        "samples": samples,
    }
    for key, gains in zip(_MEASURES, np.concatenate(gained).T, strict=True):
        reached = float(np.mean([sample["trained"][key] for sample in samples]))
        floor = float(np.mean([sample["frozen"][key] for sample in samples]))
        row |= {
            key: reached,
            f"{key}_frozen": floor,
            f"{key}_gain": reached - floor,
            f"{key}_gain_interval": paired_interval(photos, gains.tolist()),
        }
    return row


def judge(
    problem: TrainingProblem, runtime: Runtime, kinds: Sequence[str], asked: str
) -> tuple[list[str], np.ndarray]:
    """The photos asked of ``kinds``, and whether the first found is of the same kind, and the
    average precision, of each: float [N, 2]."""
    rows = [
        row
        for split in (asked, "train")
        for row in problem.of(split)
        if row.category and row.category[-1] in kinds
    ]
    features = photo_features(rows, runtime)
    is_asked = np.array([problem.split[row.product_id] == asked for row in features.rows])
    queries = evaluation_photos(features, runtime, is_asked)
    gallery = evaluation_photos(features, runtime, ~is_asked)
    labels = np.array([str(row.category) for row in gallery.rows])
    found = np.zeros((len(queries.rows), 2))
    rules = gallery_rules(queries, gallery)
    for number, order, _ in ranked_neighbours(queries.vectors, gallery.vectors, rules):
        same = labels[order] == str(queries.rows[number].category)
        found[number] = float(same[0]), average_precision(same)
    return [str(row.image) for row in queries.rows], found
