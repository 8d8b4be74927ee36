"""Rate of one host: connections, the limit that its refusals show, and waits it asked for.

After a 429 the rate halves and climbs again, first quickly, then slowly; the second one shows the
limit, and the rate stays a little below the last good one for ten minutes.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["free", "climb", "hold"]

_HALF = 0.5
# Of the rate that was refused: up to here the climb is quick.
_QUICK_TO = 0.85
# Of the refused rate, a second.
_QUICK = 0.2
_SLOW = 0.03
# Beyond this share of the refused rate, it grows by this much a second.
_PASSED = 1.1
_GROWTH = 0.05
_HIGHEST = 10_000.0
_KEEP = 0.95
_HOLD_S = 600.0
_SHORTEST_HOLD_S = 20.0
# How far back the last good rate of a climb lies: servers count by the second.
_GOOD_AGE_S = 1.0
# Answers before a lone refusal says anything about the rate, and refusals among the last few that
# say it earlier: single photos that are always refused are no limit of the host.
_MANY = 100
_FEW = 20
_EARLY = 4
# A held rate is lowered where more than a tenth of many answers are refusals, or half of a few.
_SHARE = 0.1
_FEW_SHARE = 0.5
_LOWEST = 0.2
# Before a host is asked again that did not say when; doubled while it refuses everything.
_PAUSE_S = 1.0
_LONGEST_BAN_S = 30.0
# The rate of a host of which little is known but that it refused.
_GUESS = 60.0
# Good answers of a climb before a refusal shows the limit.
_CLIMBED = 5


@dataclass
class HostRate:
    """What one host may be asked, and when. Knows no clock: each call is given the time.

    ``connections`` is how many requests may be open at once. The caller holds a lock.
    """

    connections: int
    phase: Phase = "free"
    # Requests a second; None before a refusal.
    limit: float | None = None
    _open: int = 0
    # The next request starts no earlier.
    _next: float = 0.0
    _paused_until: float = 0.0
    _ban_s: float = _PAUSE_S
    # When ``limit`` was set, and to which rate it climbs from there.
    _since: float = 0.0
    _refused_rate: float = 0.0
    _hold_s: float = _HOLD_S
    # Of the time since the last change: times of good answers, and all answers as good or not.
    _good: deque[float] = field(default_factory=lambda: deque(maxlen=4096))
    _answers: deque[bool] = field(default_factory=lambda: deque(maxlen=200))
    _first: float | None = None

    def ready_at(self, now: float) -> float | None:
        """The earliest time of the next request; None until an open one ends."""
        if self._open >= self.connections:
            return None
        return max(now, self._next, self._paused_until)

    def start(self, now: float) -> None:
        """Count a request that begins."""
        self._open += 1
        if self._first is None:
            self._first = now
        rate = self.rate(now)
        if rate is not None:
            # From the time it was due, so that late threads cost nothing; but no burst to catch up.
            self._next = max(self._next, now - 1.0 / rate) + 1.0 / rate

    def rate(self, now: float) -> float | None:
        """Requests a second that are allowed now; None where no limit is known."""
        if self.limit is None:
            return None
        if self.phase == "hold":
            if now - self._since < self._hold_s:
                return self.limit
            self.phase, self._since, self._refused_rate = "climb", now, self.limit / _KEEP
        return self._climbed(now - self._since)

    def _climbed(self, seconds: float) -> float:
        """The limit after so many seconds of a climb."""
        limit = self.limit or 0.0
        step, quick_to = _QUICK * self._refused_rate, _QUICK_TO * self._refused_rate
        quick_s = max(0.0, (quick_to - limit) / step)
        if seconds <= quick_s:
            return limit + step * seconds
        climbed = max(limit, quick_to) + _SLOW * self._refused_rate * (seconds - quick_s)
        passed = climbed - _PASSED * self._refused_rate
        if passed <= 0:
            return climbed
        # Nothing refused where it was refused before: look for the limit further up.
        beyond_s = passed / (_SLOW * self._refused_rate)
        return min(_PASSED * self._refused_rate * math.exp(_GROWTH * beyond_s), _HIGHEST)

    def end(
        self, now: float, *, refused: bool, started: float, wait_s: float | None, again: bool
    ) -> None:
        """Count an answer, or a failure. ``wait_s``: what a refusal's ``Retry-After`` asks for.

        ``again``: this photo was refused before. That it still is says nothing of the host: it is
        asked so seldom by then.
        """
        self._open -= 1
        if refused and again:
            return
        self._answers.append(not refused)
        if not refused:
            self._good.append(now)
            self._ban_s = _PAUSE_S
            return
        # Those that were on their way when the limit was lowered say nothing new.
        if self.limit is not None and started <= self._since:
            return
        if self._is_evidence():
            self._lower(now)
            pause = self._ban_s if wait_s is None else wait_s
            self._paused_until = max(self._paused_until, now + pause)

    def _is_evidence(self) -> bool:
        """Whether the refusals of late are the rate's doing, not that of single photos."""
        if self.phase == "climb":
            return True
        refusals = self._answers.count(False)
        recent = list(self._answers)[-_FEW:]
        if self.phase == "free":
            early = recent.count(False) >= max(_EARLY, len(recent) / 3)
            return early or len(self._answers) >= _MANY
        few = len(recent) == _FEW and recent.count(False) > _FEW_SHARE * _FEW
        many = len(self._answers) >= _MANY and refusals > _SHARE * len(self._answers)
        return few or many

    def _lower(self, now: float) -> None:
        if self.phase == "free":
            self._refused_rate = self._measured(now)
            self.limit = max(_LOWEST, _HALF * self._refused_rate)
            self.phase = "climb"
        elif self.phase == "climb" and len(self._good) < _CLIMBED:
            # It refuses everything for now: no limit can be read from that.
            self._ban_s = min(2 * self._ban_s, _LONGEST_BAN_S)
            self._refused_rate = max(_LOWEST, _HALF * self._refused_rate)
            self.limit = max(_LOWEST, _HALF * (self.limit or 0.0))
        elif self.phase == "climb":
            last_good = self._climbed(max(0.0, now - _GOOD_AGE_S - self._since))
            self.limit = max(_LOWEST, _KEEP * last_good)
            self.phase = "hold"
            # A limit that few answers speak for is looked for again sooner.
            self._hold_s = max(_SHORTEST_HOLD_S, _HOLD_S * min(1.0, len(self._good) / _MANY))
        else:
            accepted = self._answers.count(True) / len(self._answers)
            self.limit = max(_LOWEST, _KEEP * (self.limit or 0.0) * max(accepted, 0.25))
        # The pause that follows is no part of the climb.
        self._since = now
        self._answers.clear()
        self._good.clear()
        self._next = now

    def _measured(self, now: float) -> float:
        """Good answers a second, of the last two seconds at most; of a few, the pace they had."""
        since = max(self._first or 0.0, now - 2.0)
        count = sum(1 for at in self._good if at >= since)
        if count < _FEW:
            return max(count / max(now - since, 0.25), _GUESS)
        return count / max(now - since, 1.0)
