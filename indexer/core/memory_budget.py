"""Budget of memory: bytes are asked for before they are taken, and given back."""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from indexer.core.container import usable_cores, usable_memory
from indexer.core.errors import NoMemoryError

# Bytes for decoded photos: at least, for each core, and the share of the memory that they may take.
_LEAST = 2**30
_PER_CORE = 2**27
_SHARE = 4


class MemoryLease:
    """Bytes taken from a budget until ``release``; releasing twice does nothing."""

    def __init__(self, budget: MemoryBudget, size: int) -> None:
        self._budget = budget
        self._size: int | None = size

    def release(self) -> None:
        """Give the bytes back."""
        size, self._size = self._size, None
        if size is not None:
            self._budget._give(size)

    def follow(self, thing: object) -> None:
        """Give the bytes back when ``thing`` is gone, which holds them."""
        weakref.finalize(thing, self.release).atexit = False


class MemoryBudget:
    """Bytes that may be taken at once; safe to use from many threads.

    Who asks first is served first. A single wish larger than all of it is granted when nothing else
    is taken, so nothing is impossible. ``most``: how many may take some at once.
    """

    def __init__(self, total: int, most: int | None = None) -> None:
        self.total = total
        self._most = most
        self._taken = 0
        self._takers = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition(threading.RLock())

    @property
    def taken(self) -> int:
        """Bytes that are taken now."""
        return self._taken

    @property
    def roomy(self) -> bool:
        """Whether at least half of it is free and nobody waits."""
        return 2 * self._taken <= self.total and not self._waiting

    def take(self, size: int, *, within_s: float | None = None) -> MemoryLease:
        """Take ``size`` bytes, waiting for them. Raises ``NoMemoryError`` where the time is up."""
        until = None if within_s is None else time.monotonic() + within_s
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                while self._waiting[0] is not turn or not self._fits(size):
                    left = None if until is None else until - time.monotonic()
                    if left is not None and left <= 0:
                        raise NoMemoryError(
                            f"{size:,} bytes of memory are needed, and others take "
                            f"{self._taken:,} of {self.total:,}: try again shortly"
                        )
                    self._changed.wait(left)
                self._taken += size
                self._takers += 1
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()
        return MemoryLease(self, size)

    @contextmanager
    def hold(self, size: int, *, within_s: float | None = None) -> Iterator[None]:
        """Inside, ``size`` bytes are taken. Raises as ``take``."""
        lease = self.take(size, within_s=within_s)
        try:
            yield
        finally:
            lease.release()

    def _fits(self, size: int) -> bool:
        if self._most is not None and self._takers >= self._most:
            return False
        return not self._taken or self._taken + size <= self.total

    def _give(self, size: int) -> None:
        with self._changed:
            self._taken -= size
            self._takers -= 1
            self._changed.notify_all()


def photo_memory() -> int:
    """Return the bytes that decoded photos of one process may take, by cores and memory."""
    usual = max(_LEAST, _PER_CORE * usable_cores())
    memory = usable_memory()
    return usual if memory is None else min(usual, memory // _SHARE)


@cache
def decoding_budget() -> MemoryBudget:
    """Return the budget of this process for photos while they are decoded, made at first use.

    As many at once as there are cores: more would only hold memory longer.
    """
    return MemoryBudget(photo_memory() // 2, most=max(2, usable_cores()))
