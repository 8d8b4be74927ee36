"""Label metrics: heads of which several labels may be true, by product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from indexer.classification.attribute_prediction import label_probabilities
from indexer.core.proportions import clopper_pearson
from indexer.evaluation.plots import tag_rows
from indexer.evaluation.results import FigureGroup
from indexer.model.calibration import pair_calibration_error
from indexer.model.decision_layer import Decision
from indexer.model.runtime_base import Runtime
from indexer.model.spec import FREE_TAGS, Head
from indexer.tagging.fit import best_threshold
from indexer.tagging.samples import incidence_matrix
from indexer.tagging.voting import mean_by_product
from indexer.training.label_targets import known_labels, list_values
from indexer.training.metrics import TagCounts, bootstrap, tag_map
from indexer.training.tag_samples import TaggedPhotos

# Where no validation product has a list.
_PLAIN = 0.5


def label_figures(
    runtime: Runtime, decision: Decision, sets: Mapping[str, TaggedPhotos], split: str
) -> FigureGroup:
    """The key ``labels`` of an evaluation of ``split``: {head: figures}; None without such heads.

    Of products with a list, over the labels that the head knows: by the head alone, above the one
    threshold of best micro-F1 on validation. ``per_label`` counts, with Clopper and Pearson's
    intervals of precision and recall.
    """
    found: dict[str, Any] = {}
    intervals: dict[str, list[float]] = {}
    for head in runtime.spec.heads:
        if not head.several:
            continue
        names = label_names(head, decision)
        tested = _judged(runtime, head, names, sets[split])
        if not tested[0].any():
            continue
        known = _judged(runtime, head, names, sets["validation"])
        bar = best_threshold(*known)
        values, drawn = _figures(names, *tested, _PLAIN if bar is None else bar)
        found[head.name] = values
        intervals |= {f"labels.{head.name}.{key}": bounds for key, bounds in drawn.items()}
    return FigureGroup({"labels": found or None}, intervals)


def label_names(head: Head, decision: Decision) -> tuple[str, ...]:
    """The labels of a head in the order of its logits."""
    if head.name != FREE_TAGS:
        values = decision.attributes[head.name]
        return tuple(values[number] for number in head.classes)
    places = {
        number: tag for tag, (name, number) in decision.tag_heads.items() if name == FREE_TAGS
    }
    return tuple(places[number] for number in head.classes)


def _judged(
    runtime: Runtime, head: Head, names: Sequence[str], photos: TaggedPhotos
) -> tuple[np.ndarray, np.ndarray]:
    """Labels bool [P, L] and probabilities [P, L] of the products that have a list."""
    held = [
        row.tags if head.name == FREE_TAGS else list_values(row.attributes.get(head.name))
        for row in photos.rows
    ]
    kept = np.flatnonzero(photos.judging & np.array([bool(one) for one in held], bool))
    if not len(kept):
        return np.zeros((0, len(names)), bool), np.zeros((0, len(names)))
    products = np.array([photos.rows[place].product_id for place in kept.tolist()], str)
    order = np.argsort(products, kind="stable")
    starts = np.unique(products[order], return_index=True)[1]
    logits = runtime.logits(photos.vectors[kept[order]])[head.name]
    number = {name: place for place, name in enumerate(names)}
    carried = [known_labels(held[place], number) for place in kept[order][starts].tolist()]
    actual = incidence_matrix(carried, number).toarray() > 0
    return actual, label_probabilities(mean_by_product(logits, starts))


def _figures(
    names: Sequence[str], actual: np.ndarray, confidence: np.ndarray, bar: float
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    counts = TagCounts(actual, confidence >= bar)
    precision, recall, f1 = (float(value) for value in counts.micro())
    macro = float(counts.macro_f1())
    drawn = bootstrap(np.arange(len(actual)))
    values = {
        "products": len(actual),
        "labels": len(names),
        "threshold": bar,
        "precision": precision,
        "recall": recall,
        "micro_f1": f1,
        "macro_f1": macro,
        "map": tag_map(actual, confidence),
        "ece": pair_calibration_error(confidence, actual),
        "per_label": {
            row["tag"]: _label_row(row) for row in tag_rows(names, actual, counts.suggested)
        },
    }
    intervals = {
        "micro_f1": drawn.interval(f1, counts.micro(drawn.weights)[2]),
        "macro_f1": drawn.interval(macro, counts.macro_f1(drawn.weights)),
    }
    return values, intervals


def _label_row(row: dict[str, Any]) -> dict[str, Any]:
    carried, given = row["n"], row["suggested"]
    right = round((row["recall"] or 0.0) * carried)
    return {
        "products": carried,
        "suggested": given,
        "right": right,
        "precision": row["precision"],
        "recall": row["recall"],
        "f1": row["f1"],
        "precision_interval": clopper_pearson(right, given) if given else None,
        "recall_interval": clopper_pearson(right, carried) if carried else None,
    }
