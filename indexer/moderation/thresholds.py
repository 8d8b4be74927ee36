"""Thresholds of scores: verdicts, and their fit to a catalog's near misses."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit

from indexer.core.vectors import log_sum_exp
from indexer.model.few_shot import Background, fit_tag

Verdict = Literal["allow", "review", "block"]
VERDICTS: tuple[Verdict, ...] = ("allow", "review", "block")

# share of the catalog's own photos that a gallery may ask a person about, where it has a budget
# of its own
FALSE_ALARMS = 0.005
# that a block must have kept, over held-out examples and the catalog
PRECISION = 0.9
# of the held-out examples must get over a bound to block, or it says nothing about them
_REACHED = 0.5
# kinds of the catalog that a banned kind is distinguished from
_MAX_RIVALS = 64
# photos that such a kind must have
_MIN_PHOTOS = 5


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The strictest of some verdicts; ``allow`` of none."""
    return max(verdicts, key=VERDICTS.index, default="allow")


@dataclass(frozen=True)
class Bounds:
    """Scores from which a person is asked, and from which a listing is blocked.

    ``block`` None: never.
    """

    review: float
    block: float | None

    def verdict(self, score: float, limit: Verdict = "block") -> Verdict:
        """The verdict on a score, at most ``limit``."""
        if self.block is not None and score >= self.block:
            return limit
        return "review" if score >= self.review else "allow"


def fit_bounds(
    catalog: np.ndarray,
    held_out: np.ndarray,
    *,
    false_alarms: float = FALSE_ALARMS,
    review: float | None = None,
    least: float = -math.inf,
) -> Bounds | None:
    """Fit bounds to the scores of the catalog's photos [N] and of held-out examples [P].

    ``review`` is what a share of ``false_alarms`` of the catalog reaches, or as given where that
    share is of several ways to match. ``block`` lies beyond the catalog's highest score, and
    ``review``, by as much as that lies beyond what the share reaches, since a sample's highest is
    not the highest there is. It holds only where at least half of ``held_out`` reach it, with a
    precision of ``PRECISION`` over both, and the catalog is large enough for one false alarm: the
    highest of few scores says nothing. Without a catalog nothing is blocked, and everything above
    the lowest held-out score is for a person. None of nothing at all. ``least``: of ``review``,
    whatever the catalog says; scores below it mean that nothing was found.
    """
    if not len(catalog):
        return Bounds(max(float(held_out.min()), least), None) if len(held_out) else None
    reached = float(np.quantile(catalog, 1 - false_alarms))
    review = max(reached if review is None else review, least)
    highest = max(float(catalog.max()), review)
    block = float(np.nextafter(highest + (highest - reached), np.inf))
    right, wrong = int((held_out >= block).sum()), int((catalog >= block).sum())
    sure = right >= max(1, _REACHED * len(held_out)) and right / (right + wrong) >= PRECISION
    return Bounds(review, block if sure and len(catalog) * false_alarms >= 1 else None)


@dataclass(frozen=True)
class Rivals:
    """The catalog's own kinds: one row of the discriminant for each of K kinds."""

    weight: np.ndarray  # float32 [K, D]
    bias: np.ndarray  # float32 [K]

    def score(self, vectors: np.ndarray) -> np.ndarray:
        """Log of the kinds' summed likelihoods float [N] of embeddings [N, D]; 0 without kinds."""
        if not len(self.bias):
            return np.zeros(len(vectors))
        return np.asarray(log_sum_exp(vectors @ self.weight.T + self.bias, axis=1))


def fit_rivals(catalog: np.ndarray, groups: np.ndarray, behind: Background) -> Rivals:
    """Fit the 64 commonest kinds of a catalog that have 5 photos or more.

    ``catalog`` [M, D] are its vectors, ``groups`` int [M] their kinds (-1: not known). A row for
    banned examples less ``Rivals.score`` is the log odds of the banned kind against all
    known ones. On classes held out of training that ranks better than the row alone, which measures
    likeness against the catalog's mean.
    """
    kinds, counts = np.unique(groups[groups >= 0], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MAX_RIVALS]
    rows = [
        fit_tag(catalog[groups == kind], behind, catalog[:0])
        for kind, count in zip(kinds[order], counts[order], strict=True)
        if count >= _MIN_PHOTOS
    ]
    if not rows:
        return Rivals(np.zeros((0, len(behind.scale)), np.float32), np.zeros(0, np.float32))
    bias = np.array([row.bias for row in rows], np.float32)
    return Rivals(np.stack([row.weight for row in rows]), bias)


def logistic(score: float, review: float, scale: float) -> float:
    """Map a score of any unit to (0, 1), in the same order.

    0.5 at ``review``, ``scale`` units to a step of the logit.
    """
    return float(expit((score - review) / scale))
