"""How many cores and threads there are to use; loads nothing."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores this process may use, which a container may have made fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """What ``OMP_NUM_THREADS`` says (of a list, "4,2", the first), else one for each usable core."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdigit() and int(first) > 0 else usable_cores()
