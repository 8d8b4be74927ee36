"""Election of the one service of a home that does its background work."""

from __future__ import annotations

import threading
import time

from filelock import FileLock, Timeout

from indexer.core.home import Home

_RETRY_S = 1.0  # between attempts of a service that follows


class Leadership:
    """The lock of the home's leader, taken when it is first asked for and free.

    The system frees the lock of a process that dies, so another service of the home takes over
    about a second later. ``eligible=False``, for a home that cannot be written: it never leads.
    """

    def __init__(self, home: Home, *, eligible: bool = True) -> None:
        self._path = home.path / "locks" / "leader.lock"
        self._lock = FileLock(self._path, thread_local=False)
        self._eligible = eligible
        self._next = 0.0
        self._mutex = threading.Lock()

    def holds(self) -> bool:
        """Whether this process leads now; any thread may ask, and the first to ask takes the lock
        where it is free."""
        with self._mutex:
            if self._lock.is_locked:
                return True
            if not self._eligible or time.monotonic() < self._next:
                return False
            self._next = time.monotonic() + _RETRY_S
            try:
                self._path.parent.mkdir(exist_ok=True)
                self._lock.acquire(timeout=0)
            except (Timeout, OSError):
                return False
            return True

    def release(self) -> None:
        """Let another service lead; this one takes the lock no more."""
        with self._mutex:
            self._eligible = False
            self._lock.release()
