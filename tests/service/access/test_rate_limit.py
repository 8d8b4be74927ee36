"""Rate limits: shared by the processes of a home, bounded in size, and nobody is locked out."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from indexer.core.home import Home
from service.access import rate_limit
from service.access.rate_limit import RateLimit, RateLimiter
from tests.set_clock import SetClock

SHOP = RateLimit("key", "shop", 2.0)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def limiter(home: Home) -> RateLimiter:
    return RateLimiter(home, structlog.get_logger())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    made = SetClock()
    monkeypatch.setattr(rate_limit, "time", made)
    return made


def test_ten_seconds_worth_may_come_at_once(home: Home, clock: SetClock) -> None:
    """Then as many as the rate; the answer is how long to wait. Others are not concerned."""
    counted = limiter(home)
    assert [counted.take(SHOP) for _ in range(20)] == [0.0] * 20
    assert counted.take(SHOP) == pytest.approx(0.5)
    assert counted.take(RateLimit("key", "other", 2.0)) == 0.0
    assert counted.take(RateLimit("address", "shop", 2.0)) == 0.0
    clock.now += 0.25
    assert counted.take(SHOP) == pytest.approx(0.25)
    clock.now += 0.25
    assert counted.take(SHOP) == 0.0
    clock.now += 3600
    assert [counted.take(SHOP) for _ in range(21)][-1] > 0
    slow = RateLimit("key", "slow", 0.01)
    assert [counted.take(slow), counted.take(slow)] == [0.0, pytest.approx(100)]


def test_processes_of_a_home_count_together(home: Home, tmp_path: Path) -> None:
    """Two services take from one bucket; another home has its own."""
    code = (
        "import structlog, sys; from indexer.core.home import Home; "
        "from service.access.rate_limit import RateLimit, RateLimiter; "
        "made = RateLimiter(Home(sys.argv[1]), structlog.get_logger()); "
        "print([made.take(RateLimit('key', 'shop', 2.0)) for _ in range(15)].count(0.0))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home.path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "15"
    assert [limiter(home).take(SHOP) for _ in range(15)].count(0.0) in (5, 6)
    elsewhere = limiter(Home.create(tmp_path / "other"))
    assert [elsewhere.take(SHOP) for _ in range(15)].count(0.0) == 15


def test_a_clock_that_is_set_back_locks_nobody_out(home: Home, clock: SetClock) -> None:
    """Nor does a file that is damaged; who was at the limit stays there."""
    counted = limiter(home)
    for _ in range(20):
        counted.take(SHOP)
    clock.now -= 10 * 86_400
    assert counted.take(SHOP) == pytest.approx(0.5)
    clock.now += 0.5
    assert counted.take(SHOP) == 0.0
    file = home.path / "locks" / "limits"
    whole = file.read_bytes()
    for value in (float("nan"), float("inf"), -1e300):
        damaged = bytearray(whole)
        for at in range(32, len(whole) - 24, 24):
            struct.pack_into("<dd", damaged, at, value, value)
        file.write_bytes(damaged)
        assert limiter(home).take(SHOP) <= 0.5
    file.write_bytes(b"\xff" * 100)
    assert limiter(home).take(SHOP) == 0.0
    assert file.stat().st_size == len(whole)


def test_the_file_never_grows_and_names_nobody(home: Home) -> None:
    """Any number of addresses costs the same; they stand there as salted hashes."""
    counted = limiter(home)
    file = home.path / "locks" / "limits"
    size = file.stat().st_size
    for number in range(3000):
        assert counted.take(RateLimit("address", f"198.51.{number}", 1.0)) == 0.0
    assert file.stat().st_size == size < 2**20
    assert b"198.51" not in file.read_bytes()


def test_a_stopped_process_that_holds_the_file_stops_nobody(home: Home) -> None:
    """Who accepts connections counts: it waits a few milliseconds now and then, and counts alone
    meanwhile, from what it knew; whoever starts then waits as little, and counts with the others
    later."""
    counted = limiter(home)
    counted.take(SHOP)
    with (home.path / "locks" / "limits").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with capture_logs() as log:
            began = time.monotonic()
            assert [counted.take(SHOP) for _ in range(200)].count(0.0) in (19, 20)
            assert time.monotonic() - began < 0.2
        assert [entry["event"] for entry in log] == ["limits are held by another process"]
        began = time.monotonic()
        later = limiter(home)
        assert time.monotonic() - began < 0.2
    counted._held_until = 0.0
    assert [counted.take(SHOP) for _ in range(25)].count(0.0) <= 1
    assert [later.take(SHOP) for _ in range(20)].count(0.0) <= 1


def test_a_home_that_cannot_be_written_counts_in_memory(home: Home) -> None:
    """The limit holds, for each process by itself, and the log says so once."""
    locks = home.path / "locks"
    if os.geteuid() == 0:
        locks.write_text("no folder")
    else:
        locks.mkdir()
        locks.chmod(0o500)
    with capture_logs() as log:
        counted = limiter(home)
        assert [counted.take(SHOP) for _ in range(25)].count(0.0) in (20, 21)
    assert [entry["event"] for entry in log] == ["limits are counted by this process alone"]
