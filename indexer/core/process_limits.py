"""Limits on the memory that a process takes, and on what it keeps of it."""

from __future__ import annotations

import ctypes
import sys

from indexer.core.container import usable_memory

# of the memory, for a process that imports a feed
IMPORT_SHARE = 0.75
# malloc.h of glibc
_MMAP_THRESHOLD = -3
_TRIM_THRESHOLD = -1
_KEPT_BLOCK = 8 * 2**20
# The least that is left to a process: below, nothing could be imported on a small machine.
_LEAST = 2**30


def limit_memory(share: float) -> None:
    """Let this process take no more than ``share`` of the memory, but 1 GiB in any case.

    What goes beyond raises ``MemoryError`` here, instead of taking the memory of the service that
    started it. Counts what the process writes to, not files that it maps. Linux only; a tighter
    limit stays.
    """
    memory = usable_memory()
    if memory is None or not sys.platform.startswith("linux"):
        return
    import resource

    wanted = max(round(memory * share), _LEAST)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    for limit in (soft, hard):
        if limit != resource.RLIM_INFINITY:
            wanted = min(wanted, limit)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def release_freed_memory() -> None:
    """Let freed blocks of 8 MiB and more go back to the system at once (glibc; elsewhere nothing).

    glibc raises this bound by itself, up to 32 MiB, with each such block that is freed. Then what
    photos took stays with the process, in pieces.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _KEPT_BLOCK)
        library.mallopt(_TRIM_THRESHOLD, _KEPT_BLOCK)
