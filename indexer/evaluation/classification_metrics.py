"""Classification metrics: categories, attributes, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from indexer.classification.attribute_prediction import attribute_probabilities
from indexer.core.category_path import format_path
from indexer.evaluation.results import Classified, FigureGroup
from indexer.feeds.dataset import DatasetRow
from indexer.model.bundle import Bundle
from indexer.model.calibration import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    perfect_calibration_error,
    softmax,
)
from indexer.model.decision_layer import Decision
from indexer.training.colour_column import first_value
from indexer.training.metrics import (
    Bootstrap,
    ClassCounts,
    bootstrap,
    class_counts,
)
from indexer.training.tag_samples import TaggedPhotos

_MACRO = ("macro_precision", "macro_recall", "macro_f1")
_KEYS = (
    "accuracy",
    "top5_accuracy",
    "product_accuracy",
    *_MACRO,
    "ece",
    "nll",
    "brier",
    "calibration",
    "accuracy_by_level",
    "per_class",
)


def by_product(rows: list[DatasetRow]) -> Bootstrap:
    """Photos resampled by product."""
    return bootstrap([row.product_id for row in rows])


def classify(
    bundle: Bundle,
    logits: np.ndarray | None,
    queries: TaggedPhotos,
    *,
    leaked: np.ndarray | None = None,
) -> Classified | None:
    """``logits`` [Q, C] of the category head over the queries that have a category; None without
    either.

    ``leaked`` bool [Q]: queries that an earlier split has already shown judge nothing.
    """
    barred = np.zeros(len(queries.rows), bool) if leaked is None else leaked
    numbers = np.array(
        [n for n, row in enumerate(queries.rows) if row.category and not barred[n]], np.int64
    )
    if logits is None or len(numbers) == 0:
        return None
    known = [category.path for category in bundle.decision.categories]
    rows = [queries.rows[number] for number in numbers]
    names = [*known, *sorted({row.category for row in rows if row.category} - set(known))]
    label_of = {path: number for number, path in enumerate(names)}
    truth = np.array([label_of[row.category] for row in rows if row.category], np.int64)
    return Classified(numbers, names, truth, logits[numbers], bundle.decision.temperature)


def category_figures(found: Classified | None, queries: TaggedPhotos) -> FigureGroup:
    """Over the query photos that have a category; one the model does not know counts as wrong."""
    if found is None:
        return FigureGroup(
            {"n": sum(row.category is not None for row in queries.rows), **dict.fromkeys(_KEYS)}
        )
    rows = [queries.rows[number] for number in found.numbers]
    predicted = found.predicted
    right = predicted == found.truth
    order = np.argsort(-found.logits, axis=1, kind="stable")
    top5 = (order[:, :5] == found.truth[:, None]).any(1)
    counts = class_counts(found.truth, predicted, len(found.names))
    drawn = by_product(rows)
    resampled = class_counts(found.truth, predicted, len(found.names), drawn.weights)
    by_class = {"precision": counts.precision(), "recall": counts.recall(), "f1": counts.f1()}
    macro = {f"macro_{name}": float(counts.macro(values)) for name, values in by_class.items()}
    spread = {
        "macro_precision": resampled.macro(resampled.precision()),
        "macro_recall": resampled.macro(resampled.recall()),
        "macro_f1": resampled.macro(resampled.f1()),
    }
    levels = _levels(rows, [found.names[label] for label in predicted])
    calibration = calibration_figures(found)
    values: dict[str, Any] = {
        "n": len(rows),
        "accuracy": float(right.mean()),
        "top5_accuracy": float(top5.mean()),
        "product_accuracy": product_accuracy(
            found.logits, found.truth, [row.product_id for row in rows]
        ),
        **macro,
        "accuracy_by_level": None if levels is None else [float(level.mean()) for level in levels],
        **calibration["after"],
        "calibration": calibration,
        "per_class": _per_class(found, counts, by_class),
    }
    proportions = {"accuracy": right, "top5_accuracy": top5}
    proportions |= {
        f"accuracy_by_level.{number}": level for number, level in enumerate(levels or [])
    }
    intervals = drawn.means(proportions) | {
        name: drawn.interval(macro[name], values) for name, values in spread.items()
    }
    return FigureGroup(values, intervals)


def _per_class(
    found: Classified, counts: ClassCounts, by_class: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Category path -> figures, of the classes that occur or were predicted."""
    figures: dict[str, dict[str, Any]] = {}
    for number, path in enumerate(found.names):
        if counts.actual[number] or counts.predicted[number]:
            entry: dict[str, Any] = {"n": int(counts.actual[number])}
            entry |= {name: float(values[number]) for name, values in by_class.items()}
            figures[format_path(path)] = entry
    return figures


def calibration_figures(found: Classified) -> dict[str, Any]:
    """ECE, NLL and Brier score before and after temperature.

    ECE counts photos of a category the model does not know as wrong; NLL and Brier, which need the
    true class's probability, leave them out. ``perfect_ece_p90``: what a perfectly calibrated
    model with these confidences stays under in 9 of 10 draws of that many photos.
    """
    right = (found.predicted == found.truth).astype(float)
    known = found.known

    def at(temperature: float) -> dict[str, float | None]:
        probability = softmax(found.logits, temperature)
        logits = found.logits[known]
        truth = found.truth[known]
        return {
            "ece": expected_calibration_error(probability.max(1), right),
            "nll": negative_log_likelihood(logits, truth, temperature) if known.any() else None,
            "brier": brier_score(probability[known], truth) if known.any() else None,
        }

    return {
        "temperature": found.temperature,
        "before": at(1.0),
        "after": at(found.temperature),
        "perfect_ece_p90": perfect_calibration_error(found.probabilities.max(1)),
    }


def attribute_head_figures(
    bundle: Bundle,
    logits: dict[str, np.ndarray],
    queries: TaggedPhotos,
    *,
    leaked: np.ndarray | None = None,
) -> FigureGroup:
    """Figures of every attribute head of one value over the query photos that have one: {name:
    {key: f}}.

    ``head``: accuracy; a value the head does not know counts as wrong, also for the ECE, while the
    NLL leaves it out. ``answered``: the share that reaches the head's floor;
    ``answered_accuracy``: how many of those are right, None without any. ``product_head``: accuracy
    over products, whose photos count alike. ``leaked`` bool [Q]: photos that judge nothing.
    """
    barred = np.zeros(len(queries.rows), bool) if leaked is None else leaked
    values: dict[str, dict[str, float | None]] = {}
    intervals: dict[str, list[float]] = {}
    for head in bundle.spec.heads:
        if head.several or head.name not in bundle.decision.attributes:
            continue
        names = bundle.decision.attributes[head.name]
        numbers = [
            n
            for n, row in enumerate(queries.rows)
            if first_value(row.attributes.get(head.name)) is not None and not barred[n]
        ]
        if not numbers:
            continue
        rows = [queries.rows[number] for number in numbers]
        label_of = {names[number]: place for place, number in enumerate(head.classes)}
        given = [first_value(row.attributes[head.name]) for row in rows]
        truth = np.array([-1 if value is None else label_of.get(value, -1) for value in given])
        values[head.name], right = _head_figures(
            bundle.decision, head.name, logits[head.name][numbers], truth
        )
        products = [row.product_id for row in rows]
        values[head.name]["product_head"] = product_accuracy(
            logits[head.name][numbers], truth, products
        )
        intervals |= by_product(rows).means({f"attributes.{head.name}.head": right})
    return FigureGroup(values, intervals)


def _head_figures(
    decision: Decision, name: str, logits: np.ndarray, truth: np.ndarray
) -> tuple[dict[str, float | None], np.ndarray]:
    """Figures of one attribute's head [N, C], and which photos (``truth`` int [N], -1: a value it
    does not know) it is right about."""
    probability = attribute_probabilities(logits, decision, name)
    surest = probability.max(1)
    right = probability.argmax(1) == truth
    known = truth >= 0
    own = probability[known, truth[known]]
    said = surest >= decision.attribute_floors.get(name, 0.0)
    found: dict[str, float | None] = {
        "head": float(right.mean()),
        "nll": float(-np.log(np.maximum(own, 1e-12)).mean()) if known.any() else None,
        "ece": expected_calibration_error(surest, right.astype(float)),
        "answered": float(said.mean()),
        "answered_accuracy": float(right[said].mean()) if said.any() else None,
    }
    return found, right


def product_accuracy(logits: np.ndarray, truth: np.ndarray, products: Sequence[str]) -> float:
    """Accuracy over products of a head's logits [N, C], each the mean over a product's photos.

    ``truth`` int [N], the same for the photos of one product; what is below 0 counts as wrong.
    """
    _, first, product = np.unique(np.asarray(products, str), return_index=True, return_inverse=True)
    together = np.zeros((len(first), logits.shape[1]))
    np.add.at(together, product, logits)
    return float((together.argmax(1) == truth[first]).mean())


def _levels(rows: list[DatasetRow], predicted: list[tuple[str, ...]]) -> list[np.ndarray] | None:
    """Per level of the category paths, top first: is the prediction right down to it? None where
    there is one level."""
    actual = [row.category or () for row in rows]
    depth = max(len(path) for path in actual)
    if depth == 1:
        return None
    return [_right_down_to(level, predicted, actual) for level in range(1, depth + 1)]


def _right_down_to(
    level: int, predicted: Sequence[tuple[str, ...]], actual: Sequence[tuple[str, ...]]
) -> np.ndarray:
    """bool [N]: the first ``level`` names of the predicted path are those of the actual one."""
    pairs = zip(predicted, actual, strict=True)
    return np.array([guess[:level] == path[:level] for guess, path in pairs])
