"""Search results by product: each with its best photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexer.index.base import Hits

# So few products are compared one by one.
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

    def at(self, places: np.ndarray | slice) -> ProductHits:
        """Return the hits at these places, in their order."""
        return ProductHits(self.pids[places], self.photo_ids[places], self.scores[places])

    def and_then(self, others: ProductHits) -> ProductHits:
        """Return these hits and behind them ``others``, as they stand."""
        return ProductHits(
            np.concatenate([self.pids, others.pids]),
            np.concatenate([self.photo_ids, others.photo_ids]),
            np.concatenate([self.scores, others.scores]),
        )


@dataclass(frozen=True)
class StopRule:
    """What makes a list of products complete."""

    k: int
    min_score: float | None
    excluded: np.ndarray
    # Entries of the base that can be found at all.
    available: int

    def is_met(self, answer: ProductHits, found: Sequence[Hits], scales: np.ndarray) -> bool:
        """Check that no longer list could change ``answer``, made of ``found`` in the base."""
        if all(len(hits) == self.available for hits in found):
            return True
        ends = [
            float(hits.scores[-1] * scale)
            for hits, scale in zip(found, scales, strict=True)
            if len(hits)
        ]
        # What no list holds scores no more than this.
        floor = max(ends, default=-np.inf)
        full = len(answer) == self.k and answer.scores[-1] > floor
        return full or (self.min_score is not None and floor < self.min_score)


def is_among(pids: np.ndarray, some: np.ndarray) -> np.ndarray:
    """Tell which of the ``pids`` are among ``some``: bool [n]."""
    if len(some) > _FEW:
        return np.isin(pids, some)
    # Many times as quick.
    found = np.zeros(len(pids), dtype=bool)
    for pid in some.tolist():
        found |= pids == pid
    return found


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
    keep = ~is_among(pids, excluded)
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
