"""FAISS behind the index interface: an exact half-precision scan, or an approximate recipe with exact scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from indexer import native
from indexer.errors import BadRequest
from indexer.index import gpu
from indexer.index.base import TIE, Hits, SearchParams, VectorIndex, check_unit, ranked, rescore, to_float32
from indexer.index.exact import ExactIndex

faiss: Any = native.faiss  # its own type stubs lack half of it
log = structlog.get_logger(__name__)

_CHUNK = 65536
_SPARE = 16  # hits fetched beyond k, to see whether a tie crosses the end of the list
_SMALL = 4096  # an allowed set of this size is scanned: quicker than any selector, and exact
_BATCH = 8  # from so many queries on, more threads pay; one query is slower on two threads (measured: 6.0 to 1.9 ms)
_RESCORED = 2_000_000  # values gathered at a time when candidates are scored again


@contextmanager
def _threads(queries: int) -> Iterator[None]:
    """FAISS's thread count for this call; it holds only for the calling thread."""
    before = faiss.omp_get_max_threads()
    if queries < _BATCH:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class FaissIndex(VectorIndex):
    """``recipe`` "Flat" (exact, scans float16) or a FAISS factory string starting with IVF or HNSW (approximate).

    The stored vectors (float16 [N, D], may be memory-mapped) stay beside the FAISS part: every hit's score comes from
    them, so scores are those of the exact oracle whatever the recipe quantises. ``params`` is what ``tuning.tune``
    found: ``{"nprobe" or "efSearch": {"10": e, "100": e}, "rerank": r}``.
    """

    def __init__(self, recipe: str, part: Any, stored: np.ndarray, params: dict[str, Any], device: str) -> None:
        self.kind = _kind(recipe)
        self.recipe = recipe
        self.dim = int(stored.shape[1])
        self.params = params
        self._part = part
        self._stored = stored
        self._gpu = gpu.clone(part, stored, recipe=recipe, device=device) if len(stored) else None

    @classmethod
    def build(cls, recipe: str, vectors: np.ndarray, *, device: str = "cpu", seed: int = 0) -> FaissIndex:
        """Train (on a sample) and fill an index of ``vectors`` (float16/32 [N, D], unit). Raises ``BadVectors``."""
        dim = int(vectors.shape[1]) if vectors.ndim == 2 else 0
        check_unit(vectors, dim)
        stored = vectors if vectors.dtype == np.float16 else vectors.astype(np.float16)
        if _kind(recipe) == "flat":
            return cls(recipe, _half_scan(stored), stored, {}, device)
        part = faiss.index_factory(dim, recipe, faiss.METRIC_INNER_PRODUCT)
        sample = len(stored)
        if _kind(recipe) == "ivf":
            part.cp.seed, part.cp.niter = seed + 1, 10
            part.cp.max_points_per_centroid = 64
            sample = 64 * part.nlist
            part.clustering_index = gpu.clustering(dim, device)
        picked = np.random.default_rng(seed).permutation(len(stored))[:sample]
        part.train(to_float32(stored[np.sort(picked)]))
        for start in range(0, len(stored), _CHUNK):
            part.add(to_float32(stored[start : start + _CHUNK]))
        return cls(recipe, part, stored, {}, device)

    @classmethod
    def load(
        cls, recipe: str, stored: np.ndarray, path: Path | None, *, params: dict[str, Any], device: str = "cpu"
    ) -> FaissIndex:
        """Back from disk. The files were checksummed by the caller: FAISS loads damaged ones without complaint."""
        if _kind(recipe) == "flat":
            return cls(recipe, _half_scan(stored), stored, params, device)
        if path is None:
            raise ValueError(f"recipe {recipe} has no index file")
        part = faiss.read_index(str(path))
        if part.ntotal != len(stored) or part.d != stored.shape[1]:
            raise ValueError(f"{part.ntotal} x {part.d} in the index, {len(stored)} x {stored.shape[1]} stored vectors")
        return cls(recipe, part, stored, params, device)

    def save(self, path: Path) -> bool:
        if self.kind == "flat":
            return False  # the stored vectors are the index
        faiss.write_index(self._part, str(path))
        return True

    def __len__(self) -> int:
        return len(self._stored)

    def vectors(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        return to_float32(self._stored[np.asarray(rows, dtype=np.int64)])

    @property
    def max_effort(self) -> int:
        """The effort at which the search looks everywhere (IVF) or as widely as makes sense (HNSW)."""
        return int(self._part.nlist) if self.kind == "ivf" else len(self)

    def effort(self, k: int) -> int:
        """``nprobe`` or ``efSearch`` for ``k`` hits: between the tuned points by powers, beyond them likewise."""
        tuned = self.params.get(_KNOBS[self.kind]) or {"10": 16, "100": 32}
        low, high = float(tuned["10"]), float(tuned["100"])
        if k > 10:
            step = max(high, low) / low
            low *= step ** math.log10(k / 10) if k <= 100 else step * math.sqrt(k / 100)
        return min(math.ceil(low), self.max_effort)

    def _search(self, queries: np.ndarray, k: int, params: SearchParams, allowed: np.ndarray | None) -> list[Hits]:
        if allowed is not None and len(allowed) <= max(_SMALL, k):
            return self._scan(queries, k, allowed)
        if self.kind == "flat":
            return self._search_flat(queries, k, allowed)
        rerank = params.rerank or int(self.params.get("rerank", 4))
        wanted = min(max(k * rerank, k + _SPARE), len(self) if allowed is None else len(allowed))
        effort = min(params.effort or self.effort(k), self.max_effort)
        if effort < 1:
            raise BadRequest(f"search effort must be at least 1, not {effort}")
        hits = self._rescored(queries, self._candidates(queries, wanted, effort, allowed), k)
        # A few lists can hold fewer than k: look further, and at last everywhere.
        for q in [q for q, found in enumerate(hits) if len(found) < k]:
            wider, query = effort, queries[q : q + 1]
            while len(hits[q]) < k and wider < self.max_effort:
                wider = min(wider * 4, self.max_effort)
                hits[q] = self._rescored(query, self._candidates(query, wanted, wider, allowed), k)[0]
            if len(hits[q]) < k:
                hits[q] = self._scan(query, k, allowed)[0]
        return hits

    def _search_flat(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> list[Hits]:
        available = len(self) if allowed is None else len(allowed)
        fetch = min(k + _SPARE, available)
        candidates = self._candidates(queries, fetch, 0, allowed)
        hits = self._rescored(queries, candidates, fetch)
        for q, found in enumerate(hits):
            width, cut, query = fetch, found, queries[q : q + 1]
            while width < available and cut.scores[k - 1] <= cut.scores[-1] + TIE:  # a tie crosses the end
                width = min(width * 8, available)
                cut = self._rescored(query, self._candidates(query, width, 0, allowed), width)[0]
            hits[q] = Hits(cut.rows[:k], cut.scores[:k])
        return hits

    def _candidates(self, queries: np.ndarray, count: int, effort: int, allowed: np.ndarray | None) -> np.ndarray:
        """Rows int64 [Q, count], -1 where FAISS found fewer. Parameters travel with the call."""
        if self._gpu is not None and allowed is None and count <= gpu.MAX_K:
            try:
                plain = faiss.SearchParametersIVF(nprobe=effort) if self.kind == "ivf" else None
                return self._gpu.search(queries, count, plain)
            except Exception as error:  # out of memory or worse: the CPU form answers, now and from here on
                log.warning("GPU search failed, searching on the CPU from here on", reason=str(error))
                self._gpu = None
        chosen = _selector(allowed, len(self))
        options = {} if chosen is None else {"sel": chosen}
        if self.kind == "ivf":
            params = faiss.SearchParametersIVF(nprobe=effort, **options)
        elif self.kind == "hnsw":
            params = faiss.SearchParametersHNSW(efSearch=max(effort, count), **options)
        else:
            params = faiss.SearchParameters(**options) if options else None
        with _threads(len(queries)):
            _, found = self._part.search(queries, count, params=params)
        return np.asarray(found)

    def _rescored(self, queries: np.ndarray, candidates: np.ndarray, k: int) -> list[Hits]:
        """The best ``k`` candidates by their exact scores."""
        hits: list[Hits] = []
        step = max(1, _RESCORED // max(1, candidates.shape[1] * self.dim))
        for start in range(0, len(queries), step):
            part = candidates[start : start + step]
            scores = rescore(queries[start : start + step], self._stored[np.maximum(part, 0)])
            for rows, values in zip(part, scores, strict=True):
                real = rows >= 0
                hits.append(ranked(rows[real], values[real], k))
        return hits

    def _scan(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> list[Hits]:
        return ExactIndex(self._stored, checked=True).search(queries, k, allowed=allowed)


_KNOBS = {"ivf": "nprobe", "hnsw": "efSearch", "flat": ""}


def knob(recipe: str) -> str:
    """The name FAISS gives the recipe's effort: "nprobe" or "efSearch"; "" where there is none."""
    return _KNOBS[_kind(recipe)]


def _kind(recipe: str) -> str:
    if recipe == "Flat":
        return "flat"
    for kind in ("ivf", "hnsw"):
        if recipe.upper().startswith(kind.upper()):
            return kind
    raise BadRequest(f"unknown index recipe {recipe!r}: Flat, or a FAISS factory string starting with IVF or HNSW")


def _half_scan(stored: np.ndarray) -> Any:
    """FAISS's scan over float16 codes, which are the stored vectors byte for byte.

    Half the memory of IndexFlatIP, and quicker: 0.5 against 1.5 ms a query at 20,000 x 512 on one thread, 1.0 against
    1.9 ms at 10,000 x 1280 (2 cores, AVX-512).
    """
    part = faiss.IndexScalarQuantizer(int(stored.shape[1]), faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    part.is_trained = True
    for start in range(0, len(stored), _CHUNK):
        codes = np.ascontiguousarray(stored[start : start + _CHUNK]).view(np.uint8)
        part.add_sa_codes(codes)
    return part


def _selector(allowed: np.ndarray | None, total: int) -> Any:
    """A bitmap over the rows; None where all are allowed."""
    if allowed is None:
        return None
    mask = np.zeros(total, dtype=bool)
    mask[allowed] = True
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
