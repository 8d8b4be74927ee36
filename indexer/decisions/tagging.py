"""Which tags a photo should carry: similarity-weighted votes of its nearest products, and what heads say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.decisions.calibration import probabilities
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


def head_chances(logits: Mapping[str, np.ndarray], tag_heads: Mapping[str, tuple[str, int]]) -> dict[str, float]:
    """What the heads say of each tag they know: probability in [0, 1] of the class that stands for it.

    ``logits``: head name -> [C] of one photo; ``tag_heads``: tag -> (head name, class).
    """
    chances = {name: probabilities(logits[name]) for name in {head for head, _ in tag_heads.values()}}
    return {tag: float(chances[head][number]) for tag, (head, number) in tag_heads.items()}


def vote_tags(
    hits: Sequence[tuple[int, float]],
    tags_of: Mapping[int, Sequence[str]],
    params: TagParams,
    *,
    chances: Mapping[str, float] | None = None,
    threshold: float | None = None,
) -> list[TagSuggestion]:
    """Votes of the nearest products, one vote per product, blended with what heads say; best tag first.

    ``hits``: (pid, score) best first; the first ``params.k`` that carry any tag vote: a product nobody has tagged says
    nothing about tags, so it takes no share of the vote. ``chances`` (tag -> probability, of ``head_chances``) have
    ``params.heads`` of the confidence of tags they name. ``threshold`` overrides the model's own; 0 gives every tag.
    """
    voters = [(pid, score) for pid, score in hits if tags_of.get(pid)][: params.k]
    shares: dict[str, float] = {}
    support: dict[str, list[tuple[int, float]]] = {}
    scores = np.array([score for _, score in voters])
    weights = vote_weights(scores, params.temperature) if voters else scores
    for (pid, score), weight in zip(voters, weights, strict=True):
        for tag in dict.fromkeys(tags_of[pid]):
            shares[tag] = shares.get(tag, 0.0) + float(weight)
            support.setdefault(tag, []).append((pid, score))
    # Where nobody votes the heads speak alone: a first product in an empty shop can be tagged too.
    said = params.heads if voters else 1.0
    for tag, chance in (chances or {}).items() if params.heads else ():
        shares[tag] = (1 - said) * shares.get(tag, 0.0) + said * chance
    bar = params.threshold if threshold is None else threshold
    kept = [TagSuggestion(tag, min(share, 1.0), support.get(tag, [])) for tag, share in shares.items() if share >= bar]
    return sorted(kept, key=lambda suggestion: (-suggestion.confidence, suggestion.tag))
