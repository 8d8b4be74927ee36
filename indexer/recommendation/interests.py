"""Personal recommendations as functions on arrays: a history to interests, candidates to scores,
scores to a list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from indexer.catalog.filters import FilterableProduct, category_paths, elements

Value = tuple[str, str]  # field, value: what products may have in common
# Chosen on shoppers of validation seeds (docs/figures/discovery.md).
APART = 0.7  # mean distance from which two groups of a history are two interests
_SHARED = 0.5  # how much of the distance is attributes that differ, where both products have any
_LIKENESS = 5.0  # nats for each unit of cosine
_ATTRIBUTES = 0.5  # share of the attributes' log odds that counts: fields repeat each other
_PRIOR = 8.0  # products' worth of trust in the catalog's own frequencies
DIVERSITY = 1.0  # nats that a result loses for a cosine of 1 to one before it
HALF_LIFE_DAYS = 30.0
_SECONDS = 86_400.0


@dataclass(frozen=True)
class Interest:
    """One thing that a shopper looks for."""

    members: np.ndarray  # int [n], places in the history
    medoid: int  # of them the one most alike to the others
    share: float  # of the history's weight, in (0, 1]
    query: np.ndarray  # float32 [D], unit: the members' weighted mean direction
    odds: Mapping[Value, float]  # nats that a candidate with the value gains


def event_weights(
    weights: np.ndarray,
    times: np.ndarray,
    *,
    now: float | None = None,
    half_life_days: float = HALF_LIFE_DAYS,
) -> np.ndarray:
    """What each event counts, float64 [n]: its weight, halved for every ``half_life_days`` that it
    is older than now.

    ``times`` in seconds, nan where it is not known: then the event counts as the newest. ``now`` is
    by default the newest time, so that a history ages by itself and not by when it is asked about;
    nothing is newer than now.
    """
    known = np.isfinite(times)
    if not known.any():
        return np.asarray(weights, np.float64)
    newest = float(np.max(times[known])) if now is None else now
    age = np.where(known, np.maximum(newest - np.where(known, times, 0.0), 0.0), 0.0)
    return np.asarray(weights * 0.5 ** (age / (half_life_days * _SECONDS)), np.float64)


def attribute_agreement(values: Sequence[Sequence[Value]]) -> np.ndarray:
    """Of each pair of products the share of common values among all that either has (Jaccard),
    float64 [n, n].

    nan where neither has any.
    """
    known = {
        value: place
        for place, value in enumerate(dict.fromkeys(value for own in values for value in own))
    }
    table = np.zeros((len(values), len(known)))
    for row, own in enumerate(values):
        table[row, [known[value] for value in own]] = 1
    both = table @ table.T
    either = table.sum(1)[:, None] + table.sum(1)[None] - both
    return np.divide(both, either, out=np.full_like(both, np.nan), where=either > 0)


def groups_of(
    vectors: np.ndarray, values: Sequence[Sequence[Value]], *, apart: float = APART
) -> list[np.ndarray]:
    """The places of a history's products by interest: average linkage, cut where groups lie
    ``apart`` on average.

    The distance of two products is 1 minus the mean of their cosine and of how many attributes they
    share; so how many interests there are is up to the history. The largest group first.
    """
    if len(vectors) == 1:
        return [np.array([0])]
    cosine = np.asarray(vectors @ vectors.T, np.float64)
    shared = attribute_agreement(values)
    alike = np.where(
        np.isnan(shared), cosine, (1 - _SHARED) * cosine + _SHARED * np.nan_to_num(shared)
    )
    distance = np.clip(1 - (alike + alike.T) / 2, 0, 2)
    np.fill_diagonal(distance, 0)
    label = fcluster(linkage(squareform(distance, checks=False), "average"), apart, "distance")
    found = [np.flatnonzero(label == one) for one in np.unique(label)]
    return sorted(found, key=lambda places: (-len(places), int(places[0])))


def cluster_interests(
    vectors: np.ndarray,
    weights: np.ndarray,
    values: Sequence[Sequence[Value]],
    frequency: Callable[[Value], float],
    *,
    most: int = 8,
    apart: float = APART,
) -> list[Interest]:
    """Interests of a history, the heaviest first, at most ``most`` of them.

    ``vectors`` float32 [n, D] unit, n >= 1; ``weights`` float [n] above zero; ``values``: what
    attributes each product has; ``frequency``: the share of the catalog's products that have a
    value, in (0, 1].
    """
    found = []
    relative = weights / weights.mean()
    for places in groups_of(vectors, values, apart=apart):
        own, mine = vectors[places], relative[places]
        mean = mine @ own
        length = float(np.linalg.norm(mean))
        central = int(
            np.argmax(own @ mean)
        )  # the member with the highest weighted mean cosine to all
        query = mean / length if length > 1e-6 else own[central]
        odds = attribute_odds([values[place] for place in places], mine, frequency)
        share = float(mine.sum() / relative.sum())
        found.append(Interest(places, int(places[central]), share, query.astype(np.float32), odds))
    return sorted(found, key=lambda interest: -interest.share)[:most]


def attribute_odds(
    values: Sequence[Sequence[Value]], weights: np.ndarray, frequency: Callable[[Value], float]
) -> dict[Value, float]:
    """value -> nats, of the values that an interest's products have.

    The posterior odds of a value in the interest against the catalog, with the catalog's frequency
    p as prior worth m products, are (c + m p) / ((n + m) p) for c of n; less those of a value that
    never occurred, log(1 + c / (m p)). So what everything in the shop has says little, and one
    product says less than five (naive Bayes with a Dirichlet prior).
    """
    counts: dict[Value, float] = {}
    for own, weight in zip(values, weights.tolist(), strict=True):
        for value in dict.fromkeys(own):
            counts[value] = counts.get(value, 0.0) + weight
    return {
        value: float(np.log1p(count / (_PRIOR * frequency(value))))
        for value, count in counts.items()
    }


def score_candidates(
    interests: Sequence[Interest], cosines: np.ndarray, values: Sequence[Value], holds: np.ndarray
) -> np.ndarray:
    """How well each of n candidates fits each interest: log weights float64 [J, n].

    The log of the interest's share, plus likeness to its query, plus the attributes that speak for
    it. ``cosines`` float [J, n] of candidates with the interests' queries, -inf where a candidate
    is not meant for an interest; ``holds`` bool [V, n]: which candidates have which of ``values``.
    """
    odds = np.array([[interest.odds.get(value, 0.0) for value in values] for interest in interests])
    shares = np.log([interest.share for interest in interests])[:, None]
    return np.asarray(
        shares + _LIKENESS * cosines + _ATTRIBUTES * (odds.reshape(len(interests), -1) @ holds)
    )


def logsumexp_interests(table: np.ndarray) -> np.ndarray:
    """Log weights by interest [J, n] as one score each, float64 [n]: a product may suit several
    interests."""
    return np.asarray(np.logaddexp.reduce(table, axis=0))


def mmr(
    scores: np.ndarray, vectors: np.ndarray, k: int, *, diversity: float = DIVERSITY
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the ``k`` best, one after another by score less ``diversity`` times the highest
    cosine to those before.

    Also what each had when it was taken, never more than the one before it. Maximal marginal
    relevance (Carbonell and Goldstein 1998) with relevance in nats. Ties: the first place.
    """
    chosen: list[int] = []
    value: list[float] = []
    nearest = np.zeros(len(scores))
    left = np.asarray(scores, np.float64).copy()
    for _ in range(min(k, len(scores))):
        now = left - diversity * nearest
        place = int(np.argmax(now))
        chosen.append(place)
        value.append(float(now[place]))
        left[place] = -np.inf
        nearest = np.maximum(nearest, vectors @ vectors[place])
    return np.array(chosen, dtype=np.int64), np.array(value)


def reasons(vectors: np.ndarray, history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each result [n, D] the place of the product of the ``history`` [h, D] most alike, and the
    cosine."""
    cosine = vectors @ history.T
    best = np.argmax(cosine, axis=1)
    return best, np.clip(cosine[np.arange(len(best)), best], -1.0, 1.0)


def values_of(facts: FilterableProduct, types: Mapping[str, str]) -> list[Value]:
    """What a product can share with others: its category, level by level, and its texts, lists and
    yes-or-no values.

    Tags are left out, since they mostly repeat attributes; numbers and dates, since few products
    share one.
    """
    found: list[Value] = [("category", path) for path in category_paths(facts.category)]
    for name in facts.attributes:
        kind = types.get(name)
        if kind in ("string", "bool", "list"):
            found += [(name, str(value)) for value in elements(facts, name, kind)]  # type: ignore[arg-type]
    return found
