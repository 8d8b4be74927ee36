"""Which category a photo shows: logits and vectors to ranked categories, few-shot tags to suggestions."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logsumexp

from indexer.decisions.calibration import probabilities, unsmoothed
from indexer.decisions.tagging import TagSuggestion
from indexer.model.decision import Category, Decision, FewShot


def category_logits(logits: np.ndarray | None, vectors: np.ndarray, decision: Decision) -> np.ndarray:
    """The category head's logits [N, C] (None: no head) and vectors [N, D] -> logits [N, K] of decision.categories.

    A category of several columns or rows gets the log-sum-exp of theirs, so its probability is their sum. Few-shot rows
    share one threshold, the mean of theirs: apart from it they compete with each other by score alone.
    """
    entries = [entry for entry in decision.few_shot if entry.kind == "category"]
    if logits is not None:
        logits = unsmoothed(logits, decision.smoothing)
    if logits is not None and not entries and _as_trained(decision, logits.shape[1]):
        return logits
    parts: dict[int, list[np.ndarray]] = {category.id: [] for category in decision.categories}
    if logits is not None:
        for category in decision.categories:
            parts[category.id] += [logits[:, column] for column in category.trained]
    if entries:
        threshold = float(np.mean([entry.threshold for entry in entries])) if logits is not None else 0.0
        scores = _scores(vectors, entries) - threshold
        for number, entry in enumerate(entries):
            parts[int(entry.category or 0)].append(scores[:, number])
    t = decision.temperature
    together = [
        t * logsumexp(np.stack(parts[category.id]) / t, axis=0) if parts[category.id] else np.full(len(vectors), -1e9)
        for category in decision.categories
    ]
    return np.stack(together, axis=1).astype(np.float32)


def rank_categories(logits: np.ndarray, decision: Decision, *, top: int = 5) -> list[tuple[Category, float]]:
    """Logits [K] in the order of ``decision.categories`` -> the ``top`` most probable, best first; in [0, 1]."""
    chances = probabilities(logits, decision.temperature)
    order = np.argsort(-chances, kind="stable")[:top]
    return [(decision.categories[column], float(chances[column])) for column in order]


def with_few_shot_tags(suggested: list[TagSuggestion], vectors: np.ndarray, decision: Decision) -> list[TagSuggestion]:
    """``suggested`` and the few-shot tags that the vectors [N, D] of one product reach; the surer counts."""
    entries = [entry for entry in decision.few_shot if entry.kind == "tag"]
    if not entries:
        return suggested
    best = {entry.tag: entry for entry in suggested}
    for entry, confidence in zip(entries, expit(_scores(vectors, entries).mean(axis=0)), strict=True):
        tag = str(entry.tag)
        if confidence < entry.threshold or (tag in best and best[tag].confidence >= confidence):
            continue
        best[tag] = TagSuggestion(tag, float(confidence), best[tag].neighbours if tag in best else [])
    return sorted(best.values(), key=lambda suggestion: (-suggestion.confidence, suggestion.tag))


def _scores(vectors: np.ndarray, entries: list[FewShot]) -> np.ndarray:
    """float64 [N, K]: weight @ vector + bias of each entry."""
    weights = np.stack([entry.weight for entry in entries]).astype(np.float64)
    return np.asarray(vectors, np.float64) @ weights.T + np.array([entry.bias for entry in entries])


def _as_trained(decision: Decision, columns: int) -> bool:
    """One category for each column, in order."""
    return [category.columns for category in decision.categories] == [(column,) for column in range(columns)]
