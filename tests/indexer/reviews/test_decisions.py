"""Decisions of the queue stand among what was done, and are undone one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.actor import acting
from indexer.core.errors import NotUndoableError, UnknownActionError
from indexer.core.home import Home
from indexer.operations.undo import list_actions, undo
from indexer.reviews import decisions
from indexer.reviews.store import Preview, open_reviews


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def test_only_the_decision_that_stands_is_undone(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whom and on what; a dry run changes nothing. One that was made anew is another action: the
    first stays undone, and an undo of it never touches the second."""
    with open_catalog(home) as catalog:
        assert list_actions(home, catalog) == []
        with open_reviews(home) as reviews:
            name = reviews.open_review({}, [Preview("a" * 64, b"jpeg")], pid=None)
            with acting("Dora"):
                reviews.decide(name, "approve", reason="fine")
        (first,) = list_actions(home, catalog)
        assert (first.kind, first.by, first.note) == ("decision", "Dora", f"approved {name}")
        assert (first.state, first.until > first.at) == ("undoable", True)
        assert undo(home, catalog, first.name, dry_run=True).dry_run
        with open_reviews(home) as reviews:
            assert reviews.get(name).state == "approved"
            undo(home, catalog, first.name)
            assert reviews.get(name).state == "open"
            assert list_actions(home, catalog)[0].state == "undone"
            reviews.decide(name, "reject", reason="no")
            stale = int(first.name.removeprefix("decision-"))
            with pytest.raises(NotUndoableError, match="decided anew"):
                reviews.reopen(name, entry=stale)
            with pytest.raises(NotUndoableError, match="undone already"):
                undo(home, catalog, first.name)
            assert reviews.get(name).state == "rejected"
        states = [(made.note.split()[0], made.state) for made in list_actions(home, catalog)]
        assert states == [("rejected", "undoable"), ("approved", "undone")]
        monkeypatch.setattr(decisions, "KEPT_DAYS", -1.0)
        assert list_actions(home, catalog)[0].state == "expired"
        for wrong in ("decision-999", "decision-x", "decision-²", f"decision-{'9' * 30}"):
            with pytest.raises(UnknownActionError):
                undo(home, catalog, wrong)
