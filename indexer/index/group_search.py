"""Search for groups of products, each by its best member."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from indexer.catalog.filters import Filter
from indexer.index.filter_columns import BoundFilter, FilterColumns, PidCondition
from indexer.index.product_codes import ProductCodes
from indexer.index.product_hits import ProductHits

# Products of one group that the first list is made longer for; of larger groups the others are
# left out of a second list.
_MOST_MET = 8.0


class ProductSearch(Protocol):
    """A search that can be made again without some products."""

    def find(self, k: int, without: np.ndarray) -> ProductHits:
        """The ``k`` best products that are none of the pids ``without`` (int64)."""


def search_groups(
    search: ProductSearch,
    codes: ProductCodes,
    k: int,
    without: np.ndarray | None = None,
) -> ProductHits:
    """Search the ``k`` best groups: of each the product that matches best, best first.

    Always min(k, groups that have a match) entries: where one list shows fewer, another is made
    without the groups that were found. ``without``: pids that are left out.
    """
    left_out = np.empty(0, np.int64) if without is None else without
    depth = int(k * min(codes.base.size_met, _MOST_MET)) + 1
    seen = np.empty(0, np.int64)
    groups = codes.groups
    best = ProductHits(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    while True:
        found = search.find(depth, left_out)
        of_hits = codes.of(found.pids)
        _, first = np.unique(of_hits, return_index=True)
        if len(seen):
            first = first[~np.isin(of_hits[first], seen)]
        best = best.and_then(found.at(np.sort(first)))
        if len(best) >= min(k, groups) or len(found) < depth:
            break
        # A group's other members, and members that another thread moved there just now.
        seen = np.union1d(seen, of_hits)
        left_out = np.union1d(np.union1d(left_out, codes.members(seen)), found.pids)
        depth *= 2
    # Lists of an approximate index may overlap in score.
    return best.at(np.lexsort((best.pids, -best.scores))[:k])


def leaving_out(where: Filter | None, columns: FilterColumns, pids: np.ndarray) -> BoundFilter:
    """``where`` without these products, for one search: it has no key to be kept by."""
    given = (where,) if where is not None else ()
    return BoundFilter(given, (), (PidCondition(pids=pids),), columns=columns)


def among(where: Filter | None, columns: FilterColumns, pids: np.ndarray) -> BoundFilter:
    """``where`` of these products alone, for one search."""
    given = (where,) if where is not None else ()
    return BoundFilter((PidCondition(pids=pids), *given), columns=columns)
