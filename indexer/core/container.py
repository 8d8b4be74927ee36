"""CPU quota and memory limit of the container that this process runs in (Linux cgroups)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

# bytes: cgroup v1 says "no limit" with a number near 2**63
_UNLIMITED = 2**60


@dataclass(frozen=True)
class ContainerLimits:
    """What the container allows; None where it sets no limit, or where there is none."""

    # cores' worth of time, such as 1.5
    cpus: float | None = None
    # cores it may run on
    cpuset: int | None = None
    # bytes
    memory: int | None = None


@cache
def container_limits() -> ContainerLimits:
    """Return the limits of this process's container, read once."""
    return read_container_limits(Path("/"))


def read_container_limits(root: Path) -> ContainerLimits:
    """Read the limits from ``proc`` and ``sys`` below ``root``; what cannot be read is no limit.

    The tightest of the group and of all groups above it holds. A container sees its own group as
    the root of the tree, or by the path that it has on the host: both are looked at. Files:
    ``cpu.max``, ``cpuset.cpus.effective``, ``memory.max`` (version 2), ``cpu.cfs_quota_us``,
    ``cpuset.cpus`` and ``memory.limit_in_bytes`` (version 1), as Linux documents them.
    """
    cpus: list[float] = []
    sets: list[int] = []
    memory: list[int] = []
    for folder in _folders(root):
        quota = _words(folder / "cpu.max")
        if not quota:
            quota = _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(quota) == 2 and all(word.isdigit() for word in quota) and int(quota[1]) > 0:
            cpus.append(int(quota[0]) / int(quota[1]))
        for name in ("cpuset.cpus.effective", "cpuset.cpus"):
            sets += [count for word in _words(folder / name)[:1] if (count := _count(word))]
        for name in ("memory.max", "memory.limit_in_bytes"):
            memory += [int(word) for word in _words(folder / name)[:1] if word.isdigit()]
    return ContainerLimits(
        min((value for value in cpus if value > 0), default=None),
        min(sets, default=None),
        min((value for value in memory if 0 < value < _UNLIMITED), default=None),
    )


def usable_cores() -> int:
    """Count the cores whose time this process may use, at least 1: every thread count starts here.

    The least of its affinity, the container's set of cores, and the container's quota, rounded up.
    """
    limits = container_limits()
    counts = [available_cores()]
    if limits.cpuset is not None:
        counts.append(limits.cpuset)
    if limits.cpus is not None:
        counts.append(math.ceil(limits.cpus - 0.01))
    return max(1, min(counts))


def available_cores() -> int:
    """Count the cores that the scheduler may put this process on, whatever its quota of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_memory() -> int | None:
    """Return the bytes of memory this process may use: the machine's or the container's limit."""
    limit = container_limits().memory
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return limit
    return physical if limit is None else min(physical, limit)


def _folders(root: Path) -> Iterator[Path]:
    """Folders of this process's groups and of those above them, of each hierarchy, once each."""
    seen: set[Path] = set()
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        tops = [mount / "unified", mount]
        if controllers:
            tops = [mount / controllers, *(mount / name for name in controllers.split(","))]
        inner = PurePosixPath(path.strip().lstrip("/"))
        for top in tops:
            for part in (inner, *inner.parents):
                # A group outside of the container's own tree is written with "..".
                folder = top if ".." in part.parts else top / part
                if folder not in seen:
                    seen.add(folder)
                    yield folder


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""


def _words(file: Path) -> list[str]:
    return _text(file).split()


def _count(cores: str) -> int:
    """Count the cores of a list such as ``0-3,8``; 0 where it is none."""
    total = 0
    for part in cores.split(","):
        first, _, last = part.partition("-")
        last = last or first
        if not (first.isdigit() and last.isdigit() and int(first) <= int(last)):
            return 0
        total += int(last) - int(first) + 1
    return total
