"""Likely label errors by confident learning, before anything is trained.

What is reported as wrong has a floor: more photos carry an improbable label than a model that is
right about its own doubts explains. What has none is a doubt, to be looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from indexer.core.category_path import format_path
from indexer.core.vectors import unit_rows
from indexer.feeds.dataset import DatasetRow
from indexer.model.calibration import fit_temperature, softmax
from indexer.model.decision_layer import Category
from indexer.training.sampling import sample_indices

_RIDGE = 0.3  # of the mean eigenvalue
_SHOWN = 10
# of folds, whose probabilities are averaged; one where classes are many, since each costs more
_DRAWS = 3
_MANY_CLASSES = 100
# of the reported errors the share that chance may explain, with 95% certainty
_BY_CHANCE = 0.3
_ONE_SIDED = 1.64  # standard deviations
# probabilities held at once: of 5,000 classes 13,000 photos, of 100 more than there are
_SCORES = 2**26
_ROWS = 8192  # photos whose probabilities are sorted in at once


@dataclass(frozen=True)
class LabelIssue:
    """One photo that probably shows something else than its category says."""

    where: str
    product_id: str
    given: str
    suggested: str
    confidence: float  # out-of-fold probability of the suggestion
    given_probability: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class LabelCheck:
    """What was found about the labels of so many photos; both lists the worst first."""

    issues: list[LabelIssue]  # probably wrong
    doubts: list[LabelIssue]  # look like something else, as some right ones do
    photos: int


NO_LABELS = LabelCheck([], [], 0)


def check_labels(
    rows: Sequence[DatasetRow],
    features: np.ndarray,
    labels: np.ndarray,
    pixels: np.ndarray,
    categories: Sequence[Category],
) -> LabelCheck:
    """Find likely label errors and doubts (``labels`` int [N], none negative).

    ``features`` [N, F] of a frozen backbone. Photos of one product, and exact copies, are judged
    without one another. Of many photos of many classes a draw is judged (``judged_count``).
    """
    if (count := judged_count(len(rows), len(categories))) < len(rows):
        some = sample_indices(np.ones(len(rows), bool), count)
        rows = [rows[number] for number in some]
        features = features[some]
        labels = labels[some]
        pixels = pixels[some]
    groups = linked_groups([row.product_id for row in rows], pixels)
    if not rows:
        return NO_LABELS
    draws = _DRAWS if len(categories) <= _MANY_CLASSES else 1
    probability = out_of_fold(features, labels, groups, len(categories))
    for seed in range(1, draws):
        probability += out_of_fold(features, labels, groups, len(categories), seed=seed)
    probability /= draws
    doubted = confident_errors(probability, labels)
    wrong = improbable_labels(probability, labels)

    def issue(number: int) -> LabelIssue:
        suggested = int(probability[number].argmax())
        return LabelIssue(
            where=rows[number].where,
            product_id=rows[number].product_id,
            given=format_path(categories[labels[number]].path),
            suggested=format_path(categories[suggested].path),
            confidence=float(probability[number, suggested]),
            given_probability=float(probability[number, labels[number]]),
        )

    claimed = doubted[np.isin(doubted, wrong)]
    if len(claimed) * _BY_CHANCE < _ONE_SIDED:  # too few to say anything of
        claimed = claimed[:0]
    return LabelCheck(
        [issue(number) for number in claimed],
        [issue(number) for number in doubted[~np.isin(doubted, claimed)]],
        len(rows),
    )


def improbable_labels(probability: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Find photos whose label is less probable than chance explains, the least probable first.

    Labels drawn by the probabilities themselves would give, at or below any bound, as many
    improbable labels as the probabilities up to that bound add up to. The bound is the highest
    at which those are at most ``_BY_CHANCE`` of the photos found there. ``probability`` [N, C],
    calibrated; NaN rows are not judged.
    """
    judged = np.flatnonzero(~np.isnan(probability[:, 0]))
    own = probability[judged, labels[judged]]
    order = np.argsort(own, kind="stable")
    bounds = own[order]
    added = np.zeros(len(bounds) + 1)  # what each bound adds to the one before
    for start in range(0, len(judged), _ROWS):
        each = probability[judged[start : start + _ROWS]].ravel()
        added += np.bincount(np.searchsorted(bounds, each), each, minlength=len(added))
    expected = np.cumsum(added)[:-1]
    expected += _ONE_SIDED * np.sqrt(expected + 1)
    found = np.arange(1, len(order) + 1)
    enough = np.flatnonzero((expected <= _BY_CHANCE * found) & (bounds < 0.5))
    return np.asarray(judged[order[: enough[-1] + 1 if len(enough) else 0]])


def judged_count(photos: int, classes: int) -> int:
    """Count how many of so many labelled photos ``check_labels`` examines."""
    return min(photos, _SCORES // max(classes, 1))


def issue_notes(check: LabelCheck) -> list[str]:
    """Summarise what was found: a summary, then the worst ten."""
    lines = []
    if check.issues:
        lines.append(
            f"{len(check.issues)} of {check.photos} labelled photos probably carry a wrong "
            "category; the worst:"
        )
    for issue in check.issues[:_SHOWN]:
        lines.append(
            f"{issue.where}: {issue.given!r}, looks like {issue.suggested!r} "
            f"({issue.confidence:.2f})"
        )
    if check.doubts:
        lines.append(
            f"{len(check.doubts)} of {check.photos} labelled photos look more like another "
            "category, which may be the model's fault: worth a look (label_doubts with --json)"
        )
    return lines


def linked_groups(products: Sequence[str], pixels: np.ndarray) -> np.ndarray:
    """Group photos linked by a product or by exact copies, over any number of steps.

    Returns int [N], equal within a group.
    """
    count = len(products)
    if count == 0:
        return np.zeros(0, np.int64)
    _, product = np.unique(np.asarray(products, str), return_inverse=True)
    _, copy = np.unique(np.asarray(pixels, str), return_inverse=True)
    start = count
    stop = count + int(product.max()) + 1
    photos = np.arange(count)
    ends = np.concatenate([product + start, copy + stop])
    size = stop + int(copy.max()) + 1
    links = coo_array((np.ones(2 * count), (np.tile(photos, 2), ends)), shape=(size, size))
    return np.asarray(connected_components(links, directed=False)[1][:count])


def out_of_fold(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    classes: int,
    *,
    folds: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Predict probabilities [N, C] of each photo by a probe that saw neither it nor its group.

    Rows are NaN where none could. Ridge regression onto class indicators, one factorisation per
    fold, and one temperature for all. Groups of one class are dealt out over the folds in turn, so
    that a class with two groups is always known to the other's fold.
    """
    rng = np.random.default_rng(seed)
    values = unit_rows(np.asarray(features, np.float32))
    values = values - values.mean(0)
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    dealt = np.lexsort((rng.permutation(len(first)), labels[first]))
    fold_of_group = np.empty(len(first), np.int64)
    fold_of_group[dealt] = np.arange(len(first)) % folds
    fold = fold_of_group[group]
    scores = np.full((len(values), classes), np.nan)
    gram = values.T @ values
    onto = np.zeros((values.shape[1], classes), np.float32)
    np.add.at(onto.T, labels, values)
    decay = _RIDGE * float(np.trace(gram)) / len(gram) + 1e-6
    for number in range(folds):
        out = fold == number
        if not out.any() or out.all():
            continue
        here = np.zeros_like(onto)
        np.add.at(here.T, labels[out], values[out])
        left = gram - values[out].T @ values[out] + decay * np.eye(len(gram), dtype=np.float32)
        seen = np.bincount(labels[~out], minlength=classes)
        found = values[out] @ np.linalg.solve(left, onto - here) + seen / seen.sum()
        found[:, seen == 0] = -10.0  # a class that this fold's probe has not seen is not suggested
        judged = seen[labels[out]] > 0
        scores[np.flatnonzero(out)[judged]] = found[judged]
    known = ~np.isnan(scores[:, 0])
    if known.any():
        temperature = fit_temperature(scores[known] * 10, labels[known]) / 10
        scores[known] = softmax(scores[known], temperature)
    return scores


def confident_errors(probability: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Find photos whose label is probably wrong, by the margin of the suggestion.

    A photo counts where another class is its most probable one, and at least as probable as that
    class is on average for the photos that carry it (Northcutt et al. 2021,
    "Confident Learning"). ``probability`` [N, C], NaN rows are not judged; a class that no judged
    photo carries is never suggested.
    """
    judged = np.flatnonzero(~np.isnan(probability[:, 0]))
    if len(judged) == 0:
        return judged
    given = labels[judged]
    own = probability[judged, given]
    count = np.bincount(given, minlength=probability.shape[1])
    usual = np.bincount(given, own, minlength=probability.shape[1]) / np.maximum(count, 1)
    usual[count == 0] = np.inf
    best = probability[judged].argmax(1)
    highest = probability[judged, best]
    wrong = (best != given) & (highest >= usual[best])
    return np.asarray(judged[wrong][np.argsort(-(highest - own)[wrong], kind="stable")])
