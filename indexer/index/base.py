"""Interfaces of vector indexes: search by cosine, and what an index engine must offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from indexer.core.errors import BadRequestError
from indexer.core.vectors import check_unit, to_float32

# Two float32 scores of one pair of vectors differ by less, whatever the order of summation.
TIE = 1e-6


@dataclass(frozen=True)
class Hits:
    """The answer to one query, best first; equal scores in order of row. Never padded with -1."""

    # int64 [n], positions in the version's row table
    rows: np.ndarray
    # float32 [n], descending inner products; stored halves may carry one past 1 by up to 1e-3
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


MIXED = "mixed"
# The recipe of an exact scan of the stored vectors: always right, and never too slow below
# FLAT_BELOW entries, where it takes about a millisecond.
EXACT = "Flat"
FLAT_BELOW = 20_000


@dataclass(frozen=True)
class SearchParams:
    """How hard one call searches; travels with the call. ``None`` takes what the index was tuned
    to."""

    # ``nprobe`` of an IVF index, ``efSearch`` of an HNSW one; exact indexes ignore it.
    effort: int | None = None
    # Candidates per asked hit that are scored again on the stored vectors.
    rerank: int | None = None
    # The queries weigh the blocks otherwise than the vectors do
    # (``query_weighting.reweight_queries``): the name of the one block that weighs anything, or
    # MIXED.
    widen: str = ""


def rescore(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The one way a score is made: float32 dot products, not clipped, so that they rank.

    ``query`` [D] with ``vectors`` [n, D] gives [n]; [Q, D] with [Q, n, D] gives [Q, n]. A pair of
    vectors has one score to the last bit however many rows are asked for together (a matrix product
    does not promise that), so equal photos tie wherever they are stored.
    """
    against = query if query.ndim == 1 else query[:, None, :]
    return np.vecdot(to_float32(vectors), against)


def top_k(rows: np.ndarray, scores: np.ndarray, k: int) -> Hits:
    """Select the best ``k`` by (score descending, row ascending)."""
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


class IndexBackend(VectorIndex):
    """An index engine: all that tuning, versions, recipes and estimates know of it.

    A *recipe* is a text that says how an index is made; ``registry.engine_of`` finds the engine by
    its beginning. An index keeps the stored vectors beside what ``save`` writes, and scores every
    hit on them (``rescore``). *Effort* is how hard a search tries, from 1 to ``max_effort``;
    *rerank* how many candidates for each hit are scored again. Both are tuned for 10 and for 100
    hits and stand in ``params``.
    """

    # Beginnings of the recipes that this engine makes, in capitals.
    prefixes: ClassVar[tuple[str, ...]]
    # The name of what ``save`` writes.
    file_name: ClassVar[str]
    recipe: str
    params: dict[str, Any]

    # -- making

    @classmethod
    @abstractmethod
    def build(
        cls,
        recipe: str,
        vectors: np.ndarray,
        *,
        device: str = "cpu",
        seed: int = 0,
        block_dims: Sequence[int] = (),
        unseen: np.ndarray | None = None,
    ) -> Self:
        """Train and fill an index of ``vectors`` (float16/32 [N, D], unit).

        ``block_dims``: lengths of the embedding's blocks. ``unseen``: rows that are stored as all
        are, but train nothing. Raises ``BadVectorsError``, ``BadRequestError`` for a recipe that
        cannot be made.
        """

    @classmethod
    @abstractmethod
    def load(
        cls,
        recipe: str,
        stored: np.ndarray,
        path: Path | None,
        *,
        params: dict[str, Any],
        device: str = "cpu",
    ) -> Self:
        """Back from disk; ``stored`` float16 [N, D] may be memory-mapped, ``path`` is None where
        ``save`` wrote nothing. The files were checksummed by the caller.

        Raises ``ValueError`` or ``RuntimeError`` for what cannot be read.
        """

    @abstractmethod
    def save(self, path: Path) -> bool:
        """Write what must be kept beside the vectors to ``path``; False (and no file) where that is
        nothing."""

    # -- choosing

    @classmethod
    def candidates(
        cls, entries: int, dim: int, *, block_dims: Sequence[int], device: str
    ) -> list[str]:
        """Recipes worth trying for so many vectors, the best first; none by default, so that only
        who asks for one gets it. ``device`` "cuda" asks for recipes with a GPU form."""
        return []

    @classmethod
    def compressed_recipe(cls, recipe: str) -> str | None:
        """Return the recipe that keeps less in memory and searches slower, if there is one."""
        return None

    @classmethod
    def resident_bytes(cls, recipe: str, entries: int, dim: int) -> int:
        """About what an opened index keeps resident."""
        return 2 * dim * entries

    @classmethod
    def build_bytes(cls, recipe: str, entries: int, dim: int) -> tuple[int, int]:
        """(memory beside the process's own, disk) that building and keeping it takes, vectors
        included."""
        vectors = 2 * dim * entries
        return 2 * vectors, 2 * vectors

    @classmethod
    def loads_torch(cls, recipe: str) -> bool:
        """Whether building it loads torch, whose memory ``build_bytes`` does not count."""
        return False

    @classmethod
    def build_growth(cls, recipe: str) -> float:
        """g where building takes time in proportion to entries ** g."""
        return 1.0

    @classmethod
    def scaled(cls, recipe: str, share: float) -> str:
        """The recipe as it would be for a ``share`` of the entries."""
        return recipe

    @classmethod
    def fewest_entries(cls, recipe: str) -> int:
        """With fewer entries another recipe serves better."""
        return 0

    @classmethod
    def has_gpu(cls) -> bool:
        """Whether the engine finds a GPU that it can use."""
        return False

    # -- tuning

    @property
    @abstractmethod
    def exact(self) -> bool:
        """Whether every answer is right, so that there is nothing to tune."""

    @property
    def effort_name(self) -> str:
        """The key of ``params`` under which tuned efforts stand."""
        return "effort"

    @property
    @abstractmethod
    def max_effort(self) -> int:
        """The effort at which the search looks everywhere, or as widely as makes sense."""

    @property
    def first_effort(self) -> int:
        """Where tuning begins."""
        return 1

    @abstractmethod
    def effort(self, k: float) -> int:
        """The tuned effort for ``k`` hits."""

    @abstractmethod
    def rerank(self, k: float) -> float:
        """The tuned number of candidates per hit, for ``k`` hits."""

    @abstractmethod
    def relative_cost(self, effort: int, wanted: float, share: float = 1.0) -> float:
        """What a search costs, in scans of one stored vector: entries looked at, and ``wanted``
        candidates scored again. ``share`` of the entries is allowed."""
