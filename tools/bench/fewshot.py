"""Benchmark ``fewshot``: classes made from 1, 5 and 10 photos of kinds never trained on."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.classification.ranking import category_logits
from indexer.model.bundle import Bundle, load_bundle
from indexer.model.calibration import remove_label_smoothing
from indexer.model.decision_layer import Category, FewShot
from indexer.model.few_shot import Background, background, fit_category
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.feature_cache import Features, photo_features
from indexer.training.options import TrainingOptions
from indexer.training.problem import TrainingProblem, read_problem
from indexer.training.train import train
from tools.bench.harness.framework import BenchRow, Goal, figure, real_data
from tools.bench.parts.class_creation import adding
from tools.output import log

PARTS = ("clothing", "adding")
SHOTS = (1, 5, 10)
SPLITS, DRAWS, EPOCHS = 10, 10, 15
SHARES = (0.0, 0.1, 0.2, 0.35, 0.5)  # of block a, offered to the choice; g has the rest

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
class PhotoVectors:
    """All photos of the data: their features, split and class."""

    features: Features
    split: np.ndarray  # str [N]
    label: np.ndarray  # str [N]

    def of(self, split: str, classes: Sequence[str]) -> np.ndarray:
        """Places of the photos of one split and some classes."""
        return np.flatnonzero((self.split == split) & np.isin(self.label, classes))


@dataclass(frozen=True)
class Trained:
    """A model of some classes, and what it makes of all photos."""

    bundle: Bundle
    vectors: np.ndarray  # [N, D]
    logits: np.ndarray  # [N, C]
    known: np.ndarray  # places of the train photos of its classes: the catalog
    behind: dict[float, Background]  # by the share of block a


def measure(part: str, work: Path) -> BenchRow:
    """5 classes trained (recipe linear), 5-way on the other 5: splits x draws, photos from train,
    questions from test.

    Nothing is chosen on the test classes: of each split's trained classes, 3 are trained alone and
    2 play the new ones, and the block weights that do best there, on validation photos, are used.
    The rival is the nearest mean of the frozen backbone's unit features, on the same draws. The
    catalog holds the train photos of the trained classes.
    """
    log(f"bench fewshot: {part}")
    if part == "adding":
        return adding(work)
    problem = read_problem(real_data(part), seed=0)
    photos: PhotoVectors | None = None
    samples: list[dict[str, Any]] = []
    for number in range(SPLITS):
        started = time.perf_counter()
        rng = np.random.default_rng(number)
        names = sorted({row.category[-1] for row in problem.rows if row.category})
        order = [names[place] for place in rng.permutation(len(names))]
        seen, new = order[:5], order[5:]
        inner, outer = (
            fit_classes(work / f"{number}-{name}", problem, some, epochs=EPOCHS)
            for name, some in (("in", seen[:3]), ("out", seen))
        )
        if photos is None:
            photos = all_photos(problem, outer)
        inside, outside = _trained(inner, photos, seen[:3]), _trained(outer, photos, seen)
        share = max(
            SHARES,
            key=lambda one: _choose(photos, inside, seen[3:], one, np.random.default_rng(number)),
        )
        for shots in SHOTS:
            for draw in range(DRAWS):
                found = _draw(photos, outside, new, shots, share, rng, "test")
                samples.append(
                    {
                        "split": number,
                        "draw": draw,
                        "shots": shots,
                        "new": new,
                        "share_a": share,
                        **found,
                    }
                )
        log(
            f"split {number + 1} of {SPLITS}: share of a {share}, "
            f"{time.perf_counter() - started:.0f} s"
        )
    return {
        "recipe": measure.__doc__,
        "way": 5,
        "epochs": EPOCHS,
        **_means(samples),
        "samples": samples,
    }


def _means(samples: Sequence[dict[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for shots in SHOTS:
        of_shots = [sample for sample in samples if sample["shots"] == shots]
        for name in ("accuracy", "frozen", "joint_known", "joint_new", "known_alone"):
            found[f"{name}_{shots}"] = float(np.mean([sample[name] for sample in of_shots]))
        found[f"gain_{shots}"] = found[f"accuracy_{shots}"] - found[f"frozen_{shots}"]
    return found


def fit_classes(
    folder: Path, problem: TrainingProblem, classes: Sequence[str], *, epochs: int | None = None
) -> Bundle:
    """Train (recipe linear) on the train and validation photos of ``classes`` alone."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "photos.csv"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("product_id", "image", "category", "split"))
        for row in problem.rows:
            split = problem.split[row.product_id]
            if row.category and row.category[-1] in classes and split != "test":
                writer.writerow((row.product_id, row.image.absolute(), row.category[-1], split))
    train(manifest, folder / "model", TrainingOptions(epochs=epochs))
    return load_bundle(folder / "model")


def all_photos(problem: TrainingProblem, bundle: Bundle) -> PhotoVectors:
    """Every photo of the data as the bundle's backbone sees it."""
    features = photo_features(problem.rows, TorchRuntime(bundle.network()))
    return PhotoVectors(
        features,
        np.array([problem.split[row.product_id] for row in features.rows]),
        np.array([row.category[-1] if row.category else "" for row in features.rows]),
    )


def _trained(bundle: Bundle, photos: PhotoVectors, classes: Sequence[str]) -> Trained:
    runtime = TorchRuntime(bundle.network())
    vectors = runtime.embed_features(photos.features.values)
    known = photos.of("train", classes)
    _, groups = np.unique(photos.label[known], return_inverse=True)
    general = bundle.general_spread()
    behind = {
        share: background(
            vectors[known],
            groups,
            bundle.spec.blocks,
            {"a": share, "g": 1 - share},
            general=general,
        )
        for share in SHARES
    }
    return Trained(bundle, vectors, runtime.logits(vectors)["category"], known, behind)


def _choose(
    photos: PhotoVectors,
    trained: Trained,
    new: Sequence[str],
    share: float,
    rng: np.random.Generator,
) -> float:
    """Mean accuracy over shots and draws on the classes set aside."""
    results = [
        _draw(photos, trained, new, shots, share, rng, "validation")["accuracy"]
        for shots in SHOTS
        for _ in range(DRAWS)
    ]
    return float(np.mean(results))


def _draw(
    photos: PhotoVectors,
    trained: Trained,
    new: Sequence[str],
    shots: int,
    share: float,
    rng: np.random.Generator,
    split: str,
) -> dict[str, float]:
    """One draw: accuracies among the new classes, and of new and known ones together."""
    decision, catalog = trained.bundle.decision, trained.known
    drawn = [rng.choice(photos.of("train", [name]), shots, replace=False) for name in new]
    categories, entries = list(decision.categories), []
    for name, places in zip(new, drawn, strict=True):
        row = fit_category(
            trained.vectors[places],
            trained.behind[share],
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
    return {
        "accuracy": float((joint[:, known_count:].argmax(1) == truth).mean()),
        "frozen": _frozen(photos.features.values, drawn, asked, truth),
        "joint_new": float((joint.argmax(1) - known_count == truth).mean()),
        "joint_known": float((known_joint.argmax(1) == known_truth).mean()),
        "known_alone": float((trained.logits[known].argmax(1) == known_truth).mean()),
    }


def _frozen(
    features: np.ndarray, drawn: Sequence[np.ndarray], asked: np.ndarray, truth: np.ndarray
) -> float:
    """Accuracy of the nearest class mean of unit features."""

    def unit(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float32)
        return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))

    means = unit(np.stack([unit(features[places]).mean(0) for places in drawn]))
    return float(((unit(features[asked]) @ means.T).argmax(1) == truth).mean())
