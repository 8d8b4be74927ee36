"""A clock that jumped ends nothing that would not come back, and revives nothing that ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.catalog.deletions import TOMBSTONE_DAYS
from indexer.core import home_clock
from indexer.core.atomic_files import read_sealed_json
from indexer.core.home import Home
from indexer.core.home_clock import (
    MOST_BEHIND_S,
    MOST_JUMP_S,
    accept_time,
    clock_fault,
    latest_time,
    note_time,
)
from tests.set_clock import SetClock

NOW = 1_700_000_000.0
DAY_S = 86_400.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    made = SetClock(NOW)
    monkeypatch.setattr(home_clock, "time", made)
    return made


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def test_a_jump_is_held_until_somebody_says_that_it_is_right(home: Home, clock: SetClock) -> None:
    """Ahead by more than a week; the mend is named and works."""
    assert MOST_JUMP_S < TOMBSTONE_DAYS * DAY_S
    assert note_time(home) is None
    clock.now += MOST_JUMP_S
    assert note_time(home) is None
    clock.now += 365 * DAY_S
    for _ in range(3):
        fault = note_time(home)
        assert fault is not None
        assert f"catalens index gc --accept-clock --home {home.path}" in fault
        clock.now += 120
    accept_time(home)
    assert note_time(home) is None


def test_a_home_that_lay_still_is_believed_after_a_day(home: Home, clock: SetClock) -> None:
    """What is to end by time ends though nobody says anything, and not a day after a jump that was
    mended meanwhile."""
    note_time(home)
    clock.run(30 * DAY_S)
    assert note_time(home) is not None
    clock.run(DAY_S - 1)
    assert note_time(home) is not None
    clock.now = NOW + 60  # the clock is set
    assert note_time(home) is None
    clock.run(30 * DAY_S)
    assert note_time(home) is not None
    for _ in range(24):  # looked at more often than once
        clock.run(DAY_S / 24)
        fault = note_time(home)
    assert fault is None
    assert latest_time(home) == clock.now
    clock.run(MOST_JUMP_S + 1)
    assert note_time(home) is not None


@pytest.mark.parametrize("jump_s", [2 * DAY_S, 40 * DAY_S, -DAY_S])
def test_a_second_jump_is_no_day_that_went_by(home: Home, clock: SetClock, jump_s: float) -> None:
    """What the clock says proves nothing of itself: the day is one that the machine ran."""
    note_time(home)
    clock.now += 40 * DAY_S
    assert note_time(home) is not None
    clock.run(DAY_S / 2)
    assert note_time(home) is not None
    clock.now += jump_s
    clock.run(5)
    for _ in range(3):
        assert clock_fault(home) is not None
        assert note_time(home) is not None
        clock.run(60)
    clock.run(DAY_S / 2)
    assert note_time(home) is not None  # the day began anew
    clock.run(DAY_S / 2)
    assert note_time(home) is None


def test_a_machine_that_was_off_meanwhile_has_not_run(
    home: Home, clock: SetClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody knows how long that was: what it ran before and after counts, unless a clock jumps
    far."""
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(home_clock, "_BOOT_FILE", boot)

    def start(number: int, off_s: float) -> None:
        boot.write_text(f"{number}\n")
        clock.now += off_s
        clock.uptime = 20.0 + 5 * number * DAY_S

    start(1, 0)
    note_time(home)
    clock.now += 40 * DAY_S
    assert note_time(home) is not None
    clock.run(DAY_S / 2)
    assert note_time(home) is not None
    start(2, 2 * DAY_S)
    assert note_time(home) is not None
    clock.run(DAY_S / 4)
    assert note_time(home) is not None
    start(3, MOST_JUMP_S + 60)
    assert note_time(home) is not None
    clock.run(DAY_S * 0.75)
    assert note_time(home) is not None
    start(4, 60)
    assert note_time(home) is not None
    clock.run(DAY_S / 4)
    assert note_time(home) is None


def test_a_clock_that_goes_back_revives_nothing(home: Home, clock: SetClock) -> None:
    """What has ended by the latest time that was seen stays so; what is written now would end too
    early, and that is said."""
    note_time(home)
    clock.now -= MOST_BEHIND_S
    assert note_time(home) is None
    assert latest_time(home) == NOW
    clock.now -= DAY_S
    fault = note_time(home)
    assert fault is not None
    assert "set the clock" in fault
    assert latest_time(home) == NOW


def test_what_the_data_bear_stands_for_a_time_that_was_never_noted(
    home: Home, clock: SetClock
) -> None:
    """Of a home of a release before, and one whose note is lost: it may have lain still for long,
    but not been used in time to come."""
    assert clock_fault(home, known=NOW - 300 * DAY_S) is None
    assert clock_fault(home, known=NOW + DAY_S) is not None
    assert not (home.path / "CLOCK").exists()
    note_time(home)
    (home.path / "CLOCK").write_text("{")
    assert clock_fault(home, known=NOW + DAY_S) is not None


def test_the_time_is_noted_once_a_minute(home: Home, clock: SetClock) -> None:
    note_time(home)
    clock.now += 59
    note_time(home)
    assert read_sealed_json(home.path / "CLOCK")["seen"] == NOW
    clock.now += 1
    note_time(home)
    assert read_sealed_json(home.path / "CLOCK")["seen"] == NOW + 60
