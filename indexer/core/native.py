"""Lazy import of torch and faiss; thread counts are set before either is loaded."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from indexer.core.container import available_cores, usable_cores

# OpenMP reads these once, when the first library that uses it is loaded. CATALENS_THREADS is for
# people who share a machine; without it OpenMP takes every core, which is right for one process
# that owns one model. Of a container's quota it knows nothing: threads beyond it take the time of
# the others, who wait for them.
if "CATALENS_THREADS" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", os.environ["CATALENS_THREADS"])
elif usable_cores() < available_cores():
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))

if TYPE_CHECKING:
    import faiss
    import torch

# Of glibc's mallopt(3)
_ARENA_MAX = -8
# Bytes that loading torch takes, before it does anything. Measured.
_TORCH_BYTES = 480_000_000


def __getattr__(name: str) -> Any:
    """``torch`` and ``faiss``: a process that serves an exported model never asks for torch, half a
    gigabyte."""
    if name not in ("torch", "faiss"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "faiss" and sys.platform != "linux":
        # Elsewhere both bring an OpenMP of one name, and torch's must be the first.
        import_module("torch")
    return import_module(name)


def torch_bytes() -> int:
    """About what loading torch is going to take; 0 where it is in the process already."""
    return 0 if "torch" in sys.modules else _TORCH_BYTES


def configure_serving_threads() -> None:
    """For a process whose many threads answer small questions, before it has them.

    numpy's BLAS keeps to the calling thread: its second one would spin for tens of milliseconds
    after each product and take a core from everyone else. glibc keeps two heaps instead of eight
    for each core: 100 MB less.
    """
    from threadpoolctl import threadpool_limits

    # Brings a BLAS of its own.
    import_module("faiss")
    threadpool_limits(limits=1, user_api="blas")
    if sys.platform.startswith("linux"):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_ARENA_MAX, 2)


def threads() -> int:
    """What ``OMP_NUM_THREADS`` says (of a list, "4,2", the first), else one for
    each usable core."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdigit() and int(first) > 0 else usable_cores()


# Threads for what OpenMP's own settings do not reach.
THREADS = threads()

__all__ = ["THREADS", "configure_serving_threads", "faiss", "threads", "torch"]
