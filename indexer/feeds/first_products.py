"""First products of a feed: a sample over all categories, to be imported before the rest."""

from __future__ import annotations

from array import array

import numpy as np


def choose_first(sizes: array[int], categories: array[int], most: int | None) -> np.ndarray:
    """Numbers of the groups to import, int64: all, or as many as make ``most`` products.

    ``sizes`` and ``categories`` are each group's number of products and hash of its category. Then
    one group of each category comes first, then a second one of each, and so on.
    """
    count = len(sizes)
    if most is None:
        return np.arange(count)
    kinds = np.frombuffer(categories, np.uint64)
    order = np.argsort(kinds, kind="stable")
    ordered = kinds[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))[:count]
    lengths = np.diff(np.append(starts, count))
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count) - np.repeat(starts, lengths)
    turn = np.argsort(rank, kind="stable")
    before = np.cumsum(np.frombuffer(sizes, np.uint64)[turn].astype(np.int64))
    return turn[: int(np.searchsorted(before, most)) + 1]
