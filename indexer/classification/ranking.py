"""Category ranking: head logits and few-shot rows to ranked categories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from indexer.core.vectors import log_sum_exp
from indexer.model.calibration import remove_label_smoothing, softmax
from indexer.model.decision_layer import Category, Decision, FewShot
from indexer.model.few_shot import few_shot_scores


def category_logits(
    logits: np.ndarray | None, vectors: np.ndarray, decision: Decision
) -> np.ndarray:
    """Return logits [N, K] in the order of ``decision.categories``.

    ``logits``: the category head's [N, C] (None: no head); ``vectors`` [N, D] for few-shot rows.
    A category of several head classes or rows gets the log-sum-exp of theirs, so its probability is
    their sum. Few-shot rows share one threshold, the mean of theirs: apart from it they compete
    with each other by score alone; and so do rows that words describe among themselves.
    """
    entries = [entry for entry in decision.few_shot if entry.kind == "category"]
    if logits is not None:
        logits = remove_label_smoothing(logits, decision.smoothing)
    if logits is not None and not entries and _as_trained(decision, logits.shape[1]):
        return logits
    parts: dict[int, list[np.ndarray]] = {category.id: [] for category in decision.categories}
    if logits is not None:
        for category in decision.categories:
            parts[category.id] += [logits[:, label] for label in category.trained]
    if entries:
        scores = few_shot_scores(vectors, entries)
        if logits is not None:
            scores = scores - _thresholds(entries)
        for number, entry in enumerate(entries):
            parts[int(entry.category or 0)].append(scores[:, number])
    t = decision.temperature
    together = [
        t * log_sum_exp(np.stack(parts[category.id]) / t, axis=0)
        if parts[category.id]
        else np.full(len(vectors), -1e9)
        for category in decision.categories
    ]
    return np.stack(together, axis=1).astype(np.float32)


def _thresholds(entries: Sequence[FewShot]) -> np.ndarray:
    """The threshold [K] of each row: the mean of those that are made as it is."""
    described = np.array([bool(entry.prompts) for entry in entries])
    own = np.array([entry.threshold for entry in entries])
    shared = {made: float(own[described == made].mean()) for made in np.unique(described)}
    return np.array([shared[made] for made in described])


def rank_categories(
    logits: np.ndarray, decision: Decision, *, top: int = 5
) -> list[tuple[Category, float]]:
    """Return the ``top`` most probable categories with their probabilities, best first.

    ``logits`` [K] in the order of ``decision.categories``.
    """
    probabilities = softmax(logits, decision.temperature)
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [(decision.categories[place], float(probabilities[place])) for place in order]


def _as_trained(decision: Decision, classes: int) -> bool:
    """Return whether there is one category for each class of the head, in order."""
    return [category.labels for category in decision.categories] == [
        (label,) for label in range(classes)
    ]
