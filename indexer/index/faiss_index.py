"""FAISS index engine: an exact scan of halves, or an approximate recipe with exact scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from indexer.core import native
from indexer.core.errors import BadRequestError
from indexer.core.vectors import check_unit, to_float32
from indexer.index import faiss_recipes, gpu, pq_encoding
from indexer.index.base import TIE, Hits, IndexBackend, SearchParams, rescore
from indexer.index.exact import ExactIndex
from indexer.index.faiss_recipes import kind_of, lists_of
from indexer.index.memory_map import Rows, fp16_flat_index, read_index

# Its own type stubs lack half of it.
faiss: Any = native.faiss
log = structlog.get_logger(__name__)

_CHUNK = 65536
# Hits fetched beyond k, to see whether a tie crosses the end of the list.
_SPARE = 16
# The same of an approximate search, with a fifth of k: 8-bit codes rank nearly as vectors do.
_FEW_SPARE = 6
# an allowed set of this size is gathered and scanned: quicker than any selector, and exact
_SMALL = 1024
# from so many queries on, more threads pay; one query is slower on two threads (measured: 6.0 to
# 1.9 ms)
_BATCH = 8
# Values gathered at a time when candidates are scored again.
_RESCORED = 2_000_000
# What looking at one entry costs, in scans of one stored half: estimates, one thread at 100,000 x
# 512 in mind.
_SKIPPED = 0.02
_FAST = 0.12
_CODE = 0.6
_HOP = 4.0
# times the effort and the candidates for matches that lie evenly: codes rank far rows worse
_UNEVEN = 4
# An exact scan may cost so much more than a search by selector: it is sure.
_SURE = 3.0


@contextmanager
def _threads(queries: int) -> Iterator[None]:
    """Set FAISS's thread count for this call; it holds only for the calling thread."""
    before = faiss.omp_get_max_threads()
    if queries < _BATCH:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


class FaissIndex(IndexBackend):
    """``recipe`` "Flat" (exact, scans float16) or a FAISS factory string starting with IVF or HNSW
    (approximate).

    The stored vectors (float16 [N, D], may be memory-mapped) stay beside the FAISS part: every
    hit's score comes from them, so scores are those of the exact oracle whatever the recipe
    quantises. ``params`` is what ``tuning.tune`` found: ``{"nprobe" or "efSearch": {"10": e, "100":
    e}, "rerank": {"10": r, "100": r}, "widen": {block or MIXED: {"effort": factor, "rerank":
    factor}}}``.
    """

    prefixes = ("FLAT", "IVF", "HNSW")
    file_name = "index.faiss"

    def __init__(
        self, recipe: str, part: Any, stored: np.ndarray, params: dict[str, Any], device: str
    ) -> None:
        self.kind = kind_of(recipe)
        self.recipe = recipe
        self.dim = int(stored.shape[1])
        self.params = params
        self._stored = stored if stored.flags.c_contiguous else np.ascontiguousarray(stored)
        self._half = fp16_flat_index(self._stored)
        self._part = self._half if part is None else part
        self._refined = "Refine" in recipe
        # An exact scan wants all of it.
        self._rows = None if self.kind == "flat" else Rows(self._stored)
        self._device = device
        self._gpu: gpu.GpuForm | None = None
        self._again = gpu.GpuReturn()
        if len(stored) and not self._to_gpu() and gpu.use_gpu(device, quiet=True):
            self._again.fail()

    def _to_gpu(self) -> bool:
        self._gpu = gpu.clone(self._part, self._stored, recipe=self.recipe, device=self._device)
        return self._gpu is not None

    @classmethod
    def build(
        cls,
        recipe: str,
        vectors: np.ndarray,
        *,
        device: str = "cpu",
        seed: int = 0,
        block_dims: Sequence[int] = (),
        unseen: np.ndarray | None = None,
    ) -> FaissIndex:
        """Train (on a sample) and fill an index of ``vectors`` (float16/32 [N, D], unit). Raises
        ``BadVectorsError``.

        ``block_dims``: lengths of the embedding's blocks, for codes whose errors must cancel in
        each of them. ``unseen``: rows that are stored as all are, but train nothing.
        """
        dim = int(vectors.shape[1]) if vectors.ndim == 2 else 0
        check_unit(vectors, dim)
        kind = kind_of(recipe)
        stored = np.ascontiguousarray(vectors, dtype=np.float16)
        if kind == "flat":
            return cls(recipe, None, stored, {}, device)
        part = _factory(dim, recipe)
        lists = _lists(part)
        sample = len(stored)
        if lists is not None:
            lists.cp.seed = seed + 1
            lists.cp.niter = 10
            lists.cp.max_points_per_centroid = 64
            sample = 64 * lists.nlist
            lists.clustering_index = gpu.clustering(dim, device)
        picked = np.random.default_rng(seed).permutation(len(stored))
        if unseen is not None:
            picked = picked[~np.isin(picked, unseen)]
        picked = picked[:sample]
        training = to_float32(stored[np.sort(picked)])
        filled = (
            None
            if lists is None
            else gpu.built(part, training, stored, recipe=recipe, device=device)
        )
        part = filled if filled is not None else _filled(part, training, stored, recipe, block_dims)
        return cls(recipe, part, stored, {}, device)

    @classmethod
    def load(
        cls,
        recipe: str,
        stored: np.ndarray,
        path: Path | None,
        *,
        params: dict[str, Any],
        device: str = "cpu",
    ) -> FaissIndex:
        """Load an index from disk, memory-mapped where it can be.

        The files were checksummed by the caller: FAISS loads damaged ones without complaint.
        """
        if kind_of(recipe) == "flat":
            return cls(recipe, None, stored, params, device)
        if path is None:
            raise ValueError(f"recipe {recipe} has no index file")
        # Four-bit lists lie in registers' order, which FAISS cannot map; the finer codes behind
        # them it can.
        finer = stored.size if recipe.endswith("Refine(SQ8)") else 0
        part = read_index(path, path.stat().st_size - finer if "fs" in recipe else 0)
        if part.ntotal != len(stored) or part.d != stored.shape[1]:
            raise ValueError(
                f"{part.ntotal} x {part.d} in the index, {len(stored)} x {stored.shape[1]} stored "
                "vectors"
            )
        return cls(recipe, part, stored, params, device)

    def save(self, path: Path) -> bool:
        if self.kind == "flat":
            # The stored vectors are the index.
            return False
        faiss.write_index(self._part, str(path))
        return True

    # -- choosing

    @classmethod
    def candidates(
        cls, entries: int, dim: int, *, block_dims: Sequence[int], device: str
    ) -> list[str]:
        if device == "cuda":
            return faiss_recipes.gpu_recipes(entries, dim, block_dims)
        return faiss_recipes.cpu_recipes(entries, dim, block_dims)

    @classmethod
    def compressed_recipe(cls, recipe: str) -> str | None:
        return faiss_recipes.without_refinement(recipe)

    @classmethod
    def resident_bytes(cls, recipe: str, entries: int, dim: int) -> int:
        return faiss_recipes.resident_bytes(recipe, entries, dim)

    @classmethod
    def build_bytes(cls, recipe: str, entries: int, dim: int) -> tuple[int, int]:
        return faiss_recipes.build_bytes(recipe, entries, dim)

    @classmethod
    def loads_torch(cls, recipe: str) -> bool:
        return faiss_recipes.loads_torch(recipe)

    @classmethod
    def build_growth(cls, recipe: str) -> float:
        return faiss_recipes.build_growth(recipe)

    @classmethod
    def scaled(cls, recipe: str, share: float) -> str:
        return faiss_recipes.scaled(recipe, share)

    @classmethod
    def fewest_entries(cls, recipe: str) -> int:
        return faiss_recipes.fewest_entries(recipe)

    @classmethod
    def has_gpu(cls) -> bool:
        return gpu.gpus() > 0

    # -- searching

    def __len__(self) -> int:
        return len(self._stored)

    def vectors(self, rows: np.ndarray | Sequence[int]) -> np.ndarray:
        return to_float32(self._gathered(np.asarray(rows, dtype=np.int64)))

    @property
    def exact(self) -> bool:
        return self.kind == "flat"

    @property
    def effort_name(self) -> str:
        return _KNOBS[self.kind]

    @property
    def first_effort(self) -> int:
        return max(4, self.max_effort // 256) if self.kind == "ivf" else 32

    @property
    def max_effort(self) -> int:
        """The effort that searches everywhere (IVF) or as widely as makes sense (HNSW)."""
        return lists_of(self.recipe) or len(self)

    def effort(self, k: float) -> int:
        """Interpolate ``nprobe`` or ``efSearch`` for ``k`` hits by powers of the tuned ones."""
        return min(
            math.ceil(
                faiss_recipes.between(self.params.get(self.effort_name) or {"10": 16, "100": 32}, k)
            ),
            self.max_effort,
        )

    def rerank(self, k: float) -> float:
        """Interpolate the candidates per hit that are scored again, for ``k`` hits."""
        tuned = self.params.get("rerank", 4)
        # Versions before 0.2 hold one number.
        if not isinstance(tuned, dict):
            return float(tuned)
        few = float(tuned["10"])
        many = float(tuned["100"])
        return (
            few
            if k <= 10
            else max(many, 1.0)
            if k >= 100
            else few * (many / few) ** math.log10(k / 10)
        )

    def relative_cost(self, effort: int, wanted: float, share: float = 1.0) -> float:
        """Estimate the cost of a search, in scans of one stored half.

        Entries visited, then ``wanted`` candidates scored again. ``share`` of the entries is
        allowed. Exact: N times the share, and a look at the selector for each entry.
        """
        if self.kind == "flat":
            return len(self) * (share + _SKIPPED * (share < 1.0))
        if self.kind == "hnsw":
            # The graph's list is as long as what it gives back.
            return _HOP * max(effort, wanted) + wanted
        per_entry = (_FAST if "fs" in self.recipe else _CODE) * share + _SKIPPED * (share < 1.0)
        return len(self) * per_entry * effort / self.max_effort + wanted

    def _search(
        self, queries: np.ndarray, k: int, params: SearchParams, allowed: np.ndarray | None
    ) -> list[Hits]:
        available = len(self) if allowed is None else len(allowed)
        if allowed is not None and available <= max(_SMALL, k):
            return self._scan(queries, k, allowed)
        if self.kind == "flat":
            return self._search_flat(queries, k, allowed)
        effort, rerank = self._plan(k, params, available / len(self))
        fetch = k + _FEW_SPARE + k // 5
        wanted = min(max(int(k * rerank), fetch), available)
        # Once: another thread may find that it fails.
        form = self._gpu
        if not effort or (form is not None and form.exact and allowed is None):
            return self._search_flat(queries, k, allowed)
        hits = self._rescored(queries, self._candidates(queries, fetch, wanted, effort, allowed), k)
        # A few lists can hold fewer than k: search more lists, and at last all rows.
        for q in [q for q, found in enumerate(hits) if len(found) < k]:
            wider = effort
            query = queries[q : q + 1]
            while len(hits[q]) < k and wider < self.max_effort:
                wider = min(wider * 4, self.max_effort)
                found = self._candidates(query, fetch, wanted, wider, allowed)
                hits[q] = self._rescored(query, found, k)[0]
            if len(hits[q]) < k:
                hits[q] = self._scan(query, k, allowed)[0]
        return hits

    def _plan(self, k: int, params: SearchParams, share: float) -> tuple[int, float]:
        """Choose (effort, candidates per hit); effort 0 asks for an exact scan.

        Where matches lie evenly, the k best of a share s are among the k/s best of all: so wide it
        must look, and wider, because matches of a filter lie together. A graph's ways lead through
        what is not allowed: it is scanned.
        """
        if params.effort is not None and params.effort < 1:
            raise BadRequestError(f"search effort must be at least 1, not {params.effort}")
        effort = min(params.effort or self.effort(k / share), self.max_effort)
        rerank = params.rerank or self.rerank(k)
        if params.widen:
            measured = self.params.get("widen") or {}
            # Versions before 0.2 hold one pair for all; what was not measured, or not found, is
            # scanned.
            wider = measured if "effort" in measured else measured.get(params.widen)
            if not wider:
                return 0, rerank
            effort = min(effort * int(wider["effort"]), self.max_effort)
            # As many candidates more as ten hits were found to need: the further ones lie among
            # them.
            rerank += 10 * self.rerank(10) * (int(wider["rerank"]) - 1) / max(k, 10)
        if share < 1.0 and params.effort is None:
            effort = min(effort * _UNEVEN, self.max_effort)
            rerank = rerank * _UNEVEN
            exact = len(self) * (share + _SKIPPED)
            if self.kind == "hnsw" or exact <= _SURE * self.relative_cost(
                effort, k * rerank, share
            ):
                return 0, rerank
        return effort, rerank

    def _search_flat(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> list[Hits]:
        available = len(self) if allowed is None else len(allowed)
        fetch = min(k + _SPARE, available)
        # What a scan in halves left out may be better than what it found by twice its error.
        close = TIE if self._gpu is None else TIE + 2 * gpu.HALF_QUERY
        hits = self._rescored(queries, self._scanned(queries, fetch, allowed), fetch)
        for q, found in enumerate(hits):
            width = fetch
            cut = found
            query = queries[q : q + 1]
            # A tie crosses the end.
            while width < available and cut.scores[k - 1] <= cut.scores[-1] + close:
                width = min(width * 8, available)
                cut = self._rescored(query, self._scanned(query, width, allowed), width)[0]
            hits[q] = Hits(cut.rows[:k], cut.scores[:k])
        self._give_back()
        return hits

    def _scanned(self, queries: np.ndarray, count: int, allowed: np.ndarray | None) -> np.ndarray:
        """Scan the halves exactly: rows int64 [Q, count]."""
        self._again.look(self._to_gpu)
        form = self._gpu
        if form is not None and form.exact and allowed is None and count <= gpu.MAX_K:
            found = self._on_gpu(form, queries, count, 0)
            if found is not None:
                return found
        chosen = _selector(allowed, len(self))
        params = None if chosen is None else faiss.SearchParameters(sel=chosen)
        with _threads(len(queries)):
            return np.asarray(self._half.search(queries, count, params=params)[1])

    def _candidates(
        self, queries: np.ndarray, fetch: int, wanted: int, effort: int, allowed: np.ndarray | None
    ) -> np.ndarray:
        """Search the best of ``wanted`` candidates, or all: rows int64 [Q, at least ``fetch``].

        -1 where fewer were found. Parameters travel with the call.
        """
        self._again.look(self._to_gpu)
        form = self._gpu
        if (
            form is not None
            and allowed is None
            and wanted <= gpu.MAX_K
            and effort <= gpu.MAX_EFFORT
        ):
            found = self._on_gpu(form, queries, wanted, effort)
            if found is not None:
                return found
        chosen = _selector(allowed, len(self))
        options = {} if chosen is None else {"sel": chosen}
        if self.kind == "ivf":
            params = faiss.SearchParametersIVF(nprobe=effort, **options)
        else:
            params = faiss.SearchParametersHNSW(efSearch=max(effort, wanted), **options)
        count = wanted
        if self._refined:
            count = min(fetch, wanted)
            # FAISS cuts the product off to whole candidates.
            params = faiss.IndexRefineSearchParameters(
                k_factor=(wanted + 0.5) / count, base_index_params=params
            )
        with _threads(len(queries)):
            return np.asarray(self._part.search(queries, count, params=params)[1])

    def _on_gpu(
        self, form: gpu.GpuForm, queries: np.ndarray, count: int, effort: int
    ) -> np.ndarray | None:
        """Search on the GPU; None where it failed (out of memory or worse).

        Then the CPU form answers, now and until the GPU takes it again.
        """
        try:
            return form.search(queries, count, effort)
        except Exception as error:
            self._gpu = None
            log.warning(
                "GPU search failed, searching on the CPU",
                reason=str(error),
                again_after_s=self._again.fail(),
            )
            return None

    def _gathered(self, rows: np.ndarray) -> np.ndarray:
        return self._stored[rows] if self._rows is None else self._rows.take(rows)

    def _give_back(self) -> None:
        if self._rows is not None:
            self._rows.give_back()

    def _rescored(self, queries: np.ndarray, candidates: np.ndarray, k: int) -> list[Hits]:
        """Rank the best ``k`` candidates by exact score; ties in order of row, -1 left out."""
        hits: list[Hits] = []
        step = max(1, _RESCORED // max(1, candidates.shape[1] * self.dim))
        for start in range(0, len(queries), step):
            part = candidates[start : start + step]
            scores = rescore(queries[start : start + step], self._gathered(np.maximum(part, 0)))
            scores[part < 0] = -np.inf
            order = np.lexsort((part, -scores))[:, :k]
            rows = np.take_along_axis(part, order, 1)
            best = np.take_along_axis(scores, order, 1)
            counts = np.count_nonzero(rows >= 0, axis=1).tolist()
            hits += [Hits(r[:n], s[:n]) for r, s, n in zip(rows, best, counts, strict=True)]
        return hits

    def _scan(self, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> list[Hits]:
        hits = ExactIndex(self._stored, checked=True).search(queries, k, allowed=allowed)
        self._give_back()
        return hits


_KNOBS = {"ivf": "nprobe", "hnsw": "efSearch", "flat": ""}


def _factory(dim: int, recipe: str) -> Any:
    try:
        return faiss.index_factory(dim, recipe, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise BadRequestError(
            f"FAISS makes no index {recipe!r} of {dim} dimensions: {error}"
        ) from error


def _lists(part: Any) -> Any:
    """Return the IVF part of a recipe, also inside a re-ranking; None for a graph."""
    inner = faiss.downcast_index(part.base_index) if isinstance(part, faiss.IndexRefine) else part
    return inner if isinstance(inner, faiss.IndexIVF) else None


def _filled(
    part: Any, training: np.ndarray, stored: np.ndarray, recipe: str, block_dims: Sequence[int]
) -> Any:
    """Train and fill ``part``; four-bit lists get codes of ``pq_encoding``."""
    part.train(training)
    if "x4fsr" not in recipe:
        for start in range(0, len(stored), _CHUNK):
            part.add(to_float32(stored[start : start + _CHUNK]))
        return part
    lists = pq_encoding.filled(_lists(part), stored, block_dims)
    if not isinstance(part, faiss.IndexRefine):
        return faiss.clone_index(lists)  # a copy that owns its quantiser
    again = part.refine_index
    for start in range(0, len(stored), _CHUNK):
        again.add(to_float32(stored[start : start + _CHUNK]))
    return faiss.clone_index(faiss.IndexRefine(lists, again))


def _selector(allowed: np.ndarray | None, total: int) -> Any:
    """Make a bitmap over the rows; None where all are allowed."""
    if allowed is None or len(allowed) == total:
        return None
    mask = np.zeros(total, dtype=bool)
    mask[allowed] = True
    return faiss.IDSelectorBitmap(np.packbits(mask, bitorder="little"))
