"""Dates of shops' cells are moments in UTC, or told why not."""

from __future__ import annotations

import pytest

from indexer.feeds.values.moments import parse, parse_period


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("2026-03-01", "2026-03-01T00:00:00+00:00", "2026-03-01T23:59:59+00:00"),
        ("2026-03-01T08:30-0500", "2026-03-01T13:30:00+00:00", "2026-03-01T13:30:00+00:00"),
        ("2026-03-01 08:30:00", "2026-03-01T08:30:00+00:00", "2026-03-01T08:30:00+00:00"),
        # As Magento writes the whole first of February.
        ("2/1/26, 12:00 AM", "2026-02-01T00:00:00+00:00", "2026-02-01T23:59:59+00:00"),
        ("2/1/26, 12:30 PM", "2026-02-01T12:30:00+00:00", "2026-02-01T12:30:00+00:00"),
        ("25/12/2026", "2026-12-25T00:00:00+00:00", "2026-12-25T23:59:59+00:00"),
        (" 1.2.2026 ", "2026-02-01T00:00:00+00:00", "2026-02-01T23:59:59+00:00"),
    ],
)
def test_a_day_alone_lasts_to_its_end(text: str, begin: str, end: str) -> None:
    assert (parse(text), parse(text, end=True)) == (begin, end)


@pytest.mark.parametrize("text", ["soon", "31.2.2026", "13/13/26", "1/1/26, 13:00 PM", "9" * 99])
def test_what_is_no_date_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no date"):
        parse(text)


def test_a_period_may_be_open() -> None:
    assert parse_period("2026-03-01T00:00Z/2026-03-09T20:00Z") == (
        "2026-03-01T00:00:00+00:00",
        "2026-03-09T20:00:00+00:00",
    )
    assert parse_period("/2026-03-09") == (None, "2026-03-09T23:59:59+00:00")
    with pytest.raises(ValueError, match="is no period"):
        parse_period("2026-03-01")
