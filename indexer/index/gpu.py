"""The GPU form of an index, where FAISS sees a GPU.

Never run on a GPU by its authors: FAISS's GPU build was at hand, a GPU was not. What is tested is that every failure
falls back to the CPU. One owner: GPU indexes are not safe to read from two threads, so a lock goes round each search.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import structlog

from indexer import native
from indexer.index.base import to_float32

faiss: Any = native.faiss  # its own type stubs lack half of it
log = structlog.get_logger(__name__)

TEMP_MEMORY = 256 * 2**20  # bytes of scratch; FAISS would take up to 1.5 GiB by default
MAX_K = 2048  # the most hits FAISS's GPU selection returns
_CHUNK = 65536


def wanted(device: str) -> bool:
    """Whether to try the GPU; says so in the log where it was asked for by name and is not there."""
    if device == "cpu":
        return False
    count = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
    if count == 0 and device != "auto":
        log.warning("no GPU for the index, searching on the CPU", asked=device)
    return count > 0


class GpuForm:
    """A copy of a CPU index on GPU 0, with its one owner's lock. Vectors are kept as float16 there where FAISS can."""

    def __init__(self, index: Any, stored: np.ndarray, *, flat: bool, float16: bool = True) -> None:
        self._lock = threading.Lock()
        self._resources = faiss.StandardGpuResources()
        self._resources.setTempMemory(TEMP_MEMORY)
        if flat:
            config = faiss.GpuIndexFlatConfig()
            config.useFloat16 = float16
            self._index = faiss.GpuIndexFlatIP(self._resources, int(stored.shape[1]), config)
            for start in range(0, len(stored), _CHUNK):
                self._index.add(to_float32(stored[start : start + _CHUNK]))
        else:
            options = faiss.GpuClonerOptions()
            options.useFloat16 = float16
            self._index = faiss.index_cpu_to_gpu(self._resources, 0, index, options)

    def search(self, queries: np.ndarray, k: int, params: Any) -> np.ndarray:
        """Candidate rows int64 [Q, k], -1 where there are fewer. Raises ``RuntimeError`` (out of memory, say)."""
        with self._lock:
            _, found = self._index.search(queries, k, params=params) if params else self._index.search(queries, k)
        return np.asarray(found)


def clustering(dim: int, device: str) -> Any:
    """An empty GPU index for k-means to assign with, or None: FAISS then uses the CPU."""
    if not wanted(device):
        return None
    try:
        resources = faiss.StandardGpuResources()
        resources.setTempMemory(TEMP_MEMORY)
        return faiss.GpuIndexFlatIP(resources, dim)
    except Exception as error:
        log.warning("training on the CPU", reason=str(error))
        return None


def clone(index: Any, stored: np.ndarray, *, recipe: str, device: str) -> GpuForm | None:
    """The GPU form, or None with a log line saying why the CPU serves."""
    if not wanted(device):
        return None
    if recipe != "Flat" and not recipe.startswith("IVF"):
        log.warning("this recipe has no GPU form, searching on the CPU", recipe=recipe)
        return None
    try:
        form = GpuForm(index, stored, flat=recipe == "Flat")
    except Exception as error:  # whatever FAISS or the driver raises, the CPU can serve
        log.warning("the index does not go on the GPU, searching on the CPU", recipe=recipe, reason=str(error))
        return None
    log.info("index on the GPU", recipe=recipe, entries=len(stored))
    return form
