"""Benchmark ``fewshot``: classes made from 1, 5 and 10 photos of kinds never trained on.

``CATALENS_BENCH_SPLITS`` and ``CATALENS_BENCH_DRAWS``: how many halves of the kinds (10), and draws
of photos of each (10). What is trained and asked: see ``parts/taught_kinds.py``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.classification.ranking import category_logits
from indexer.core.vectors import unit_rows
from indexer.model.bundle import Bundle
from indexer.model.calibration import remove_label_smoothing
from indexer.model.decision_layer import Category, FewShot
from indexer.model.few_shot import Background, background, category_shares, fit_category
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.advise import frozen_features
from indexer.training.problem import read_problem
from tools.bench.harness.framework import BenchRow, Goal, figure, knob, real_data
from tools.bench.parts.class_creation import adding
from tools.bench.parts.taught_kinds import (
    PhotoVectors,
    all_photos,
    asked_split,
    fit_classes,
    paired_interval,
    recipe,
)
from tools.output import log

PARTS = ("clothing", "adding")
SHOTS = (1, 5, 10)
EPOCHS = 15

GOALS = (
    Goal("clothing 5-way, 1 photo, accuracy", ">=", 0.660, figure("clothing", "accuracy_1")),
    Goal("clothing 5-way, 5 photos, accuracy", ">=", 0.809, figure("clothing", "accuracy_5")),
    Goal("clothing 5-way, 10 photos, accuracy", ">=", 0.848, figure("clothing", "accuracy_10")),
    Goal(
        "clothing 5-way, 1 photo, gain over the frozen backbone",
        ">=",
        0.02,
        figure("clothing", "gain_1"),
    ),
    Goal(
        "clothing 5-way, 5 photos, gain over the frozen backbone",
        ">=",
        0.0,
        figure("clothing", "gain_5"),
    ),
    Goal(
        "clothing 5-way, 10 photos, gain over the frozen backbone",
        ">=",
        0.0,
        figure("clothing", "gain_10"),
    ),
    Goal(
        "a class made from 1 to 20 photos in a home, seconds",
        "<",
        1.0,
        figure("adding", "slowest_p50_s"),
    ),
)


@dataclass(frozen=True)
class Trained:
    """A model of some classes, and what it makes of all photos."""

    bundle: Bundle
    vectors: np.ndarray  # [N, D]
    logits: np.ndarray  # [N, C]
    known: np.ndarray  # places of the train photos of its classes: the catalog
    behind: dict[int, Background]  # by the number of photos
    frozen: np.ndarray  # [N, F], unit rows of the frozen backbone's features


def measure(part: str, work: Path) -> BenchRow:
    """5 classes trained, 5-way on the other 5: splits x draws, photos from train.

    Block weights are those that the service makes classes with. The rival is the nearest mean of
    the frozen backbone's unit features, on the same draws; the interval of the gain is of the
    photos asked. The catalog holds the train photos of the trained classes.
    """
    log(f"bench fewshot: {part}")
    if part == "adding":
        return adding(work)
    problem, asked = read_problem(real_data(part), seed=0), asked_split()
    frozen = unit_rows(frozen_features(problem.rows).values)
    samples: list[dict[str, Any]] = []
    outcomes: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {shots: [] for shots in SHOTS}
    splits = knob("SPLITS", 10)
    for number in range(splits):
        started = time.perf_counter()
        rng = np.random.default_rng(number)
        names = sorted({row.category[-1] for row in problem.rows if row.category})
        order = [names[place] for place in rng.permutation(len(names))]
        seen, new = order[:5], order[5:]
        bundle = fit_classes(work / f"{number}-out", problem, seen, epochs=EPOCHS)
        photos = all_photos(problem, bundle)
        trained = _trained(bundle, photos, seen, frozen)
        for shots in SHOTS:
            for draw in range(knob("DRAWS", 10)):
                found, judged = _draw(photos, trained, new, shots, rng, asked)
                samples.append({"split": number, "draw": draw, "shots": shots, "new": new, **found})
                outcomes[shots].append(judged)
        log(f"split {number + 1} of {splits}: {time.perf_counter() - started:.0f} s")
    intervals = {f"gain_{shots}_interval": _interval(judged) for shots, judged in outcomes.items()}
    return {
        "recipe": measure.__doc__,
        "trained_by": recipe(),
        "asked": asked,
        "way": 5,
        "epochs": EPOCHS if recipe() == "linear" else knob("EPOCHS", 0) or None,
        **_means(samples),
        **intervals,
        "samples": samples,
    }


def _interval(judged: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    photos, gains = zip(*judged, strict=True)
    return paired_interval(np.concatenate(photos), np.concatenate(gains))


def _means(samples: Sequence[dict[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for shots in SHOTS:
        of_shots = [sample for sample in samples if sample["shots"] == shots]
        for name in ("accuracy", "frozen", "joint_known", "joint_new", "known_alone"):
            found[f"{name}_{shots}"] = float(np.mean([sample[name] for sample in of_shots]))
        found[f"gain_{shots}"] = found[f"accuracy_{shots}"] - found[f"frozen_{shots}"]
    return found


def _trained(
    bundle: Bundle, photos: PhotoVectors, classes: Sequence[str], frozen: np.ndarray
) -> Trained:
    runtime = TorchRuntime(bundle.network())
    vectors = runtime.embed_features(photos.features.values)
    known = photos.of("train", classes)
    _, groups = np.unique(photos.label[known], return_inverse=True)
    general = bundle.general_spread()
    behind = {
        shots: background(
            vectors[known],
            groups,
            bundle.spec.blocks,
            category_shares(shots),
            general=general,
        )
        for shots in SHOTS
    }
    return Trained(bundle, vectors, runtime.logits(vectors)["category"], known, behind, frozen)


def _draw(
    photos: PhotoVectors,
    trained: Trained,
    new: Sequence[str],
    shots: int,
    rng: np.random.Generator,
    split: str,
) -> tuple[dict[str, float], tuple[np.ndarray, np.ndarray]]:
    """One draw: accuracies among the new classes, and of new and known ones together; also the
    photos asked, and the gain over the frozen backbone of each (-1, 0 or 1)."""
    decision, catalog = trained.bundle.decision, trained.known
    drawn = [rng.choice(photos.of("train", [name]), shots, replace=False) for name in new]
    categories, entries = list(decision.categories), []
    for name, places in zip(new, drawn, strict=True):
        row = fit_category(
            trained.vectors[places],
            trained.behind[shots],
            trained.vectors[catalog],
            logits=remove_label_smoothing(trained.logits[catalog], decision.smoothing),
            temperature=decision.temperature,
        )
        number = len(categories)
        categories.append(Category(number, (name,), ()))
        entries.append(
            FewShot(
                number,
                "category",
                number,
                None,
                (),
                row.bias,
                row.threshold,
                row.prototype,
                row.weight,
            )
        )
    asked = photos.of(split, new)
    truth = np.array([list(new).index(name) for name in photos.label[asked]])
    together = replace(decision, categories=tuple(categories), few_shot=tuple(entries))
    joint = category_logits(trained.logits[asked], trained.vectors[asked], together)
    known_count = len(decision.categories)
    known = photos.of(split, [category.label for category in decision.categories])
    columns = {category.label: place for place, category in enumerate(decision.categories)}
    known_truth = np.array([columns[name] for name in photos.label[known]])
    known_joint = category_logits(trained.logits[known], trained.vectors[known], together)
    right = joint[:, known_count:].argmax(1) == truth
    rival = _frozen_guesses(trained.frozen, drawn, asked) == truth
    figures = {
        "accuracy": float(right.mean()),
        "frozen": float(rival.mean()),
        "joint_new": float((joint.argmax(1) - known_count == truth).mean()),
        "joint_known": float((known_joint.argmax(1) == known_truth).mean()),
        "known_alone": float((trained.logits[known].argmax(1) == known_truth).mean()),
    }
    return figures, (asked, right.astype(float) - rival)


def _frozen_guesses(
    frozen: np.ndarray, drawn: Sequence[np.ndarray], asked: np.ndarray
) -> np.ndarray:
    """The nearest class mean of unit features [N, F] for each photo asked."""
    means = unit_rows(np.stack([frozen[places].mean(0) for places in drawn]))
    return np.asarray((frozen[asked] @ means.T).argmax(1))
