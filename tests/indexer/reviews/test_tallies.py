"""Figures of reviews are rows that every write keeps, also one of an older release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.core.home import Home
from indexer.core.sqlite import Connection
from indexer.reviews import tallies
from indexer.reviews.store import Reviews, open_reviews

ALARM = {"prohibited": [{"policy": "logos", "decision": "review"}]}
_OWN = ("reviews_opened", "reviews_moved", "alarms_raised")


@pytest.fixture
def reviews(tmp_path: Path) -> Iterator[Reviews]:
    with open_reviews(Home.create(tmp_path / "home")) as opened:
        yield opened


def figures(reviews: Reviews) -> tuple[Any, ...]:
    return reviews.counts(), reviews.decided_alarms(), reviews.judged_tags()


def as_of_an_older_release(sql: Connection) -> None:
    """What a file looks like that never had tallies."""
    for trigger in _OWN:
        sql.execute(f"DROP TRIGGER {trigger}")
    for table in ("alarms", "tallies"):
        sql.execute(f"DROP TABLE {table}")


def fill(reviews: Reviews) -> None:
    for number in range(6):
        reviews.open_review(ALARM if number % 2 else {"prohibited": []}, [], name=f"r{number}")
        reviews.add_feedback([{"accepted": ["a"] * number, "rejected": ["b"]}])
    reviews.decide("r1", "reject", reason="")
    reviews.decide("r2", "reject", reason="")
    reviews.decide("r3", "approve", reason="")


EXPECTED = (
    {"open": 3, "approved": 1, "rejected": 2},
    [("approved", "logos", 1), ("rejected", "logos", 1)],
    (15, 6),
)


def test_no_figure_is_computed_from_the_log(reviews: Reviews) -> None:
    """Nor does the cost of reading them grow with it: a table of a few rows is read."""
    fill(reviews)
    asked: list[str] = []
    reviews.database.connection.set_trace_callback(asked.append)
    assert figures(reviews) == EXPECTED
    reviews.database.connection.set_trace_callback(None)
    read = [query for query in asked if query.startswith("SELECT")]
    assert read
    assert not [query for query in read if "log" in query or "FROM reviews" in query]


def test_a_decision_that_is_taken_back_is_taken_out(reviews: Reviews) -> None:
    fill(reviews)
    with reviews.database.transaction() as sql:
        sql.execute("UPDATE reviews SET state = 'open' WHERE name = 'r1'")
    assert reviews.counts() == {"open": 4, "approved": 1, "rejected": 1}
    assert reviews.decided_alarms() == [("approved", "logos", 1)]


def test_a_file_of_an_older_release_is_counted_in_portions(
    reviews: Reviews, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until all is counted it says so; what the older release writes afterwards is counted too."""
    monkeypatch.setattr(tallies, "_PORTION", 5)
    fill(reviews)
    with reviews.database.transaction() as sql:
        as_of_an_older_release(sql)
    with open_reviews(Home(tmp_path / "home")) as opened:
        assert not opened.is_counted()
        assert opened.counts() == EXPECTED[0]
        steps = 1
        while not opened.count_some():
            steps += 1
        assert steps == 4  # 15 entries by 5, and the look that finds no more
        assert opened.is_counted()
        assert figures(opened) == EXPECTED
        with opened.database.transaction() as sql:
            sql.execute("INSERT INTO reviews (name, opened, state) VALUES ('old', '', 'open')")
            sql.execute(
                "INSERT INTO log (at, kind, body) VALUES ('', 'feedback', "
                '\'{"accepted": ["x"], "rejected": []}\')'
            )
        assert not opened.is_counted()
        assert opened.count_some()
        assert opened.judged_tags() == (16, 6)
        assert opened.counts()["open"] == 4


def test_many_reviews_are_read_with_few_statements(reviews: Reviews) -> None:
    """A page costs the same number of statements, however many reviews are on it."""
    fill(reviews)
    asked: list[str] = []
    reviews.database.connection.set_trace_callback(asked.append)
    found, total = reviews.waiting("open", limit=100)
    reviews.database.connection.set_trace_callback(None)
    assert ([review.name for review in found], total) == (["r0", "r4", "r5"], 3)
    assert len([query for query in asked if query.startswith("SELECT")]) <= 8
