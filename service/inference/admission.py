"""Admission control: how many requests work and wait at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from indexer.core.errors import UnavailableError


class OverloadedError(UnavailableError):
    """More requests wait for the network than the settings allow, or it is shutting down. Try again
    shortly."""

    code = "overloaded"


class DeadlineExceededError(OverloadedError):
    """The answer would come after the request's deadline, so it is not computed any more. Try again
    shortly."""

    code = "deadline-exceeded"


class AdmissionGate:
    """Lets ``working`` questions be worked on at once; ``max_waiting`` more may wait, each at most
    ``deadline_s``."""

    def __init__(self, working: int, max_waiting: int, deadline_s: float) -> None:
        self._max_waiting = max_waiting
        self._deadline_s = deadline_s
        self._free = threading.Semaphore(working)
        self._waiting = 0
        self._working = 0
        self._counting = threading.Lock()

    @property
    def crowded(self) -> bool:
        """Whether more than one is being worked on."""
        return self._working > 1

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Inside is a place at work. Raises ``OverloadedError`` where too many wait,
        ``DeadlineExceededError`` where none came free."""
        if not self._free.acquire(blocking=False):
            self._wait()
        with self._counting:
            self._working += 1
        try:
            yield
        finally:
            with self._counting:
                self._working -= 1
            self._free.release()

    def _wait(self) -> None:
        with self._counting:
            if self._waiting >= self._max_waiting:
                raise OverloadedError(
                    f"{self._max_waiting} questions are waiting already: try again shortly"
                )
            self._waiting += 1
        try:
            if not self._free.acquire(timeout=self._deadline_s):
                raise DeadlineExceededError(
                    "no time for this before its deadline: try again shortly"
                )
        finally:
            with self._counting:
                self._waiting -= 1
