"""Search results by product: each with its best photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# So few products that a search leaves out are compared one by one.
_FEW = 8


@dataclass(frozen=True)
class ProductHits:
    """The answer to one query, one entry per product with its best photo; score descending, then
    pid ascending."""

    pids: np.ndarray  # int64 [n]
    photo_ids: np.ndarray  # int64 [n]
    scores: np.ndarray  # float32 [n], cosine in [-1, 1]

    def __len__(self) -> int:
        return len(self.pids)


def by_product(
    pids: np.ndarray,
    photo_ids: np.ndarray,
    scores: np.ndarray,
    k: int,
    excluded: np.ndarray,
    min_score: float | None,
) -> ProductHits:
    """The best photo of each product, the ``k`` best products; ties by pid, within a product by
    photo id."""
    # Many times as quick as isin.
    if len(excluded) <= _FEW:
        keep = np.ones(len(pids), dtype=bool)
        for pid in excluded.tolist():
            keep &= pids != pid
    else:
        keep = ~np.isin(pids, excluded)
    if min_score is not None:
        keep &= scores >= min_score
    pids = pids[keep]
    photo_ids = photo_ids[keep]
    scores = scores[keep]
    order = np.lexsort((photo_ids, pids, -scores))
    # Of each product its best place in the order.
    _, first = np.unique(pids[order], return_index=True)
    chosen = order[np.sort(first)[:k]]
    return ProductHits(
        pids[chosen], photo_ids[chosen], scores[chosen].astype(np.float32, copy=False)
    )
