"""False-alarm budget of a policy file, shared over all ways to match by their joint tail."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexer.core.proportions import clopper_pearson

# share of ordinary photos that all galleries of a file together may ask a person about
BUDGET = 0.005
# The most that a file may ask for: the tails below are of the highest scores.
LARGEST = 0.1
# of a catalog's scores, from which the tail is fitted, and the least of them
_TAIL, _LEAST = 0.05, 10
# What other detectors ask about goes off the budget; this much of it stays with the galleries.
_KEPT = 0.5
# Of S scores one is rarer than this part of 1/S in one catalog of a hundred.
_BEYOND = 0.01
# parts of the photos, each judged by the others; from so many photos on
_FOLDS, _FOLDED = 5, 50


@dataclass(frozen=True)
class ScoreTail:
    """Upper end of the scores of a catalog's photos, exponential beyond its start.

    Scores of galleries are of many units; how rare a score is makes them one. It may be rarer than
    any photo of the catalog shows, so the highest scores are continued (peaks over a threshold
    with exponential excess: Pickands 1975).
    """

    start: float
    # of the photos, at or above ``start``
    share: float
    # mean excess
    scale: float

    @classmethod
    def fit(cls, scores: np.ndarray, *, budget: float = BUDGET) -> ScoreTail:
        """Fit the tail of scores [M], at least 2 of them."""
        ordered = np.sort(scores.astype(np.float64))[::-1]
        wanted = math.ceil(max(_TAIL, 2 * budget) * len(ordered))
        count = min(max(wanted, _LEAST), len(ordered) - 1)
        start = float(ordered[count])
        scale = max(float(ordered[:count].mean()) - start, 1e-9 * max(abs(start), 1.0))
        return cls(start, count / len(ordered), scale)

    def rarity(self, scores: np.ndarray) -> np.ndarray:
        """Share of ordinary photos that reach each of ``scores``; 1 below the tail."""
        excess = np.maximum(scores - self.start, 0.0) / self.scale
        return np.where(scores > self.start, self.share * np.exp(-excess), 1.0)

    def score_at(self, rarity: float) -> float:
        """The score that a share of ``rarity`` reaches; the tail's start where it is no tail."""
        return self.start + self.scale * max(math.log(self.share / rarity), 0.0)


@dataclass(frozen=True)
class AlarmReport:
    """How many ordinary photos the galleries of a file ask about, as far as the catalog shows.

    ``wanted`` is the file's budget, None where each gallery has its own (version 1). Of ``photos``
    of the catalog ``alarms`` are asked about; ``lowest`` and ``highest`` bound the share in other
    photos (95%, Clopper and Pearson). ``others``: of them asked about by detectors with thresholds
    of the file.
    """

    wanted: float | None
    photos: int
    alarms: int
    others: int
    lowest: float
    highest: float

    @property
    def finest(self) -> float:
        """The least share that so many photos can show: that of one more photo."""
        return 1 / (self.photos + 1)

    @property
    def shown(self) -> bool:
        """Whether the photos can show the budget, and other detectors leave some of it."""
        if self.wanted is None:
            return False
        return self.finest <= self.wanted and self.alarms <= _allowed(self.photos, self.wanted)

    def describe(self) -> str:
        """One sentence for the shop."""
        found = (
            f"of {self.photos} catalog photos {self.alarms} would be asked about, so between "
            f"{self.lowest:.2%} and {self.highest:.2%} of other ordinary photos"
        )
        if self.wanted is None:
            return f"each gallery has a false-alarm budget of its own; {found}"
        if self.finest > self.wanted:
            return (
                f"the budget of {self.wanted:.2%} false alarms cannot be shown by {self.photos} "
                f"photos, which tell no share below {self.finest:.2%} (needed: "
                f"{math.ceil(1 / self.wanted) - 1}); thresholds stand above all of them"
            )
        if not self.shown:
            return (
                f"the budget of {self.wanted:.2%} false alarms is not kept: detectors with "
                f"thresholds of the file alone ask about {self.others} of {self.photos} photos; "
                f"{found}"
            )
        return f"all galleries share a budget of {self.wanted:.2%} false alarms; {found}"


def _allowed(photos: int, budget: float) -> int:
    """How many of the photos may be asked about, so that a further one is with ``budget``.

    Of N + 1 photos in any order each is as likely to be among the highest as the others.
    """
    return max(math.floor(budget * (photos + 1) + 1e-9) - 1, 0)


@dataclass(frozen=True)
class SharedBudget:
    """The score of each way from which a person is asked, and how many photos that asks about."""

    reviews: list[float]
    alarms: AlarmReport | None


def share_budget(
    near: Sequence[np.ndarray], scores: np.ndarray, asked: np.ndarray, *, budget: float = BUDGET
) -> SharedBudget:
    """Set the scores of W ways from which a person is asked.

    ``near``: what each way makes of photos, at least 2; ``scores`` float [N, W] of the same N
    photos, -inf where a way has none; ``asked`` bool [N]: photos that other detectors ask about
    anyway, which use up to half of the budget. Each way gets the same rarity, the one at which all
    ways together ask about as many of the N photos as the budget allows: what several ways find on
    one photo counts once. Each photo is judged by the tails of the others, since a tail lies too
    close around the photos that it was fitted to. A photo beyond all tails (of a way that finds
    nothing on the others) says nothing of that rarity: its own way alone is set above it, as far as
    the budget does not allow it. Without any photo each way gets an equal part.
    """
    tails = [ScoreTail.fit(one, budget=budget) for one in near]
    if not len(scores):
        reviews = [tail.score_at(budget / len(tails)) for tail in tails]
        return SharedBudget(reviews, None)
    allowed = _allowed(len(scores), budget)
    left = max(allowed - int(asked.sum()), math.ceil(_KEPT * allowed) if allowed else 0)
    others = int(asked.sum())
    plain, rarity = scores[~asked], _rarest(scores, budget)[~asked]
    order = np.argsort(rarity, kind="stable")
    least = _BEYOND / scores.size
    # Just beyond the first photo that may not be asked about and that a tail tells of.
    first = max(left, int((rarity < least).sum()))
    rarest = rarity[order] if len(order) else np.ones(1)
    limit = max(float(rarest[min(first, len(rarest) - 1)]) * (1 - 1e-6), least)
    bars = np.nextafter([tail.score_at(limit) for tail in tails], np.inf)
    ranked = plain[order]
    too_many = ranked[(ranked >= bars).any(1)][left:]
    above = np.where(too_many >= bars, np.nextafter(too_many, np.inf), -np.inf)
    bars = np.maximum(bars, above.max(axis=0, initial=-np.inf))
    alarms = others + min(left, int((rarity < limit).sum()))
    return SharedBudget(bars.tolist(), _report(budget, len(scores), alarms, others))


def _rarest(scores: np.ndarray, budget: float) -> np.ndarray:
    """The rarest score float [N] of each photo, as a share of the photos of other folds."""
    count = len(scores)
    fold = np.arange(count) % (_FOLDS if count >= _FOLDED else 1)
    found = np.ones(count)
    for column in scores.T:
        for number in range(int(fold.max()) + 1):
            own = fold == number
            others = column[~own if fold.any() else own]
            others = others[np.isfinite(others)]
            if len(others) > 1:
                rarity = ScoreTail.fit(others, budget=budget).rarity(column[own])
                found[own] = np.minimum(found[own], rarity)
    return found


def count_alarms(reviews: Sequence[float], scores: np.ndarray, asked: np.ndarray) -> AlarmReport:
    """Count the photos that any of W ways with a budget of its own, or other detectors, ask about.

    ``scores`` float [N, W] and ``asked`` bool [N] as ``share_budget`` takes them; N is not 0.
    """
    found = asked | (scores >= np.asarray(reviews)).any(axis=1)
    return _report(None, len(found), int(found.sum()), int(asked.sum()))


def _report(wanted: float | None, photos: int, alarms: int, others: int) -> AlarmReport:
    low, high = clopper_pearson(alarms, photos)
    return AlarmReport(wanted, photos, alarms, others, low, high)
