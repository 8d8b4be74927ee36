"""Which tags a photo should carry: similarity-weighted votes of its nearest products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.model.decision import TagParams


@dataclass(frozen=True)
class TagSuggestion:
    """One tag, the share of the vote it got in [0, 1], and the products that voted for it, nearest first."""

    tag: str
    confidence: float
    neighbours: list[tuple[int, float]]  # (pid, score)


def vote_weights(scores: np.ndarray, temperature: float) -> np.ndarray:
    """Scores [n] (cosines, best first) -> weights [n] that sum to 1: softmax(score / temperature)."""
    weights = np.exp((np.asarray(scores, np.float64) - np.max(scores)) / temperature)
    return weights / weights.sum()


def vote_tags(
    hits: Sequence[tuple[int, float]],
    tags_of: Mapping[int, Sequence[str]],
    params: TagParams,
    *,
    threshold: float | None = None,
) -> list[TagSuggestion]:
    """Votes of the nearest products, one vote per product, best tag first.

    ``hits``: (pid, score) best first; the first ``params.k`` that carry any tag vote: a product nobody has tagged says
    nothing about tags, so it takes no share of the vote. ``threshold`` overrides the model's own; 0 gives every tag.
    """
    voters = [(pid, score) for pid, score in hits if tags_of.get(pid)][: params.k]
    if not voters:
        return []
    weights = vote_weights(np.array([score for _, score in voters]), params.temperature)
    shares: dict[str, float] = {}
    support: dict[str, list[tuple[int, float]]] = {}
    for (pid, score), weight in zip(voters, weights, strict=True):
        for tag in dict.fromkeys(tags_of[pid]):
            shares[tag] = shares.get(tag, 0.0) + float(weight)
            support.setdefault(tag, []).append((pid, score))
    bar = params.threshold if threshold is None else threshold
    kept = [TagSuggestion(tag, min(share, 1.0), support[tag]) for tag, share in shares.items() if share >= bar]
    return sorted(kept, key=lambda suggestion: (-suggestion.confidence, suggestion.tag))
