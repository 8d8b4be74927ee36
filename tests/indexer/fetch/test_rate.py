"""Promise: a host's own limit is found, kept, and used nearly whole; all by a clock of the test."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import pytest

from indexer.fetch.rate import HostRate


class Host:
    """A server with a limit, and a client of some connections, in made time."""

    def __init__(self, limit: float, *, burst: float = 0.0, answer_s: float = 0.02) -> None:
        self.limit = limit
        self.burst = burst
        self.answer_s = answer_s
        self.now = 100.0
        self.rate = HostRate(4)
        self.accepted: list[float] = []
        self.refused: list[float] = []
        # Of a token bucket; without ``burst``, requests of the last second are counted.
        self._tokens = burst
        self._filled = self.now
        self._open: list[tuple[float, float, bool]] = []
        self._recent: deque[float] = deque()

    def run(self, seconds: float, *, every: int = 0, wait_s: float | None = None) -> None:
        """Ask as fast as the rate allows; of ``every`` so many answers one is refused anyhow."""
        until = self.now + seconds
        while self.now < until:
            at = self.rate.ready_at(self.now)
            first = min((end for _, end, _ in self._open), default=None)
            if at is not None and (first is None or at <= first):
                self.now = max(self.now, at)
                self.rate.start(self.now)
                count = len(self.accepted) + len(self.refused)
                good = self._admits() and not (every and count % every == every - 1)
                (self.accepted if good else self.refused).append(self.now)
                self._open.append((self.now, self.now + self.answer_s, good))
            elif first is not None:
                entry = min(self._open, key=lambda found: found[1])
                self._open.remove(entry)
                self.now = entry[1]
                self.rate.end(
                    self.now, refused=not entry[2], started=entry[0], wait_s=wait_s, again=False
                )

    def _admits(self) -> bool:
        if self.burst:
            self._tokens += (self.now - self._filled) * self.limit
            self._tokens = min(self.burst, self._tokens)
            self._filled = self.now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
        while self._recent and self._recent[0] <= self.now - 1.0:
            self._recent.popleft()
        if len(self._recent) >= self.limit:
            return False
        self._recent.append(self.now)
        return True


def test_without_a_refusal_only_connections_bound_it() -> None:
    """A host that never refuses is asked by all its connections, without a pause."""
    host = Host(10_000)
    host.run(10)
    assert len(host.accepted) == pytest.approx(4 / 0.02 * 10, rel=0.02)
    assert host.rate.limit is None


def test_a_refusal_halves_and_the_second_shows_the_limit() -> None:
    """After a 429 the rate is half of what it was, climbs, and stays at .95 of the last good."""
    host = Host(50)
    while not host.refused:
        host.run(0.05)
    host.run(0.1)
    assert host.rate.phase == "climb"
    assert host.rate.limit is not None
    assert host.rate.limit == pytest.approx(25, rel=0.15)
    rates = []
    while host.rate.phase == "climb":
        host.run(0.5)
        rates.append(host.rate.rate(host.now) or 0.0)
    assert all(a <= b for a, b in pairwise(rates[:-1]))
    assert host.rate.phase == "hold"
    held = host.rate.limit
    assert 44 <= held <= 50
    started = host.now
    host.run(590)
    assert host.rate.limit == held
    assert sum(at > started for at in host.refused) <= 1
    host.run(30)
    # Ten minutes over, it looks for more.
    assert host.rate.rate(host.now) != held


@pytest.mark.parametrize(("limit", "burst"), [(50, 0), (50, 50), (50, 100), (5, 0), (5, 5)])
def test_a_limit_is_used_nearly_whole(limit: float, burst: float) -> None:
    """Counted by the second or by a bucket: in ten minutes at least .85 of what is allowed is
    answered, and few are refused."""
    host = Host(limit, burst=burst)
    host.run(600)
    assert len(host.accepted) >= 0.85 * limit * 600
    assert len(host.refused) <= 0.06 * len(host.accepted) + 60


def test_a_tenth_of_the_bench_takes_at_most_a_seventh_longer() -> None:
    """18,000 photos of a host that allows 50 a second: within 1.15 of 360 seconds."""
    host = Host(50)
    while len(host.accepted) < 18_000:
        host.run(1)
    assert (host.now - 100) / 360 <= 1.1


def test_photos_that_are_always_refused_are_no_limit() -> None:
    """One answer in twenty refused, whatever the rate: the host is not slowed down ever more."""
    host = Host(10_000)
    host.run(600, every=20)
    assert len(host.accepted) >= 600 * 40


def test_answers_on_their_way_lower_it_once() -> None:
    """Four refusals of requests that were sent together are one."""
    host = HostRate(4)
    for step in range(100):
        host.start(step / 10)
        host.end(step / 10 + 0.05, refused=False, started=step / 10, wait_s=None, again=False)
    for _ in range(4):
        host.start(20.0)
    for _ in range(4):
        host.end(20.1, refused=True, started=20.0, wait_s=7.0, again=False)
    assert host.phase == "climb"
    # And Retry-After is waited for.
    assert host.ready_at(20.1) == pytest.approx(27.1)


def test_a_photo_refused_again_is_not_the_rate() -> None:
    """Three photos that are refused for ever lower nothing more than their first time."""
    host = HostRate(4)
    for number in range(60):
        host.start(number / 10)
        refused = number % 2 == 1
        host.end(number / 10, refused=refused, started=number / 10, wait_s=None, again=number > 8)
    assert host.phase == "climb"


def test_a_limit_that_is_gone_is_forgotten() -> None:
    """A host that refused everything for a while is soon asked as quickly as before."""
    host = Host(0)
    host.run(1)
    host.limit = 50
    host.run(120)
    started = len(host.accepted)
    host.run(60)
    assert len(host.accepted) - started >= 60 * 25
