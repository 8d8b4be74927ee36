"""Recipe choice and search effort, tuned against the exact index."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import structlog

from indexer.core.errors import BadRequestError
from indexer.core.vectors import check_unit
from indexer.index.base import (
    EXACT,
    MIXED,
    TIE,
    Hits,
    IndexBackend,
    SearchParams,
    VectorIndex,
    rescore,
)
from indexer.index.exact import ExactIndex
from indexer.index.recipes import candidates
from indexer.index.registry import engine_of, engines
from indexer.model.spec import Block

log = structlog.get_logger(__name__)

# recall@10 promised to queries that weigh the blocks otherwise, where 0.99 or more was asked
WEIGHTED_RECALL = 0.98
# Candidates per hit, for ten hits.
_RERANKS = (4, 8, 16, 32, 64, 128)
# For a hundred.
_DEEP_RERANKS = (2, 4, 8, 16)
# For queries with other weights: this many times the effort, and the candidates.
_WIDER = (1, 2, 4, 8)
# Such factors for the candidates where every list is searched.
_DEEPER = (8, 16, 32)
_QUERIES = 512
# Queries that are repeated as photos of a product that the catalog does not have.
_NEW = 96
# Cosine from which two photos may show the same thing.
_SAME = 0.9
# Rows in which a new photo's nearest others are looked for.
_DEEP = 400
# Queries for each choice of weights.
_WEIGHTED = 48
_DEEPEST = 100


def ann_recall_at_k(found: Sequence[np.ndarray], exact: Sequence[Hits], k: int) -> float:
    """Measure the share of the exact ``k`` nearest that was found, ties counted as found.

    ``found``: per query the exact scores float32 [n] of the rows returned; ``exact``: per query the
    oracle's hits. A hit is right when its exact score >= the k-th exact score - 1e-6. A query with
    fewer than ``k`` exact hits counts those it has; no queries at all give 1.0. (Metric-learning
    papers call another thing Recall@k: ``hit_rate_at_k``.)

    >>> hits = [Hits(np.arange(3), np.array([0.9, 0.8, 0.7], np.float32))]
    >>> ann_recall_at_k([np.array([0.9, 0.6])], hits, 2)
    0.5
    """
    right = wanted = 0
    for scores, truth in zip(found, exact, strict=True):
        count = min(k, len(truth))
        if count:
            last = truth.scores[count - 1] - TIE
            right += min(count, int(np.sum(scores[:k] >= last)))
            wanted += count
    return right / wanted if wanted else 1.0


def check_recall(recall: float) -> None:
    """Raise ``BadRequestError`` for a recall outside (0, 1]."""
    if not 0.0 < recall <= 1.0:
        raise BadRequestError(f"recall must be above 0 and at most 1, not {recall}")


@dataclass(frozen=True)
class HeldOutQueries:
    """Held-out queries. ``own``: the row each was taken from, which counts for neither side, or -1.

    ``group`` names their kinds 0, 1, ...: the recall must hold in each of them. The last ``new`` of
    them are blind to all rows that may show the same thing, not to their own alone.
    """

    vectors: np.ndarray  # float32 [Q, D], unit
    own: np.ndarray  # int64 [Q]
    group: np.ndarray  # int64 [Q]
    new: int = 0

    def subsample(self, one_in: int) -> HeldOutQueries:
        """Take every ``one_in``-th of them, counted from the last one."""
        places = np.arange(len(self.own) - 1, -1, -one_in)[::-1]
        return replace(self.take(places), new=-(-self.new // one_in))

    def take(self, chosen: np.ndarray) -> HeldOutQueries:
        """Take the ``chosen`` ones (places, or bool [Q]), none of them as a new product's."""
        return HeldOutQueries(self.vectors[chosen], self.own[chosen], self.group[chosen])


def held_out_queries(
    vectors: np.ndarray,
    count: int = _QUERIES,
    seed: int = 0,
    query_vectors: np.ndarray | None = None,
) -> HeldOutQueries:
    """Draw queries of four kinds that an index of ``vectors`` may receive.

    Rows, each blind to itself; rows with noise of norm 0.3, as another photo of the same thing
    would have; ``query_vectors`` [A, D] that the caller knows of (recaptures) and that are no
    rows; and rows blind to all that may show the same thing, as the photo of a new product is.
    Raises ``BadVectorsError`` for ``query_vectors``.
    """
    rng = np.random.default_rng(seed)
    picked = np.sort(rng.permutation(len(vectors))[:count])
    found = np.array(vectors[picked], dtype=np.float32)
    own = picked.astype(np.int64)
    blurred = rng.permutation(len(picked))[: len(picked) // 2]
    noise = rng.standard_normal((len(blurred), found.shape[1])).astype(np.float32)
    found[blurred] += 0.3 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    own[blurred] = -1
    group = np.zeros(len(picked), np.int64)
    group[blurred] = 1
    if query_vectors is not None and len(query_vectors):
        check_unit(query_vectors, vectors.shape[1])
        found = np.concatenate([found, query_vectors.astype(np.float32)])
        own = np.append(own, np.full(len(query_vectors), -1))
        group = np.append(group, np.full(len(query_vectors), 2))
    new = rng.permutation(picked)[:_NEW]
    found = np.concatenate([found, np.array(vectors[new], dtype=np.float32)])
    own = np.append(own, new)
    group = np.append(group, np.full(len(new), 3))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return HeldOutQueries(found, own, group, len(new))


def reweighted_queries(
    queries: HeldOutQueries, blocks: Sequence[Block], seed: int = 0
) -> tuple[HeldOutQueries, list[str]]:
    """Re-weight some of ``queries``: to one block alone, or by random weights.

    Returned with the ``SearchParams.widen`` of each group. Blocks without weight are left out.
    """
    from indexer.index.query_weighting import reweight_queries

    rng = np.random.default_rng(seed)
    names = [block.name for block in blocks if block.weight > 0]
    chosen = [{name: 1.0} for name in names]
    chosen += [
        dict(zip(names, rng.dirichlet(np.ones(len(names))).tolist(), strict=True)) for _ in range(2)
    ]
    picked = [rng.permutation(len(queries.vectors))[:_WEIGHTED] for _ in chosen]
    vectors = [
        reweight_queries(queries.vectors[rows], blocks, weights)[0]
        for rows, weights in zip(picked, chosen, strict=True)
    ]
    group = np.repeat(np.arange(len(chosen)), [len(rows) for rows in picked])
    labels = [*names, MIXED, MIXED]
    own = queries.own[np.concatenate(picked)]
    return HeldOutQueries(np.concatenate(vectors), own, group), labels


def _without(hits: Hits, left_out: np.ndarray | int, k: int) -> Hits:
    other = ~np.isin(hits.rows, left_out)
    return Hits(hits.rows[other][:k], hits.scores[other][:k])


@dataclass(frozen=True)
class Tuned:
    """Index with its tuned search parameters; ``recall`` goes into the manifest."""

    index: IndexBackend
    params: dict[str, Any]
    # Asked, at_10, at_100, queries, curve [{k, effort, rerank, at, cost, holds}], weighted.
    recall: dict[str, Any]


class RecallMeter:
    """Meter of recall: how much of the oracle's answers to some queries an index finds."""

    def __init__(self, oracle: VectorIndex, queries: HeldOutQueries) -> None:
        self.queries = queries
        self._oracle = oracle
        # Of those that are blind to more than themselves.
        self._first = len(queries.own) - queries.new
        found = oracle.search(queries.vectors[: self._first], _DEEPEST + 1)
        deep = oracle.search(queries.vectors[self._first :], _DEEP) if queries.new else []
        self._near = [
            np.append(hits.rows[hits.scores >= _SAME], own)
            for hits, own in zip(deep, queries.own[self._first :].tolist(), strict=True)
        ]
        hidden = [*queries.own[: self._first].tolist(), *self._near]
        self._truth = [
            _without(hits, out, _DEEPEST) for hits, out in zip([*found, *deep], hidden, strict=True)
        ]

    @property
    def unseen(self) -> np.ndarray:
        """Rows that must not train an index, a tenth of all at most.

        So new photos are new to its lists too.
        """
        ends = np.cumsum([len(rows) for rows in self._near])
        few = int(np.searchsorted(ends, len(self._oracle) / 10, side="right"))
        return np.unique(np.concatenate([*self._near[:few], np.empty(0, np.int64)]))

    def shares(
        self, index: VectorIndex, k: int, params: SearchParams, recall: float = 0.0
    ) -> np.ndarray:
        """Measure each query's share of its exact ``k`` nearest that ``index`` finds: float [Q].

        The last ones, which are searched one by one, are left out where the others do not reach
        ``recall``.
        """
        own = self.queries.own[: self._first].tolist()
        vectors = self.queries.vectors
        found = index.search(vectors[: self._first], k + 1, params=params)
        kept = [_without(hits, row, k) for hits, row in zip(found, own, strict=True)]
        shares = self._shares(kept, 0, k)
        if not self.queries.new or not self.holds(shares, recall):
            return shares
        last = []
        for query, near in zip(vectors[self._first :], self._near, strict=True):
            others = np.ones(len(index), bool)
            others[near] = False
            last += index.search(query[None], k, params=params, allowed=others)
        return np.append(shares, self._shares(last, self._first, k))

    def _shares(self, found: Sequence[Hits], start: int, k: int) -> np.ndarray:
        stop = start + len(found)
        return np.array(
            [
                ann_recall_at_k([rescore(query, self._oracle.vectors(hits.rows))], [truth], k)
                for query, hits, truth in zip(
                    self.queries.vectors[start:stop], found, self._truth[start:stop], strict=True
                )
            ]
        )

    def holds(self, shares: np.ndarray, recall: float) -> bool:
        """Check that every kind of query reaches ``recall``, less half a standard error."""
        group = self.queries.group[: len(shares)]
        return all(_lower(shares[group == kind]) >= recall for kind in np.unique(group))


def _mean(shares: np.ndarray) -> float:
    return round(float(shares.mean()), 4) if len(shares) else 1.0


def _lower(shares: np.ndarray) -> float:
    """Compute the mean less half its standard error: a bound that may well be true."""
    return float(shares.mean() - 0.5 * shares.std() / math.sqrt(len(shares)))


def tune(
    index: IndexBackend, recall_meter: RecallMeter, deep_meter: RecallMeter, recall: float
) -> Tuned | None:
    """Find the cheapest effort and number of re-ranked candidates that reach ``recall``, or None.

    With the most candidates the least effort is sought, 1.5 times as much at each step, until
    recall@10 holds in every kind of query; from there on fewer candidates are tried, at this effort
    and at the next two. The pair of least cost is taken (``relative_cost``), none that
    costs more than half of an exact scan. Recall@100 is sought likewise from there, by
    ``deep_meter``, which may have fewer queries, and given as it comes. Flat is measured once.
    """
    common = {"asked": recall, "queries": len(recall_meter.queries.vectors)}
    if index.exact:
        at_10, at_100 = (
            _mean(meter.shares(index, k, SearchParams()))
            for meter, k in ((recall_meter, 10), (deep_meter, 100))
        )
        return Tuned(index, {}, {**common, "at_10": at_10, "at_100": at_100, "curve": []})
    search = _Search(index, recall)
    best = search.cheapest(recall_meter, 10, index.first_effort, _RERANKS)
    if best is None:
        return None
    params = {index.effort_name: {"10": best["effort"]}, "rerank": {"10": best["rerank"]}}
    deep = search.cheapest(deep_meter, 100, best["effort"], _DEEP_RERANKS)
    # Nothing holds at this depth: the first point near the best there is.
    if deep is None:
        points = [point for point in search.curve if point["k"] == 100]
        most = max((point["at"] for point in points), default=0.0)
        deep = next((point for point in points if point["at"] >= most - 0.005), None)
    # Too dear to try.
    if deep is None:
        deep = {
            **best,
            "at": _mean(
                deep_meter.shares(index, 100, SearchParams(best["effort"], best["rerank"]))
            ),
        }
    params[index.effort_name]["100"] = deep["effort"]
    params["rerank"]["100"] = deep["rerank"]
    index.params = params
    return Tuned(
        index, params, {**common, "at_10": best["at"], "at_100": deep["at"], "curve": search.curve}
    )


class _Search:
    """Search for the cheapest point that holds; ``curve`` is every point that was measured."""

    def __init__(self, index: IndexBackend, recall: float) -> None:
        self.curve: list[dict[str, Any]] = []
        self._index = index
        self._recall = recall

    def _point(self, meter: RecallMeter, k: int, effort: int, rerank: int) -> dict[str, Any]:
        shares = meter.shares(
            self._index, k, SearchParams(effort=effort, rerank=rerank), self._recall
        )
        cost = round(self._index.relative_cost(effort, k * rerank))
        point = {
            "k": k,
            "effort": effort,
            "rerank": rerank,
            "at": _mean(shares),
            "cost": cost,
            "queries": len(shares),
        }
        self.curve.append({**point, "holds": meter.holds(shares, self._recall)})
        return self.curve[-1]

    def cheapest(
        self, meter: RecallMeter, k: int, start: int, reranks: Sequence[int]
    ) -> dict[str, Any] | None:
        """Find the cheapest point that holds, or None within half the cost of an exact scan.

        ``reranks`` go from few to many.
        """
        index = self._index
        limit = len(self._index) / 2
        effort = start
        most = reranks[-1]
        tried: list[dict[str, Any]] = []
        while index.relative_cost(effort, k * reranks[0]) <= limit:
            tried.append(self._point(meter, k, effort, most))
            if tried[-1]["holds"]:
                break
            if effort >= index.max_effort or (len(tried) > 3 and _no_better(tried[-1], tried[-3])):
                # More effort brings nothing: what is missing is lost in the codes.
                return None
            effort = _next(effort, index.max_effort)
        if not tried or not tried[-1]["holds"]:
            return None
        held = [tried[-1]]
        for _ in range(3):
            for rerank in reversed(reranks[:-1]):
                if index.relative_cost(effort, k * rerank) >= min(point["cost"] for point in held):
                    continue
                point = self._point(meter, k, effort, rerank)
                if not point["holds"]:
                    break
                held.append(point)
            effort = _next(effort, index.max_effort)
        best = min(held, key=lambda point: point["cost"])
        return best if best["cost"] <= limit else None


def _no_better(now: dict[str, Any], before: dict[str, Any]) -> bool:
    return bool(now["queries"] == before["queries"] and now["at"] <= before["at"])


def _next(effort: int, most: int) -> int:
    return min(math.ceil(effort * 1.5), most)


def widen(
    tuned: Tuned, oracle: VectorIndex, queries: HeldOutQueries, labels: Sequence[str], recall: float
) -> Tuned:
    """Tune how much wider queries with other block weights must search to reach ``recall``.

    Such queries are off the data's distribution: the lists were not made for them. ``labels`` name
    the groups of ``queries`` (``SearchParams.widen``). ``params["widen"]`` holds for each label the
    least factors that do; where none does at half the cost of an exact scan, such a query is
    answered by an exact scan.
    """
    factors: dict[str, dict[str, int]] = {}
    shares: list[np.ndarray] = []
    for label in dict.fromkeys(labels):
        chosen = np.isin(
            queries.group, [number for number, name in enumerate(labels) if name == label]
        )
        recall_meter = RecallMeter(oracle, queries.take(chosen))
        found = _factors(tuned.index, recall_meter, recall)
        shares.append(np.ones(int(chosen.sum())) if found is None else found[1])
        if found is not None:
            factors[label] = found[0]
    params = {**tuned.params, "widen": factors}
    tuned.index.params = params
    exact = [label for label in dict.fromkeys(labels) if label not in factors]
    weighted = {
        "at_10": _mean(np.concatenate(shares)),
        "queries": len(queries.own),
        "asked": recall,
        "exact": exact,
    }
    return replace(tuned, params=params, recall={**tuned.recall, "weighted": weighted})


def _factors(
    index: IndexBackend, meter: RecallMeter, recall: float
) -> tuple[dict[str, int], np.ndarray] | None:
    """Find the cheapest factors of effort and candidates that hold ``recall``, and the shares.

    None where none does.
    """
    everywhere = math.ceil(index.max_effort / index.effort(10))
    for effort, rerank in (
        *((factor, factor) for factor in _WIDER),
        *((everywhere, factor) for factor in _DEEPER),
    ):
        params = SearchParams(
            min(index.effort(10) * effort, index.max_effort), int(index.rerank(10) * rerank)
        )
        if index.relative_cost(params.effort or 1, 10 * (params.rerank or 1)) > len(index) / 2:
            continue
        shares = meter.shares(index, 10, params)
        if meter.holds(shares, recall):
            return {"effort": effort, "rerank": rerank}, shares
    return None


def build_tuned(
    vectors: np.ndarray,
    *,
    recall: float = 0.99,
    recipe: str | None = None,
    device: str = "cpu",
    memory: int | None = None,
    seed: int = 0,
    query_vectors: np.ndarray | None = None,
    blocks: Sequence[Block] = (),
) -> Tuned:
    """Build an index of ``vectors`` (float16 [N, D], unit): the first recipe to hold ``recall``.

    ``recipe`` overrides the choice by size, ``device`` and ``memory`` (bytes; see
    ``recipes.candidates``). ``query_vectors`` float [A, D]: queries known to the caller, recaptures
    say, in which the recall must hold too. ``blocks`` are those of the embedding, in order: with
    them queries of other weights are measured as well. Raises ``BadRequestError`` for a recall
    outside (0, 1] or a budget that nothing fits, ``BadVectorsError``.
    """
    check_recall(recall)
    block_dims = [block.dim for block in blocks]
    if blocks and sum(block_dims) != vectors.shape[1]:
        raise BadRequestError(
            f"the blocks have {sum(block_dims)} dimensions together, the vectors {vectors.shape[1]}"
        )
    chosen = [recipe, EXACT] if recipe else _possible(vectors, block_dims, device, memory)
    if not len(vectors):
        index = engine_of(EXACT).build(EXACT, vectors, device=device)
        return Tuned(
            index, {}, {"asked": recall, "at_10": 1.0, "at_100": 1.0, "queries": 0, "curve": []}
        )
    oracle = ExactIndex(vectors, checked=True)
    queries = held_out_queries(vectors, seed=seed, query_vectors=query_vectors)
    recall_meter = RecallMeter(oracle, queries)
    deep_meter = RecallMeter(oracle, queries.subsample(4))
    unseen = recall_meter.unseen
    refused: list[str] = []
    for name in chosen:
        index = engine_of(name).build(
            name, vectors, device=device, seed=seed, block_dims=block_dims, unseen=unseen
        )
        tuned = tune(index, recall_meter, deep_meter, recall)
        if tuned is None:
            log.warning(
                "asked recall not reached, taking the next recipe", recipe=name, asked=recall
            )
            refused.append(name)
            continue
        if len(blocks) > 1 and not index.exact:
            other, labels = reweighted_queries(queries, blocks, seed)
            tuned = widen(tuned, oracle, other, labels, min(recall, WEIGHTED_RECALL))
        if refused:
            tuned = replace(tuned, recall={**tuned.recall, "fallback_from": ", ".join(refused)})
        return tuned
    raise AssertionError("an exact index is always returned")


def _possible(
    vectors: np.ndarray, block_dims: Sequence[int], device: str, memory: int | None
) -> list[str]:
    """List the candidates; an exact scan is last even above the budget.

    The recall was promised, and mapped pages can be dropped.
    """
    has_gpu = device != "cpu" and any(engine.has_gpu() for engine in engines())
    found = candidates(
        len(vectors),
        vectors.shape[1],
        block_dims=block_dims,
        device="cuda" if has_gpu else "cpu",
        memory=memory,
    )
    return found if EXACT in found else [*found, EXACT]
