"""GPU form of a FAISS index: built there, saved as the CPU form, served on either.

Never run on a GPU by its authors: FAISS's GPU build was at hand, a GPU was not. ``make prove-gpu``
is what would show it; what is tested without one is that every failure falls back to the CPU. One
owner: GPU indexes are not safe to read from two threads and share one scratch memory, so one lock
goes round every search of this process.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import structlog

from indexer.core import native
from indexer.core.backoff import Backoff
from indexer.core.vectors import to_float32

# Its own type stubs lack half of it.
faiss: Any = native.faiss
log = structlog.get_logger(__name__)

# Bytes of scratch on each GPU; FAISS would take up to 1.5 GiB by default.
TEMP_MEMORY = 256 * 2**20
# The most hits FAISS's GPU selection returns.
MAX_K = 2048
# The most lists of each query that it can look into.
MAX_EFFORT = 2048
_CHUNK = 65536
_OWNER = threading.RLock()
# The process's StandardGpuResources by GPU, made when first wanted. One for each: threads of
# several GPUs must not share scratch memory (facebookresearch/faiss#1572).
_shared: dict[int, Any] = {}
# How far a score may be from the exact one where a query is rounded to halves.
HALF_QUERY = 2.0**-11
# Seconds between two tries to put an index on the GPU that failed there.
_FIRST_S, _LONGEST_S = 60.0, 3600.0


def use_gpu(device: str, *, quiet: bool = False) -> bool:
    """Decide whether to try the GPU; logs a warning where one was named and there is none."""
    if device == "cpu":
        return False
    count = gpus()
    if count == 0 and device != "auto" and not quiet:
        log.warning("no GPU for the index, searching on the CPU", asked=device)
    return count > 0


def gpus() -> int:
    """GPUs that this FAISS can use; 0 for a build without its GPU part."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def has_lists(recipe: str) -> bool:
    """Whether FAISS has a GPU form of these inverted lists; four-bit fast-scan ones and graphs have
    none."""
    return recipe.startswith("IVF") and "fs" not in recipe and "Refine" not in recipe


def _resources(device: int = 0) -> Any:
    with _OWNER:
        if device not in _shared:
            made = faiss.StandardGpuResources()
            made.setTempMemory(TEMP_MEMORY)
            _shared[device] = made
        return _shared[device]


def _on_all(index: Any, *, float16: bool = True) -> Any:
    """A CPU index of inverted lists on the GPU, its entries sharded where there are several."""
    count = gpus()
    options = faiss.GpuMultipleClonerOptions() if count > 1 else faiss.GpuClonerOptions()
    options.useFloat16 = float16
    if count == 1:
        return faiss.index_cpu_to_gpu(_resources(), 0, index, options)
    options.shard = True
    devices = list(range(count))
    return faiss.index_cpu_to_gpu_multiple_py(
        [_resources(device) for device in devices], index, options, devices
    )


def _flat(stored: np.ndarray, *, float16: bool = True) -> Any:
    """An exact scan of ``stored``, as halves; each of several GPUs holds a run of rows."""
    parts = []
    for device, rows in enumerate(np.array_split(np.arange(len(stored)), gpus())):
        config = faiss.GpuIndexFlatConfig()
        config.useFloat16 = float16
        config.device = device
        parts.append(faiss.GpuIndexFlatIP(_resources(device), int(stored.shape[1]), config))
        for start in range(0, len(rows), _CHUNK):
            parts[-1].add(to_float32(stored[rows[start : start + _CHUNK]]))
    if len(parts) == 1:
        return parts[0]
    # Threaded, rows numbered on from part to part.
    shards = faiss.IndexShards(int(stored.shape[1]), True, True)
    for part in parts:
        shards.add_shard(part)
    return shards


def _free(held: list[Any]) -> None:
    with _OWNER:
        held.clear()


class GpuReturn:
    """Puts an index on the GPU again that failed there, ever less often, in a thread of its own.

    What fails is mostly memory, which the version before it or a build takes for a while.
    """

    def __init__(self) -> None:
        self._backoff = Backoff(_FIRST_S, _LONGEST_S)
        self._trying = threading.Lock()

    def fail(self) -> float:
        """Note a failure; returns the seconds until the next try."""
        return self._backoff.fail()

    def look(self, put: Callable[[], bool]) -> None:
        """Call ``put`` where a try is due and none runs; it says whether it succeeded."""
        if self._backoff.wait_s and self._backoff.is_due and self._trying.acquire(blocking=False):
            threading.Thread(target=self._try, args=(put,), name="gpu-return", daemon=True).start()

    def _try(self, put: Callable[[], bool]) -> None:
        try:
            done = False
            try:
                done = put()
            finally:
                (self._backoff.succeed if done else self._backoff.fail)()
        finally:
            self._trying.release()


class GpuForm:
    """A copy of a CPU index on the GPU. ``exact``: a scan of the stored halves, else the recipe's
    inverted lists."""

    def __init__(
        self, index: Any, stored: np.ndarray, *, exact: bool, float16: bool = True
    ) -> None:
        self.exact = exact
        self._held: list[Any] = []
        with _OWNER:
            self._held.append(
                _flat(stored, float16=float16) if exact else _on_all(index, float16=float16)
            )
        # Dropped in whichever thread, its memory is freed while nobody else searches there.
        weakref.finalize(self, _free, self._held).atexit = False

    def search(self, queries: np.ndarray, k: int, effort: int) -> np.ndarray:
        """Candidate rows int64 [Q, k], -1 where there are fewer. Raises ``RuntimeError`` (out of
        memory, say)."""
        params = None if self.exact else faiss.SearchParametersIVF(nprobe=effort)
        with _OWNER:
            index = self._held[0]
            _, found = (
                index.search(queries, k, params=params) if params else index.search(queries, k)
            )
        return np.asarray(found)


def clustering(dim: int, device: str) -> Any:
    """An empty GPU index for k-means to assign with, or None: FAISS then uses the CPU."""
    if not use_gpu(device):
        return None
    try:
        return faiss.GpuIndexFlatIP(_resources(), dim)
    except Exception as error:
        log.warning("training on the CPU", reason=str(error))
        return None


def built(part: Any, training: np.ndarray, stored: np.ndarray, *, recipe: str, device: str) -> Any:
    """The empty CPU index ``part`` trained and filled on the GPU, as a CPU index again; None where
    the CPU must do it.

    ``part`` itself stays empty. One GPU builds: a shard could not be put together again in order of
    row.
    """
    if not has_lists(recipe) or not use_gpu(device):
        return None
    try:
        with _OWNER:
            options = faiss.GpuClonerOptions()
            options.useFloat16 = True
            there = faiss.index_cpu_to_gpu(_resources(), 0, part, options)
            there.train(training)
            try:
                for start in range(0, len(stored), _CHUNK):
                    there.add(to_float32(stored[start : start + _CHUNK]))
                return faiss.index_gpu_to_cpu(there)
            finally:
                # here, under the lock
                del there
    except Exception as error:  # out of memory, or a kind its kernels do not know
        log.warning(
            "the index is not built on the GPU, building on the CPU",
            recipe=recipe,
            reason=str(error),
        )
        return None


def clone(index: Any, stored: np.ndarray, *, recipe: str, device: str) -> GpuForm | None:
    """The GPU form, or None with a log line saying why the CPU serves.

    Inverted lists that FAISS has on the GPU are copied; of other recipes the stored halves are
    scanned there, exactly.
    """
    if not use_gpu(device):
        return None
    try:
        form = GpuForm(index, stored, exact=not has_lists(recipe))
    except Exception as error:  # whatever FAISS or the driver raises, the CPU can serve
        log.warning(
            "the index does not go on the GPU, searching on the CPU",
            recipe=recipe,
            reason=str(error),
        )
        return None
    log.info("index on the GPU", recipe=recipe, entries=len(stored))
    return form
