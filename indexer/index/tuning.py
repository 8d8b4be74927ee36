"""Which recipe an index gets, and how hard it must search: measured against the exact oracle, never assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog

from indexer.errors import BadRequest
from indexer.index.base import TIE, Hits, SearchParams, VectorIndex, rescore
from indexer.index.exact import ExactIndex
from indexer.index.faiss_index import FaissIndex, knob

log = structlog.get_logger(__name__)

FLAT_BELOW = 20_000  # entries; below, the exact scan takes about a millisecond and there is nothing to lose
RERANK = 4
_QUERIES = 256
_MAX_SHARE = 0.5  # a recipe that must look at more of the index than this is slower than the exact scan


def choose_recipe(entries: int) -> str:
    """ "Flat" below 20,000 entries, above it inverted lists over 8-bit codes, re-ranked on the stored halves.

    Measured at 50,000 x 512 (clustered, one thread) at recall@10 0.998: IVF with SQ8 0.5 ms, float16 0.4 ms, float32
    0.8 ms; HNSW32 0.5 ms at only 0.983. Build 6 s against 9 to 10 s for HNSW. 8-bit codes take a quarter of float32.
    """
    return "Flat" if entries < FLAT_BELOW else f"IVF{4 * math.isqrt(entries)},SQ8"


def ann_recall_at_k(found: Sequence[np.ndarray], exact: Sequence[Hits], k: int) -> float:
    """Share of the exact ``k`` nearest that was found, ties counted as found.

    ``found``: per query the exact scores float32 [n] of the rows returned; ``exact``: per query the oracle's hits. A
    hit is right when its exact score >= the k-th exact score - 1e-6. A query with fewer than ``k`` exact hits counts
    those it has; no queries at all give 1.0. (Metric-learning papers call another thing Recall@k: ``hit_rate_at_k``.)

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
    """Raises ``BadRequest`` for a recall outside (0, 1]."""
    if not 0.0 < recall <= 1.0:
        raise BadRequest(f"recall must be above 0 and at most 1, not {recall}")


@dataclass(frozen=True)
class Queries:
    """Held-out queries. ``own`` is the row each was taken from, which counts for neither side; -1 for none."""

    vectors: np.ndarray  # float32 [Q, D], unit
    own: np.ndarray  # int64 [Q]


def held_out_queries(vectors: np.ndarray, count: int = _QUERIES, seed: int = 0) -> Queries:
    """Questions an index of ``vectors`` may be asked: half of them its rows, each blind to itself; half rows with noise
    of norm 0.3, as another photo of the same thing would have."""
    rng = np.random.default_rng(seed)
    picked = np.sort(rng.permutation(len(vectors))[:count])
    asked = np.array(vectors[picked], dtype=np.float32)
    own = picked.astype(np.int64)
    blurred = rng.permutation(len(picked))[: len(picked) // 2]
    noise = rng.standard_normal((len(blurred), asked.shape[1])).astype(np.float32)
    asked[blurred] += 0.3 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    own[blurred] = -1
    return Queries(asked / np.linalg.norm(asked, axis=1, keepdims=True), own)


def _without_own(hits: Hits, own: int, k: int) -> Hits:
    other = hits.rows != own
    return Hits(hits.rows[other][:k], hits.scores[other][:k])


@dataclass(frozen=True)
class Tuned:
    """An index with what it needs to keep its promise; ``recall`` goes into the manifest."""

    index: FaissIndex
    params: dict[str, Any]
    recall: dict[str, Any]  # asked, at_10, at_100, queries, curve [{effort, at_10, at_100}], fallback


def tune(index: FaissIndex, oracle: VectorIndex, queries: Queries, recall: float) -> Tuned | None:
    """The least efforts at which recall@10 and recall@100 reach ``recall`` on ``queries``; None where none is worth it.

    The effort grows until both hold or half of the index is looked at. Recall@10 is the promise: without it, None.
    Recall@100 is given as it comes by then. Flat has nothing to tune and is measured once.
    """
    deepest = 100
    truth = [
        _without_own(hits, own, deepest)
        for hits, own in zip(oracle.search(queries.vectors, deepest + 1), queries.own.tolist(), strict=True)
    ]

    def measure(k: int, params: SearchParams) -> float:
        hits = index.search(queries.vectors, k + 1, params=params)
        kept = [_without_own(found, own, k) for found, own in zip(hits, queries.own.tolist(), strict=True)]
        true_scores = [
            rescore(query, oracle.vectors(found.rows)) for query, found in zip(queries.vectors, kept, strict=True)
        ]
        return ann_recall_at_k(true_scores, truth, k)

    if index.kind == "flat":
        found = {"at_10": measure(10, SearchParams()), "at_100": measure(100, SearchParams())}
        return Tuned(index, {}, {"asked": recall, **found, "queries": len(queries.vectors), "curve": []})
    curve: list[dict[str, float]] = []
    reached: dict[str, int] = {}
    effort = 4 if index.kind == "ivf" else 32
    while len(reached) < 2 and effort <= _MAX_SHARE * index.max_effort:
        params = SearchParams(effort=effort, rerank=RERANK)
        point = {"effort": effort, "at_10": measure(10, params), "at_100": measure(100, params)}
        curve.append({name: round(value, 4) for name, value in point.items()})
        for k in ("10", "100"):
            if k not in reached and point[f"at_{k}"] >= recall:
                reached[k] = effort
        effort = math.ceil(effort * 1.5)
    if "10" not in reached:
        return None
    reached.setdefault("100", int(curve[-1]["effort"]))
    params_found = {knob(index.recipe): reached, "rerank": RERANK}
    index.params = params_found
    at = {f"at_{k}": next(p[f"at_{k}"] for p in curve if p["effort"] == reached[k]) for k in ("10", "100")}
    return Tuned(index, params_found, {"asked": recall, **at, "queries": len(queries.vectors), "curve": curve})


def build_tuned(
    vectors: np.ndarray, *, recall: float = 0.99, recipe: str | None = None, device: str = "cpu", seed: int = 0
) -> Tuned:
    """An index of ``vectors`` (float16 [N, D], unit) that holds ``recall``; Flat where the approximate one cannot.

    ``recipe`` overrides the choice by size. Raises ``BadRequest`` for a recall outside (0, 1], ``BadVectors``.
    """
    check_recall(recall)
    chosen = recipe or choose_recipe(len(vectors))
    index = FaissIndex.build(chosen, vectors, device=device, seed=seed)
    if not len(vectors):
        return Tuned(index, {}, {"asked": recall, "at_10": 1.0, "at_100": 1.0, "queries": 0, "curve": []})
    oracle = ExactIndex(vectors, checked=True)
    queries = held_out_queries(vectors, seed=seed)
    tuned = tune(index, oracle, queries, recall)
    if tuned is not None:
        return tuned
    log.warning("asked recall not reached, taking the exact index", recipe=chosen, asked=recall)
    flat = tune(FaissIndex.build("Flat", vectors, device=device), oracle, queries, recall)
    if flat is None:
        raise AssertionError("an exact index is always returned")
    return Tuned(flat.index, flat.params, {**flat.recall, "fallback_from": chosen})
