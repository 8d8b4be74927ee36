"""Moments in cells: dates and times as shops write them, and periods of two of them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time

_LONGEST = 64
# "2/1/26, 12:00 AM" and "01.02.2026 12:00"
_DATE = re.compile(
    r"(\d{1,2})([./])(\d{1,2})\2(\d{4}|\d{2})"
    r"(?:,?\s+(\d{1,2}):(\d{2})(?::(\d{2}))?\s*([AaPp][Mm])?)?",
    re.ASCII,
)
_END_OF_DAY = time(23, 59, 59)


def parse(text: str, *, end: bool = False) -> str:
    """A moment as ISO 8601 in UTC. ``end``: of a day alone, its last second.

    Without a zone it is UTC. With slashes the month stands first, unless it cannot. Raises
    ``ValueError`` with the reason where it is none.

    >>> parse("2026-03-01T08:00+0100"), parse("1.3.2026", end=True)
    ('2026-03-01T07:00:00+00:00', '2026-03-01T23:59:59+00:00')
    """
    plain = " ".join(text.split())
    try:
        if len(plain) > _LONGEST:
            raise ValueError
        match = _DATE.fullmatch(plain)
        moment = _of_parts(*match.groups()) if match else datetime.fromisoformat(plain)
        if moment.tzinfo is None:
            if end and moment.time() == time():
                moment = datetime.combine(moment.date(), _END_OF_DAY)
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        raise ValueError(f"{plain[:60]!r} is no date") from None


def parse_period(text: str) -> tuple[str | None, str | None]:
    """Begin and end of ``2026-03-01T08:00Z/2026-03-09T20:00Z``; either may be blank. Raises
    ``ValueError`` as ``parse`` does."""
    first, slash, last = text.partition("/")
    if not slash or "/" in last:
        raise ValueError(f"{text.strip()[:60]!r} is no period: two dates with / between them")
    begin = parse(first) if first.strip() else None
    return begin, parse(last, end=True) if last.strip() else None


def _of_parts(
    first: str,
    sign: str,
    second: str,
    year: str,
    hour: str | None,
    minute: str | None,
    seconds: str | None,
    half: str | None,
) -> datetime:
    month, day = int(first), int(second)
    if sign == "." or month > 12:
        month, day = day, month
    hours = int(hour or 0)
    if half:
        if not 1 <= hours <= 12:
            raise ValueError
        hours = hours % 12 + (12 if half.lower() == "pm" else 0)
    full_year = int(year) + (2000 if len(year) == 2 else 0)
    return datetime(full_year, month, day, hours, int(minute or 0), int(seconds or 0))
