"""Ids that rows name again are told apart, at a cost that does not grow with how often."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from indexer.catalog.records import MAX_ID
from indexer.feeds.id_claims import IdClaims, TakenIds, made_id


class _Counting(set[str]):
    """A set that counts what it is asked for."""

    asked = 0

    def __contains__(self, value: object) -> bool:
        _Counting.asked += 1
        return super().__contains__(value)


def claims(rows: Iterable[Iterable[tuple[str, str]]]) -> IdClaims:
    found = IdClaims()
    for row in rows:
        found.next_row()
        for product_id, where in row:
            found.claim(product_id, where)
    return found


def test_which_row_names_an_id_again() -> None:
    """The how many-th row with its id each is, and the numbers of the rows; a row may hold none or
    several ids."""
    found = claims([[("a", "1")], [], [("b", "3")], [("a", "4"), ("c", "4 v2")], [("a", "5")]])
    told = {where: found.repetition(where) for where in ("1", "3", "4", "4 v2", "5", "9")}
    assert told == {"1": None, "3": None, "4": 2, "4 v2": None, "5": 3, "9": None}
    assert found.repeated_rows().tolist() == [3, 4]
    assert claims([]).repetition("1") is None
    assert claims([[("a", "1")]]).repeated_rows().tolist() == []


def test_repeated_rows_hold_few_bytes() -> None:
    """A thousand ids that came a hundred times hold 16 bytes a row, not an object each."""
    found = claims([(f"p{n % 1000}", f"feed.csv:{n}")] for n in range(100_000))
    assert len(found.repeated_rows()) == 99_000
    held = [value for value in vars(found).values() if hasattr(value, "nbytes")]
    assert sum(value.nbytes for value in held) == 24 * 99_000
    others = [value for value in vars(found).values() if not hasattr(value, "nbytes")]
    assert sum(len(value) for value in others if hasattr(value, "__len__")) == 0


def test_ids_that_are_made_are_distinct() -> None:
    """The parent's name and the options, then with a number; never one that is taken, nor the one
    beside; no longer than an id may be."""
    taken = TakenIds()
    made = []
    for _ in range(3):
        made.append(taken.distinct("tee", "Red / M"))
        taken.add(made[-1])
    assert made == ["tee/Red/M", "tee/Red/M#2", "tee/Red/M#3"]
    assert taken.distinct("mug", None, beside="mug") == "mug#2"
    assert taken.distinct("mug", None) == "mug"
    taken.add("x" * MAX_ID)
    long = taken.distinct("x" * 2 * MAX_ID, "y")
    assert (len(long), long[-3:]) == (MAX_ID, "x#2")
    assert made_id("tee", None) == "tee"


def test_the_thousandth_name_costs_what_the_second_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more of a name asks for no name that was given before."""
    taken = TakenIds()
    monkeypatch.setattr(taken, "_taken", _Counting())
    _Counting.asked = 0
    for _ in range(2000):
        taken.add(taken.distinct("tee", "Red"))
    assert "tee/Red#2000" in taken
    assert _Counting.asked <= 3 * 2000 + 1
