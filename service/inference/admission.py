"""Admission control: how many requests work and wait at once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from indexer.core.errors import UnavailableError

_ANSWERS = 16  # answers' time that a request may wait for where more comes than can be done
_SHORTEST_S = 0.05
_CROWD_S = 1.0  # and the time that all who may wait take: so long a queue is a crowd that passes
_SMOOTHING = 0.02


class OverloadedError(UnavailableError):
    """More requests wait for the network than the settings allow, or it is shutting down. Try again
    shortly."""

    code = "overloaded"


class DeadlineExceededError(OverloadedError):
    """The answer would come after the request's deadline, so it is not computed any more. Try again
    shortly."""

    code = "deadline-exceeded"


class _Waiter:
    """One request that waits for a place."""

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.told = threading.Event()
        self.granted = False


class AdmissionGate:
    """Lets ``working`` questions be worked on at once; the others wait in the order they came.

    Up to ``max_waiting`` wait, each at most ``deadline_s``. A crowd that comes at once is worked
    off; where more comes than can be done, and the queue is never empty, whoever has waited for
    longer than a dozen answers take is refused, so that the others are answered soon instead of all
    of them late (controlled delay: Nichols and Jacobson, "Controlling Queue Delay", ACM Queue
    2012).
    """

    def __init__(self, working: int, max_waiting: int, deadline_s: float) -> None:
        self._places = working
        self._max_waiting = max_waiting
        self._deadline_s = deadline_s
        self._waiting: deque[_Waiter] = deque()
        self._working = 0
        self._answered = 0
        self._answer_s = 0.0  # how long one place is taken, a moving mean
        self._empty_at = time.monotonic()  # when nobody waited, last
        self._lock = threading.Lock()

    @property
    def crowded(self) -> bool:
        """Whether more than one is being worked on."""
        return self._working > 1

    @property
    def full(self) -> bool:
        """Whether the next request would be refused at once."""
        with self._lock:
            return self._full()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Inside is a place at work. Raises ``OverloadedError`` where too many wait,
        ``DeadlineExceededError`` where none came free."""
        self._enter()
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                took = time.monotonic() - began
                self._answered += 1
                # The plain mean of the first ones: they must not seem quick for want of others.
                weight = max(_SMOOTHING, 1 / self._answered)
                self._answer_s += (took - self._answer_s) * weight
                self._working -= 1
                self._call()

    def _enter(self) -> None:
        with self._lock:
            if self._working < self._places and not self._waiting:
                self._working += 1
                return
            if self._full():
                raise OverloadedError(
                    f"{len(self._waiting)} questions are waiting already: try again shortly"
                )
            if not self._waiting:
                self._empty_at = time.monotonic()
            waiter = _Waiter()
            self._waiting.append(waiter)
        waiter.told.wait(timeout=self._deadline_s)
        with self._lock:
            if waiter.granted:
                return
            told = waiter.told.is_set()
            if not told:
                self._waiting.remove(waiter)
        if told:
            raise OverloadedError("more is asked than can be answered: try again shortly")
        raise DeadlineExceededError("no time for this before its deadline: try again shortly")

    def _full(self) -> bool:
        waiting = len(self._waiting)
        if waiting >= self._max_waiting:
            return True
        return waiting * self._answer_s > self._patience_s() * self._places

    def _patience_s(self) -> float:
        """How long anybody may wait now."""
        if not self._waiting:
            return self._deadline_s
        crowd_s = max(_CROWD_S, self._max_waiting * self._answer_s / self._places)
        if time.monotonic() - self._empty_at < crowd_s:
            return self._deadline_s
        return min(self._deadline_s, max(_SHORTEST_S, _ANSWERS * self._answer_s))

    def _call(self) -> None:
        """Give the free places to those who wait, and send away who has waited too long."""
        patience_s = self._patience_s()
        now = time.monotonic()
        while self._waiting and self._working < self._places:
            waiter = self._waiting.popleft()
            if now - waiter.since <= patience_s:
                waiter.granted = True
                self._working += 1
            waiter.told.set()
