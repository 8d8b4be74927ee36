"""Admission control: how many requests work and wait at once."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from indexer.core.errors import UnavailableError
from service.access.caller import Asker

# More comes than can be done where more than half as many were refused as were answered over a
# while of so many seconds and answers: of a crowd that comes at once all are refused at once.
_WHILE_S = 0.5
_WHILE_ANSWERS = 8
_REFUSED_SHARE = 0.5
# So many may then wait for each place, and for so long, until a trial of the long line.
_SHORT = 4
_SHORT_FOR_S = 10.0
_SMOOTHING = 0.02
# For whom this request waits; all without a name are one.
_NOBODY = Asker()
_ASKER: ContextVar[Asker] = ContextVar("asker", default=_NOBODY)


class OverloadedError(UnavailableError):
    """More requests wait for the network than the settings allow, or it is shutting down. Try again
    shortly."""

    code = "overloaded"


class DeadlineExceededError(OverloadedError):
    """The answer would come after the request's deadline, so it is not computed any more. Try again
    shortly."""

    code = "deadline-exceeded"


class Waiter:
    """One request that waits for a place."""

    def __init__(self, asker: Asker = _NOBODY) -> None:
        self.asker = asker
        self.told = threading.Event()
        self.granted = False

    def tell(self, *, granted: bool) -> None:
        """End the waiting."""
        self.granted = granted
        self.told.set()


class WaitingLine:
    """Who works, who waits in the order they came, and who is refused. Moments are given in
    seconds; it waits for nothing and has no lock.

    Up to ``max_waiting`` wait, and no more than can be answered within ``deadline_s``. Clients who
    each wait for their answer never come faster than they are answered: as many as may wait are
    never refused, however long they stay, and of a crowd that comes at once as many are worked off.
    A stream that does not wait is refused on and on. The line is then short: who has waited longest
    is sent away, and whoever finds ``_SHORT`` for each place is refused, so that the others are
    answered soon instead of all of them late. It is long again once a place is free, or after
    ``_SHORT_FOR_S``, as a trial.

    Whoever is sent away is one of the asker with most in the line, and a newcomer takes the place
    of the last of those, if its own asker has fewer by two (longest queue drop: Suter et al.,
    "Buffer Management Schemes for Supporting TCP", 1999). So one who floods the line crowds out
    itself. Strangers may be one with a thousand addresses, so all of them together crowd out no
    more than half: where they have more, they are the ones who are sent away, also for a newcomer
    that is known, and where they have not, none of them takes the place of one who is.

    After controlled delay (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 2012), whose
    sign of a bad queue is that it stays. That of patient clients stays too, so refusals are it.
    """

    def __init__(self, places: int, max_waiting: int, deadline_s: float) -> None:
        self._places = places
        self._max_waiting = max_waiting
        self._max_short = min(max_waiting, _SHORT * places)
        self._deadline_s = deadline_s
        self._waiting: deque[Waiter] = deque()
        self.working = 0
        self._answered = 0
        self._answer_s = 0.0  # how long one place is taken, a moving mean
        self._counted_from = -_WHILE_S
        self._answered_since = self._refused_since = 0
        self._short_until: float | None = None

    def enter(self, now: float, asker: Asker = _NOBODY) -> Waiter:
        """One more, who may work at once where ``granted``. Raises ``OverloadedError``."""
        waiter = Waiter(asker)
        if self.working < self._places and not self._waiting:
            self._short_until = None
            self.working += 1
            waiter.tell(granted=True)
        else:
            if self._is_full(now):
                self._count_refusal(now)
                victim = self._displaced_by(asker)
                if victim is None:
                    raise OverloadedError(
                        f"{len(self._waiting)} questions are waiting already: try again shortly"
                    )
                self._send_away(victim)
            self._waiting.append(waiter)
        return waiter

    def refuses(self, now: float, asker: Asker = _NOBODY) -> bool:
        """Whether one who comes now is refused; it then counts as having come."""
        if not self._is_full(now) or self._displaced_by(asker) is not None:
            return False
        self._count_refusal(now)
        return True

    def _is_full(self, now: float) -> bool:
        if self._short_until is not None and now >= self._short_until:
            self._short_until = None
            self._count_from(now)
        waiting = len(self._waiting)
        most = self._max_waiting if self._short_until is None else self._max_short
        late = waiting * self._answer_s > self._deadline_s * self._places
        return waiting >= most or late

    def _count_refusal(self, now: float) -> None:
        self._refused_since += 1
        counted = now - self._counted_from >= _WHILE_S and self._answered_since >= _WHILE_ANSWERS
        if counted and self._short_until is None:
            if self._refused_since > _REFUSED_SHARE * self._answered_since:
                self._shorten(now)
            self._count_from(now)

    def _displaced_by(self, asker: Asker) -> Waiter | None:
        """Who goes for one more of ``asker``; None where it is the newcomer who is refused."""
        lead = self._lead_of_strangers()
        if not asker.stranger and lead > 1:
            return _of_most(self._strangers())[-1]
        # A stranger may have no more than half of the line at the cost of those who are known.
        among = self._strangers() if asker.stranger and lead >= 0 else list(self._waiting)
        most = _of_most(among)
        own = sum(waiter.asker == asker for waiter in self._waiting)
        return most[-1] if len(most) > own + 1 else None

    def _strangers(self) -> list[Waiter]:
        return [waiter for waiter in self._waiting if waiter.asker.stranger]

    def _lead_of_strangers(self) -> int:
        """By how much they are more than those who are known."""
        return 2 * len(self._strangers()) - len(self._waiting)

    def _send_away(self, waiter: Waiter) -> None:
        self._waiting.remove(waiter)
        waiter.tell(granted=False)

    def _count_from(self, now: float) -> None:
        self._counted_from = now
        self._answered_since = self._refused_since = 0

    def _shorten(self, now: float) -> None:
        self._short_until = now + _SHORT_FOR_S
        while len(self._waiting) > self._max_short:
            strangers = self._lead_of_strangers() > 0
            self._send_away(_of_most(self._strangers() if strangers else list(self._waiting))[0])

    def leave(self, took_s: float) -> None:
        """One has worked for ``took_s``, and the next may."""
        self._answered += 1
        self._answered_since += 1
        # The plain mean of the first ones: they must not seem quick for want of others.
        self._answer_s += (took_s - self._answer_s) * max(_SMOOTHING, 1 / self._answered)
        self.working -= 1
        while self._waiting and self.working < self._places:
            self.working += 1
            self._waiting.popleft().tell(granted=True)

    def give_up(self, waiter: Waiter) -> None:
        """One who waits goes away."""
        self._waiting.remove(waiter)


def _of_most(waiting: Sequence[Waiter]) -> list[Waiter]:
    """Those of the asker with most of ``waiting``, in their order; of equals, of who came first."""
    counts = Counter(waiter.asker for waiter in waiting)
    asker = max(counts, key=lambda one: counts[one], default=None)
    return [waiter for waiter in waiting if waiter.asker == asker]


@contextmanager
def asking(asker: Asker) -> Iterator[None]:
    """What waits inside waits for ``asker``."""
    token = _ASKER.set(asker)
    try:
        yield
    finally:
        _ASKER.reset(token)


class AdmissionGate:
    """Lets ``working`` questions be worked on at once; others wait as ``WaitingLine`` has it, each
    at most ``deadline_s``."""

    def __init__(self, working: int, max_waiting: int, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._line = WaitingLine(working, max_waiting, deadline_s)
        self._lock = threading.Lock()

    @property
    def crowded(self) -> bool:
        """Whether more than one is being worked on."""
        return self._line.working > 1

    def refuses(self, asker: Asker = _NOBODY) -> bool:
        """Whether a request that comes now is refused; it then counts as having come."""
        with self._lock:
            return self._line.refuses(time.monotonic(), asker)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Inside is a place at work. Raises ``OverloadedError`` where too many wait,
        ``DeadlineExceededError`` where none came free."""
        with self._lock:
            waiter = self._line.enter(time.monotonic(), _ASKER.get())
        self._wait(waiter)
        began = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._line.leave(time.monotonic() - began)

    def _wait(self, waiter: Waiter) -> None:
        waiter.told.wait(timeout=self._deadline_s)
        with self._lock:
            if waiter.granted:
                return
            told = waiter.told.is_set()
            if not told:
                self._line.give_up(waiter)
        if told:
            raise OverloadedError("more is asked than can be answered: try again shortly")
        raise DeadlineExceededError("no time for this before its deadline: try again shortly")
