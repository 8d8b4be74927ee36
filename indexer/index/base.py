"""What every index is: unit vectors in, the rows with the highest cosine out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.core.errors import BadRequestError
from indexer.core.vectors import check_unit, to_float32

# two float32 scores of one pair of vectors differ by less, whatever the order of summation
TIE = 1e-6


@dataclass(frozen=True)
class Hits:
    """The answer to one query, best first; equal scores in order of row. Never padded with -1."""

    rows: np.ndarray  # int64 [n], positions in the version's row table
    scores: (
        np.ndarray
    )  # float32 [n], descending inner products; stored halves may carry one past 1 by up to 1e-3

    def __len__(self) -> int:
        return len(self.rows)


MIXED = "mixed"


@dataclass(frozen=True)
class SearchParams:
    """How hard one call searches; travels with the call. ``None`` takes what the index was tuned
    to."""

    effort: int | None = (
        None  # ``nprobe`` of an IVF index, ``efSearch`` of an HNSW one; exact indexes ignore it
    )
    rerank: int | None = (
        None  # candidates per asked hit that are scored again on the stored vectors
    )
    # The queries weigh the blocks otherwise than the vectors do (``decisions.similar.reweigh``):
    # the name of the one block that weighs anything, or MIXED.
    widen: str = ""


def rescore(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The one way a score is made: float32 dot products, not clipped, so that they rank.

    ``query`` [D] with ``vectors`` [n, D] gives [n]; [Q, D] with [Q, n, D] gives [Q, n]. A pair of
    vectors has one score to the last bit however many rows are asked for together (a matrix product
    does not promise that), so equal photos tie wherever they are stored.
    """
    against = query if query.ndim == 1 else query[:, None, :]
    return np.vecdot(to_float32(vectors), against)


def ranked(rows: np.ndarray, scores: np.ndarray, k: int) -> Hits:
    """The best ``k`` by (score descending, row ascending)."""
    order = np.lexsort((rows, -scores))[:k]
    return Hits(
        rows[order].astype(np.int64, copy=False), scores[order].astype(np.float32, copy=False)
    )


def rows_of(allowed: np.ndarray | None, total: int) -> np.ndarray | None:
    """``allowed`` (bool mask [N] or row numbers) as sorted unique int64 rows, None as None. Raises
    ``BadRequestError``."""
    if allowed is None:
        return None
    if allowed.dtype == np.bool_:
        if len(allowed) != total:
            raise BadRequestError(
                f"the mask of allowed rows has {len(allowed)} entries, the index has {total}"
            )
        return np.flatnonzero(allowed).astype(np.int64)
    rows = np.unique(allowed.astype(np.int64))
    if len(rows) and (rows[0] < 0 or rows[-1] >= total):
        raise BadRequestError(
            f"allowed rows must lie in 0..{total - 1}, found {rows[0]}..{rows[-1]}"
        )
    return rows


class VectorIndex(ABC):
    """Cosine search over unit vectors whose rows are numbered 0..N-1. Safe to search from several
    threads."""

    kind: str
    dim: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def vectors(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        """The stored vectors of these rows, float32 [n, D]."""

    @abstractmethod
    def _search(
        self, queries: np.ndarray, k: int, params: SearchParams, allowed: np.ndarray | None
    ) -> list[Hits]:
        """``search`` after its checks: ``k`` >= 1, ``allowed`` sorted rows, at least one entry can
        be found."""

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        params: SearchParams | None = None,
        allowed: np.ndarray | None = None,
    ) -> list[Hits]:
        """The ``k`` best rows for each of ``queries`` (float [Q, D], unit): always min(k, rows
        allowed) of them.

        ``allowed`` limits the rows that count: a bool mask [N], or row numbers. Raises
        ``BadVectorsError``, ``BadRequestError``.
        """
        if k < 1:
            raise BadRequestError(f"k must be at least 1, not {k}")
        check_unit(queries, self.dim)
        rows = rows_of(allowed, len(self))
        available = len(self) if rows is None else len(rows)
        if available == 0:
            return [Hits(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in queries]
        exact = np.ascontiguousarray(queries, dtype=np.float32)
        return self._search(exact, min(k, available), params or SearchParams(), rows)

    @abstractmethod
    def save(self, path: Path) -> bool:
        """Write what must be kept beside the vectors to ``path``; False (and no file) where that is
        nothing."""
