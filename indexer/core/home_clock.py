"""Latest time that a home has seen: a clock that jumped ends nothing, and revives nothing."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from indexer.core.atomic_files import read_sealed_json, write_sealed_json
from indexer.core.home import Home

# How far ahead of what a home has seen the clock may be: a home may lie still for so long.
MOST_JUMP_S = 7 * 86_400.0
# A clock that stays ahead for so long is right: somebody could have seen and set it by then.
PROVEN_AFTER_S = 86_400.0
# How far behind: clocks of two machines differ.
MOST_BEHIND_S = 3600.0
CLOCK_FILE = "CLOCK"
_EVERY_S = 60.0


def clock_fault(home: Home, *, known: float = 0.0) -> str | None:
    """Why nothing in ``home`` may end by time now, and what to do; None where it may.

    ``known``: the newest time that its data bear, in seconds since 1970. A home that noted none yet
    may have lain still since then, but no clock was ever before it.
    """
    now = time.time()
    noted, ahead_since = _noted(home.path / CLOCK_FILE)
    seen = noted or known
    is_proven = 0.0 < ahead_since <= now - PROVEN_AFTER_S
    mend = f"catalens index gc --accept-clock --home {shlex.quote(str(home.path))}"
    if noted and now - noted > MOST_JUMP_S and not is_proven:
        return (
            f"the clock says {_day(now)}, and this home was in use last at {_day(seen)}: nothing "
            "that ends by time is deleted until the clock is set, has stayed so for a day, or is "
            f"said to be right ({mend})"
        )
    if seen - now > MOST_BEHIND_S:
        return (
            f"the clock says {_day(now)}, and this home was in use at {_day(seen)} already: what "
            "is written now would end too early, so set the clock; nothing that ends by time is "
            f"deleted meanwhile (if it was ahead before: {mend})"
        )
    return None


def note_time(home: Home, *, known: float = 0.0) -> str | None:
    """Note that it is now, once a minute, and return what ``clock_fault`` says; of a clock that is
    at fault only since when it is ahead."""
    fault = clock_fault(home, known=known)
    now = time.time()
    seen, ahead_since = _noted(home.path / CLOCK_FILE)
    if fault is None:
        if now - seen >= _EVERY_S:
            _write(home, {"seen": now})
    elif seen and now - seen > MOST_JUMP_S and not 0.0 < ahead_since <= now:
        _write(home, {"seen": seen, "ahead_since": now})
    return fault


def accept_time(home: Home) -> None:
    """Take the clock as right, whatever was seen before."""
    _write(home, {"seen": time.time()})


def latest_time(home: Home) -> float:
    """The time in seconds since 1970, never before what the home has seen."""
    return max(time.time(), _noted(home.path / CLOCK_FILE)[0])


def _write(home: Home, times: dict[str, float]) -> None:
    # A read-only home is not cleared up either.
    with suppress(OSError):
        write_sealed_json(home.path / CLOCK_FILE, times)


def _noted(path: Path) -> tuple[float, float]:
    """When the home was in use last, and since when the clock is ahead of that; 0 of what is not
    noted."""
    try:
        times = read_sealed_json(path)
        seen, ahead_since = times["seen"], times.get("ahead_since", 0.0)
        return float(seen), float(ahead_since)
    except (OSError, ValueError, KeyError, TypeError):
        # Damaged, which ``verify`` tells, or lost: as before the first.
        return 0.0, 0.0


def _day(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes")
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f} s since 1970"
