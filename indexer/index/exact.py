"""Exact index: scores every row in numpy; the oracle of all recall measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from indexer.core.vectors import check_unit, to_float32
from indexer.index.base import TIE, Hits, SearchParams, VectorIndex, rescore, top_k

# Rows in float32 at a time, so that a memory-mapped million needs no million in memory.
_CHUNK = 32768


class ExactIndex(VectorIndex):
    """Brute force over ``vectors`` (float16 or float32 [N, D], may be memory-mapped). Slow and
    always right.

    Raises ``BadVectorsError`` for rows that are not unit vectors, unless ``checked`` says that they
    were looked at before.
    """

    kind = "exact"

    def __init__(self, vectors: np.ndarray, *, checked: bool = False) -> None:
        self.dim = int(vectors.shape[1]) if vectors.ndim == 2 else 0
        if not checked:
            check_unit(vectors, self.dim)
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def vectors(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        return to_float32(self._vectors[np.asarray(rows, dtype=np.int64)])

    def _chunks(self, allowed: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        total = len(self) if allowed is None else len(allowed)
        for start in range(0, total, _CHUNK):
            stop = min(start + _CHUNK, total)
            if allowed is None:
                yield np.arange(start, stop), self._vectors[start:stop]
            else:
                yield allowed[start:stop], self._vectors[allowed[start:stop]]

    def _search(
        self, queries: np.ndarray, k: int, params: SearchParams, allowed: np.ndarray | None
    ) -> list[Hits]:
        found: list[tuple[np.ndarray, np.ndarray]] = [
            (np.empty(0, np.int64), np.empty(0, np.float32))
        ] * len(queries)
        for rows, stored in self._chunks(allowed):
            scores = to_float32(stored) @ queries.T  # [n, Q]
            for q in range(len(queries)):
                best, kept = found[q]
                found[q] = nearly_best(
                    np.concatenate([best, rows]), np.concatenate([kept, scores[:, q]]), k
                )
        return [
            top_k(rows, rescore(query, self._vectors[rows]), k)
            for query, (rows, _) in zip(queries, found, strict=True)
        ]


def nearly_best(rows: np.ndarray, scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` best and whatever ties with the last of them within rounding; unordered."""
    if len(scores) <= k:
        return rows, scores
    last = np.partition(scores, len(scores) - k)[len(scores) - k]
    kept = scores >= last - 2 * TIE
    return rows[kept], scores[kept]
