"""Searches of one request that asks several questions about one photo: none is made twice."""

from __future__ import annotations

from collections.abc import Mapping
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
    hidden: frozenset[int]
    asked: int
    hits: ProductHits


class SearchCache:
    """Remembers what was found during one request; several threads may ask at once, each something
    else.

    ``least``: for each ``SearchParams.widen`` how many products will be wanted before the request
    is done, so that the first of several searches is deep enough for all.
    """

    def __init__(self, least: Mapping[str, int] | None = None) -> None:
        self._least = least or {}
        self._known: list[_CachedSearch] = []

    def search(
        self,
        live: LiveIndex,
        query: np.ndarray,
        k: int,
        hidden: set[int],
        params: SearchParams | None,
    ) -> ProductHits:
        """The ``k`` best products for a unit ``query`` float32 [D] but ``hidden`` pids, as
        ``LiveIndex.search``."""
        for found in self._known:
            same = (found.params, found.hidden) == (params, hidden) and np.abs(
                found.query - query
            ).max() < _SAME
            if same and (k <= found.asked or len(found.hits) < found.asked):
                return _first(found.hits, k)
        asked = max(k, self._least.get(params.widen if params else "", 0))
        (hits,) = live.search(query[np.newaxis], asked, exclude=hidden, params=params)
        self._known.append(_CachedSearch(query, params, frozenset(hidden), asked, hits))
        return _first(hits, k)


def _first(hits: ProductHits, k: int) -> ProductHits:
    return replace(hits, pids=hits.pids[:k], photo_ids=hits.photo_ids[:k], scores=hits.scores[:k])
