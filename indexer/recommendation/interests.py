"""Personal recommendations on arrays: interests of a history, scores, re-ranking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from indexer.catalog.filters import FilterableProduct, category_paths, elements
from indexer.catalog.product_fields import SINGULAR_FIELDS

# Fields that say nothing about taste.
_OWN = SINGULAR_FIELDS | {"currency", "availability"}
# (field, value): what products may have in common.
Value = tuple[str, str]
# Chosen on shoppers of validation seeds (docs/figures/discovery.md).
# Mean distance from which two groups of a history are two interests.
APART = 0.7
# How much of the distance is attributes that differ, where both products have any.
_SHARED = 0.5
# Nats for each unit of cosine.
_LIKENESS = 5.0
# Share of the attributes' log odds that counts: fields repeat each other.
_ATTRIBUTES = 0.5
# Products' worth of trust in the catalog's own frequencies.
_PRIOR = 8.0
# Nats that a result loses for a cosine of 1 to one before it.
DIVERSITY = 1.0
HALF_LIFE_DAYS = 30.0
_SECONDS = 86_400.0


@dataclass(frozen=True)
class Interest:
    """One thing that a shopper looks for."""

    # int [n], places in the history
    members: np.ndarray
    # The member most alike to the others.
    medoid: int
    # Of the history's weight, in (0, 1].
    share: float
    # float32 [D], unit: the members' weighted mean direction
    query: np.ndarray
    # Nats that a candidate with the value gains.
    odds: Mapping[Value, float]


def event_weights(
    weights: np.ndarray,
    times: np.ndarray,
    *,
    now: float | None = None,
    half_life_days: float = HALF_LIFE_DAYS,
) -> np.ndarray:
    """Weigh each event, float64 [n]: halved for every ``half_life_days`` that it is older than now.

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
    """Compute the Jaccard index of each pair of products' values, float64 [n, n].

    nan where neither has any.
    """
    distinct = dict.fromkeys(chain.from_iterable(values))
    known = {value: place for place, value in enumerate(distinct)}
    table = np.zeros((len(values), len(known)))
    for row, held in enumerate(values):
        table[row, [known[value] for value in held]] = 1
    both = table @ table.T
    either = table.sum(1)[:, None] + table.sum(1)[None] - both
    return np.divide(both, either, out=np.full_like(both, np.nan), where=either > 0)


def cluster_history(
    vectors: np.ndarray, values: Sequence[Sequence[Value]], *, apart: float = APART
) -> list[np.ndarray]:
    """Group the places of a history's products by interest, the largest group first.

    Average linkage, cut where groups lie ``apart`` on average. The distance of two products is 1
    minus the mean of their cosine and of how many attributes they share; so how many interests
    there are is up to the history.
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
    limit: int = 8,
    apart: float = APART,
) -> list[Interest]:
    """Find the interests of a history, the heaviest first, at most ``limit`` of them.

    ``vectors`` float32 [n, D] unit, n >= 1; ``weights`` float [n] above zero; ``values``: what
    attributes each product has; ``frequency``: the share of the catalog's products that have a
    value, in (0, 1].
    """
    found = []
    relative = weights / weights.mean()
    for places in cluster_history(vectors, values, apart=apart):
        members = vectors[places]
        member_weights = relative[places]
        mean = member_weights @ members
        length = float(np.linalg.norm(mean))
        # The member with the highest weighted mean cosine to all.
        central = int(np.argmax(members @ mean))
        query = mean / length if length > 1e-6 else members[central]
        odds = attribute_odds([values[place] for place in places], member_weights, frequency)
        share = float(member_weights.sum() / relative.sum())
        found.append(Interest(places, int(places[central]), share, query.astype(np.float32), odds))
    return sorted(found, key=lambda interest: -interest.share)[:limit]


def attribute_odds(
    values: Sequence[Sequence[Value]], weights: np.ndarray, frequency: Callable[[Value], float]
) -> dict[Value, float]:
    """Compute value -> nats for the values that an interest's products have.

    The posterior odds of a value in the interest against the catalog, with the catalog's frequency
    p as prior worth m products, are (c + m p) / ((n + m) p) for c of n; less those of a value that
    never occurred, log(1 + c / (m p)). So what everything in the shop has says little, and one
    product says less than five (naive Bayes with a Dirichlet prior).
    """
    counts: dict[Value, float] = {}
    for held, weight in zip(values, weights.tolist(), strict=True):
        for value in dict.fromkeys(held):
            counts[value] = counts.get(value, 0.0) + weight
    return {
        value: float(np.log1p(count / (_PRIOR * frequency(value))))
        for value, count in counts.items()
    }


def score_candidates(
    interests: Sequence[Interest], cosines: np.ndarray, values: Sequence[Value], holds: np.ndarray
) -> np.ndarray:
    """Score how well each of n candidates fits each interest: log weights float64 [J, n].

    The log of the interest's share, plus likeness to its query, plus the attributes that speak for
    it. ``cosines`` float [J, n] of candidates with the interests' queries, -inf where a candidate
    is not meant for an interest; ``holds`` bool [V, n]: which candidates have which of ``values``.
    """
    odds = np.zeros((len(interests), len(values)))
    for row, interest in enumerate(interests):
        odds[row] = [interest.odds.get(value, 0.0) for value in values]
    shares = np.log([interest.share for interest in interests])[:, None]
    return np.asarray(shares + _LIKENESS * cosines + _ATTRIBUTES * (odds @ holds))


def logsumexp_interests(table: np.ndarray) -> np.ndarray:
    """Combine log weights by interest [J, n] to scores float64 [n].

    A product may suit several interests.
    """
    return np.asarray(np.logaddexp.reduce(table, axis=0))


def mmr(
    scores: np.ndarray, vectors: np.ndarray, k: int, *, diversity: float = DIVERSITY
) -> tuple[np.ndarray, np.ndarray]:
    """Re-rank by maximal marginal relevance: places of the ``k`` best, and their values.

    One after another is taken by score less ``diversity`` times the highest cosine to those before
    (Carbonell and Goldstein 1998, with relevance in nats); no value exceeds the one before it.
    Ties: the first place.
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
    """Return for each result [n, D] the place in ``history`` [h, D] most alike, and the cosine."""
    cosine = vectors @ history.T
    best = np.argmax(cosine, axis=1)
    return best, np.clip(cosine[np.arange(len(best)), best], -1.0, 1.0)


def values_of(facts: FilterableProduct, types: Mapping[str, str]) -> list[Value]:
    """List what a product can share with others: category levels, texts, lists and bools.

    Tags are left out, since they mostly repeat attributes; numbers and dates, since few products
    share one.
    """
    found: list[Value] = [("category", path) for path in category_paths(facts.category)]
    for name in facts.attributes:
        kind = types.get(name) if name not in _OWN else None
        if kind in ("string", "bool", "list"):
            found += [(name, str(value)) for value in elements(facts, name, kind)]  # type: ignore[arg-type]
    return found
