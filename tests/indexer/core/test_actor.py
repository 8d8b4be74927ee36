"""Whoever acts is known to all that is written below, and to nothing else."""

from __future__ import annotations

import threading

import pytest

from indexer.core.actor import acting, current_action, current_actor, doing, plain_name


def test_a_name_holds_inside_only_and_is_put_back_after_a_failure() -> None:
    """Also where a name stands inside a name, and for other threads there is none."""
    seen: list[str] = []
    with acting("feed erp"):
        assert current_actor() == "feed erp"
    with acting("Anna"):
        with pytest.raises(ValueError, match="invalid literal"), acting("feed erp"):
            assert int(current_actor())
        assert current_actor() == "Anna"
        thread = threading.Thread(target=lambda: seen.append(current_actor()))
        thread.start()
        thread.join()
    assert (current_actor(), seen) == ("", [""])


def test_an_action_inside_another_is_part_of_it() -> None:
    """A sync that imports is one action of one name; without one each write is its own."""
    with acting("Anna"), doing("sync", "erp") as outer, doing("import", "erp.csv") as inner:
        assert inner is outer is current_action()
        assert (outer.kind, outer.by, outer.note) == ("sync", "Anna", "erp")
    with acting("Anna"):
        first, second = current_action(), current_action()
    assert (first.kind, first.by) == ("write", "Anna")
    assert first.name != second.name


def test_a_name_is_one_plain_line() -> None:
    """Nothing in it moves a terminal's cursor, and its length is bounded."""
    assert plain_name(" Anna\x1b[2J\n B\u202e ") == "Anna [2J B"
    assert len(plain_name("x" * 1000)) == 120


def test_a_note_is_one_plain_line_that_can_be_stored() -> None:
    """The name of a file may hold bytes that are no UTF-8, and what a terminal obeys."""
    with doing("import", "caf\udce9\x1b[2J.csv") as action:
        assert action.note == "caf\\xe9\\x1b[2J.csv"
        assert action.note.encode()
