"""Cache of the searches of one request: none is made twice."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np

from indexer.index.base import SearchParams
from indexer.index.live import LiveIndex
from indexer.index.product_hits import ProductHits

_SAME = 1e-6  # two queries that differ by less in every coordinate rank alike


@dataclass(frozen=True)
class _CachedSearch:
    query: np.ndarray  # float32 [D]
    params: SearchParams | None
    exclude: frozenset[int]
    depth: int
    hits: ProductHits

    def answers(
        self,
        query: np.ndarray,
        k: int,
        exclude: AbstractSet[int],
        params: SearchParams | None,
    ) -> bool:
        """Whether its first ``k`` hits are those of this search."""
        return (
            (k <= self.depth or len(self.hits) < self.depth)
            and self.params == params
            and self.exclude == exclude
            and float(np.abs(self.query - query).max()) < _SAME
        )


class SearchCache:
    """Remembers what was found during one request; safe between its threads.

    ``least``: for each ``SearchParams.widen`` how many products will be wanted before the request
    is done, so that the first of several searches is deep enough for all.
    """

    def __init__(self, least: Mapping[str, int] | None = None) -> None:
        self._least = least or {}
        self._known: list[_CachedSearch] = []
        self._lock = threading.Lock()

    def search(
        self,
        live: LiveIndex,
        query: np.ndarray,
        k: int,
        exclude: AbstractSet[int],
        params: SearchParams | None,
    ) -> ProductHits:
        """The ``k`` best products for a unit ``query`` float32 [D], as ``LiveIndex.search``."""
        with self._lock:
            known = list(self._known)
        for found in known:
            if found.answers(query, k, exclude, params):
                return _first(found.hits, k)
        depth = max(k, self._least.get(params.widen if params else "", 0))
        (hits,) = live.search(query[np.newaxis], depth, exclude=exclude, params=params)
        with self._lock:
            self._known.append(_CachedSearch(query, params, frozenset(exclude), depth, hits))
        return _first(hits, k)


def _first(hits: ProductHits, k: int) -> ProductHits:
    return replace(hits, pids=hits.pids[:k], photo_ids=hits.photo_ids[:k], scores=hits.scores[:k])
