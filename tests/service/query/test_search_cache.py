"""Searches that the questions of one request share are made once, and give what each would have
found alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from indexer.index.base import SearchParams
from indexer.index.product_hits import ProductHits
from service.query.search_cache import SearchCache

G = SearchParams(widen="g")


@dataclass
class Live:
    """Has products 0..9; notes how many were asked for."""

    asked: list[int] = field(default_factory=list)

    def search(
        self, queries: np.ndarray, k: int, *, exclude: set[int], params: Any
    ) -> list[ProductHits]:
        self.asked.append(k)
        pids = np.array([pid for pid in range(10) if pid not in exclude][:k], np.int64)
        return [ProductHits(pids, pids + 100, (1 - pids / 10).astype(np.float32))]


def query(place: int = 0) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[place]


def test_a_shorter_list_is_the_beginning_of_a_longer_one() -> None:
    live, near = Live(), SearchCache({"g": 6})
    first = near.search(live, query(), 2, set(), G)  # type: ignore[arg-type]
    second = near.search(live, query() + np.float32(1e-8), 6, set(), G)  # type: ignore[arg-type]
    assert (first.pids.tolist(), second.pids.tolist()) == ([0, 1], [0, 1, 2, 3, 4, 5])
    assert first.photo_ids.tolist() == [100, 101]
    assert live.asked == [6]


def test_a_list_that_holds_all_there_is_is_long_enough() -> None:
    live, near = Live(), SearchCache()
    assert len(near.search(live, query(), 20, set(), None)) == 10  # type: ignore[arg-type]
    assert len(near.search(live, query(), 80, set(), None)) == 10  # type: ignore[arg-type]
    assert live.asked == [20]


@pytest.mark.parametrize(
    ("asked", "k", "hidden", "params"),
    [
        (query(1), 3, set(), G),
        (query(), 4, set(), G),
        (query(), 3, {1}, G),
        (query(), 3, set(), None),
    ],
    ids=["another query", "more", "others hidden", "another view"],
)
def test_what_differs_is_searched(
    asked: np.ndarray, k: int, hidden: set[int], params: SearchParams | None
) -> None:
    live, near = Live(), SearchCache()
    near.search(live, query(), 3, set(), G)  # type: ignore[arg-type]
    found = near.search(live, asked, k, hidden, params)  # type: ignore[arg-type]
    assert live.asked == [3, k]
    assert not hidden & set(found.pids.tolist())
