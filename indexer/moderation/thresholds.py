"""Thresholds of galleries, their fit, and verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit, logsumexp

from indexer.model.few_shot import Background, fit_tag

Verdict = Literal["allow", "review", "block"]
VERDICTS: tuple[Verdict, ...] = ("allow", "review", "block")

FALSE_ALARMS = 0.005  # share of the catalog's own photos that a gallery may ask a person about
PRECISION = 0.9  # that a block must have kept, over held-out examples and the catalog
_REACHED = (
    0.5  # of the held-out examples must get over a bound to block, or it says nothing about them
)

_MOST_RIVALS, _FEWEST = (
    64,
    5,
)  # kinds of the catalog that a banned kind is told from, and photos that one must have


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The strictest of some verdicts; ``allow`` of none."""
    return max(verdicts, key=VERDICTS.index, default="allow")


@dataclass(frozen=True)
class Bounds:
    """Scores from which a person is asked and from which a listing is blocked; ``block`` None:
    never."""

    review: float
    block: float | None

    def verdict(self, score: float, limit: Verdict = "block") -> Verdict:
        """What a score comes to, at most ``limit``."""
        if self.block is not None and score >= self.block:
            return limit
        return "review" if score >= self.review else "allow"


def fit_bounds(
    catalog: np.ndarray, held_out: np.ndarray, *, false_alarms: float = FALSE_ALARMS
) -> Bounds | None:
    """Bounds from the scores of the catalog's photos [N] and of examples that took no part in the
    match [P].

    ``review`` is what a share of ``false_alarms`` of the catalog reaches. ``block`` lies beyond the
    catalog's highest score by as much as that lies beyond ``review``, since a sample's highest is
    not the highest there is. It holds only where at least half of ``held_out`` reach it, with a
    precision of ``PRECISION`` over both, and the catalog is large enough for one false alarm: the
    highest of few scores says nothing. Without a catalog nothing is blocked, and everything above
    the lowest held-out score is for a person. None of nothing at all.
    """
    if not len(catalog):
        return Bounds(float(held_out.min()), None) if len(held_out) else None
    review, highest = float(np.quantile(catalog, 1 - false_alarms)), float(catalog.max())
    block = float(np.nextafter(highest + (highest - review), np.inf))
    right, wrong = int((held_out >= block).sum()), int((catalog >= block).sum())
    sure = right >= max(1, _REACHED * len(held_out)) and right / (right + wrong) >= PRECISION
    return Bounds(review, block if sure and len(catalog) * false_alarms >= 1 else None)


@dataclass(frozen=True)
class Rivals:
    """What the catalog's own kinds make of an embedding: one row of the discriminant for each of K
    kinds."""

    weight: np.ndarray  # float32 [K, D]
    bias: np.ndarray  # float32 [K]

    def of(self, vectors: np.ndarray) -> np.ndarray:
        """float [N]: the log of the kinds' summed likelihoods of embeddings [N, D]; 0 where there
        are no kinds."""
        if not len(self.bias):
            return np.zeros(len(vectors))
        return np.asarray(logsumexp(vectors @ self.weight.T + self.bias, axis=1))


def fit_rivals(catalog: np.ndarray, groups: np.ndarray, behind: Background) -> Rivals:
    """Of a catalog's vectors [M, D] and their kinds int [M] (-1: not known): of its 64 commonest,
    from 5 photos on.

    A row for banned examples less ``Rivals.of`` is the log odds of the banned kind against all
    known ones. On classes held out of training that ranks better than the row alone, which measures
    likeness against the catalog's mean.
    """
    kinds, counts = np.unique(groups[groups >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_RIVALS]
    rows = [
        fit_tag(catalog[groups == kind], behind, catalog[:0])
        for kind, count in zip(kinds[order], counts[order], strict=True)
        if count >= _FEWEST
    ]
    if not rows:
        return Rivals(np.zeros((0, len(behind.scale)), np.float32), np.zeros(0, np.float32))
    return Rivals(
        np.stack([row.weight for row in rows]), np.array([row.bias for row in rows], np.float32)
    )


def logistic(score: float, review: float, scale: float) -> float:
    """A score of any unit to (0, 1), in the same order: 0.5 at ``review``, ``scale`` units to a
    step of the logit."""
    return float(expit((score - review) / scale))
