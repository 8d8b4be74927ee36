"""Latest time that a home has seen: a clock that jumped ends nothing, and revives nothing."""

from __future__ import annotations

import shlex
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from indexer.core.atomic_files import file_stamp, read_sealed_json, write_sealed_json
from indexer.core.home import Home
from indexer.core.stamped_cache import StampedCache

# How far ahead of what a home has seen the clock may be: a home may lie still for so long.
MOST_JUMP_S = 7 * 86_400.0
# A clock that ran on for so long while it was ahead is right: somebody could have seen and set it.
# What counts is how long the machine ran, not what the clock says: a further jump proves
# nothing, and begins the day anew.
PROVEN_AFTER_S = 86_400.0
# How far behind: clocks of two machines differ.
MOST_BEHIND_S = 3600.0
CLOCK_FILE = "CLOCK"
_EVERY_S = 60.0
_BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class _Noted:
    """What ``CLOCK`` holds; 0 of what is not noted.

    ``seen``: when the home was in use last. Of a clock that is ahead of that: ``ahead_at`` is what
    it said when it was looked at last, ``ahead_for_s`` how long it had run on by then; ``boot`` and
    ``uptime`` tell how long ago that is, whatever the clock says.
    """

    seen: float = 0.0
    ahead_at: float = 0.0
    ahead_for_s: float = 0.0
    boot: str = ""
    uptime: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> _Noted:
        path = folder / CLOCK_FILE
        known = _KNOWN.get(path)
        if known is not None:
            return known
        stamp = file_stamp(path)
        try:
            times = read_sealed_json(path)
            boot = str(times.get("boot", ""))
            names = ("ahead_at", "ahead_for_s", "uptime")
            ahead_at, ahead_for_s, uptime = (float(times.get(name, 0.0)) for name in names)
            found = cls(float(times["seen"]), ahead_at, ahead_for_s, boot, uptime)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Damaged, which ``verify`` tells, or lost: as before the first.
            return cls()
        _KNOWN.put(path, stamp, found)
        return found

    def ran_ahead_s(self, now: float) -> float:
        """How long the clock has run on while it was ahead; 0 where it jumped since."""
        if not self.ahead_at:
            return 0.0
        advanced = now - self.ahead_at
        ran = _uptime() - self.uptime
        if self.boot == _boot() and ran >= 0:
            return self.ahead_for_s + ran if abs(advanced - ran) <= MOST_BEHIND_S else 0.0
        # The machine started anew: how long it was off nobody knows, and that counts for nothing.
        return self.ahead_for_s if -MOST_BEHIND_S <= advanced <= MOST_JUMP_S else 0.0


# Each write of a home asks for its clock.
_KNOWN: StampedCache[_Noted] = StampedCache(16, 65_536)


def clock_fault(home: Home, *, known: float = 0.0) -> str | None:
    """Why nothing in ``home`` may end by time now, and what to do; None where it may.

    ``known``: the newest time that its data bear, in seconds since 1970. A home that noted none yet
    may have lain still since then, but no clock was ever before it.
    """
    now = time.time()
    noted = _Noted.read(home.path)
    seen = noted.seen or known
    mend = f"catalens index gc --accept-clock --home {shlex.quote(str(home.path))}"
    if _is_ahead(noted, now) and noted.ran_ahead_s(now) < PROVEN_AFTER_S:
        return (
            f"the clock says {_day(now)}, and this home was in use last at {_day(seen)}: nothing "
            "that ends by time is deleted until the clock is set, has run on so for a day, or is "
            f"said to be right ({mend})"
        )
    if seen - now > MOST_BEHIND_S:
        return (
            f"the clock says {_day(now)}, and this home was in use at {_day(seen)} already: set "
            "the clock; nothing that ends by time is deleted meanwhile, and what is written now "
            f"counts as written then (if it was ahead before: {mend})"
        )
    return None


def note_time(home: Home, *, known: float = 0.0) -> str | None:
    """Note that it is now, once a minute, and return what ``clock_fault`` says; of a clock that is
    at fault only how long it runs ahead."""
    fault = clock_fault(home, known=known)
    now = time.time()
    noted = _Noted.read(home.path)
    if fault is None:
        if now - noted.seen >= _EVERY_S:
            _write(home, _Noted(now))
    elif _is_ahead(noted, now) and abs(now - noted.ahead_at) >= _EVERY_S:
        _write(home, _Noted(noted.seen, now, noted.ran_ahead_s(now), _boot(), _uptime()))
    return fault


def accept_time(home: Home) -> None:
    """Take the clock as right, whatever was seen before."""
    _write(home, _Noted(time.time()))


def note_seen(home: Home, at: float) -> None:
    """Note that the home was in use at that time, in seconds since 1970: one that was restored."""
    _write(home, _Noted(at))


def latest_time(home: Home | Path) -> float:
    """The time in seconds since 1970, never before what the home, or that of this folder, has
    seen: by this all is stored that has an end, which a clock that is behind would bring too
    early."""
    return max(time.time(), _Noted.read(home if isinstance(home, Path) else home.path).seen)


def latest_time_text(home: Home | Path) -> str:
    """``latest_time`` as logs have it: ISO 8601, UTC."""
    return datetime.fromtimestamp(latest_time(home), UTC).isoformat(timespec="milliseconds")


def _is_ahead(noted: _Noted, now: float) -> bool:
    return noted.seen > 0.0 and now - noted.seen > MOST_JUMP_S


def _write(home: Home, noted: _Noted) -> None:
    # A read-only home is not cleared up either.
    with suppress(OSError):
        write_sealed_json(
            home.path / CLOCK_FILE, {name: value for name, value in asdict(noted).items() if value}
        )


def _uptime() -> float:
    """How long the machine runs, asleep or not."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _boot() -> str:
    """Which start of the machine this is; "" where nothing tells."""
    try:
        return _BOOT_FILE.read_text().strip()
    except OSError:
        return ""


def _day(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes")
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f} s since 1970"
