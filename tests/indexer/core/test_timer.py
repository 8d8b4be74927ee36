"""Tests of ``indexer.core.timer``."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

import pytest

from indexer.core.timer import StageTimer


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands until its one number is changed."""
    clock = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    return clock


def test_stages_add_up(now: list[float]) -> None:
    """A stage entered twice sums both; milliseconds have two decimals and the total of all time."""
    timer = StageTimer()
    for seconds in (0.25, 0.5):
        with timer.stage("embed"):
            now[0] += seconds
    now[0] += 1.0
    with suppress(ValueError), timer.stage("search"):
        now[0] += 0.125
        raise ValueError
    assert timer.seconds() == {"embed": 0.75, "search": 0.125}
    assert timer.elapsed() == 1.875
    assert timer.milliseconds() == {"embed": 750.0, "search": 125.0, "total": 1875.0}


def test_laps_leave_no_gap(now: list[float]) -> None:
    """Each lap begins where the one before ended."""
    timer = StageTimer()
    for name, seconds in (("build", 2.0), ("tags", 1.0), ("build", 4.0)):
        now[0] += seconds
        timer.lap(name)
    assert timer.seconds() == {"build": 6.0, "tags": 1.0}


def test_the_bottleneck_is_named_with_its_share(now: list[float]) -> None:
    """The largest stage and its part of all work; nothing before any work."""
    timer = StageTimer()
    assert timer.bottleneck() == ""
    for name, seconds in (("read", 0.1), ("decode", 0.6), ("network", 0.3)):
        with timer.stage(name):
            now[0] += seconds
    assert timer.bottleneck() == "decode 60%"


def test_threads_share_a_timer() -> None:
    """No time of any thread is lost."""
    timer = StageTimer()

    def work() -> None:
        for _ in range(200):
            timer._add("work", 0.5)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert timer.seconds() == {"work": 800.0}
