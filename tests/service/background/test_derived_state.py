"""What follows the catalog takes turns, and a failure of one holds up no other."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.background import derived_state
from service.background.derived_state import DerivedState
from service.engine import Engine, Query
from service.logging import make_log
from service.settings import Settings
from tests.service.conftest import photo
from tests.service.state.test_pending_photos import import_unembedded
from tests.service.state.test_snapshots import wait_for


class Work:
    """So many portions of work; some of them fail."""

    def __init__(self, turns: list[Any], name: str, left: int, failures: int = 0) -> None:
        self.turns = turns
        self.name = name
        self.left = left
        self.failures = failures

    def follow_some(self) -> bool:
        if self.failures:
            self.failures -= 1
            raise OSError("away for a moment")
        if self.left:
            self.left -= 1
            self.turns.append(self.name)
        return not self.left


def test_followers_take_turns_until_nothing_is_left() -> None:
    turns: list[str] = []
    state = DerivedState({"a": Work(turns, "a", 3), "b": Work(turns, "b", 1)}, log=make_log())
    state.poll()
    assert turns == ["a", "b", "a", "a"]


def test_a_failure_is_tried_again_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever it was: the next turn comes after a pause that grows."""
    monkeypatch.setattr(derived_state, "_AGAIN_S", 0.05)
    turns: list[str] = []
    state = DerivedState(
        {"a": Work(turns, "a", 1, failures=2), "b": Work(turns, "b", 1)}, log=make_log()
    )
    state.poll()
    assert turns == ["b"]
    until = time.monotonic() + 5
    while turns != ["b", "a"] and time.monotonic() < until:
        state.poll()
        time.sleep(0.01)
    assert turns == ["b", "a"]


def test_the_worker_has_a_low_priority_of_its_own() -> None:
    """The threads that answer keep theirs."""
    found: list[int] = []

    class Look:
        def follow_some(self) -> bool:
            found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return True

    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=DerivedState({"look": Look()}, log=make_log()).poll)
    thread.start()
    thread.join()
    assert found == [max(before, 10)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_service_follows_everything_by_itself(own_home: Path) -> None:
    """What another process imports is embedded and signed, its words are found, and the log of an
    older release is counted; nobody asks for it."""
    with Engine(Settings(home=own_home, poll_s=0.05)) as engine:
        web = create_app(engine, engine.settings).test_client()
        assert engine.review([photo("ring", "tan", turn=9)], queue=False).content is not None
        last = import_unembedded(engine, 12)
        with engine.catalog.database.read():
            assert engine.catalog.last_sequence() == last

        def is_followed() -> bool:
            found = engine.review([photo("ring", "tan", turn=9)], queue=False).content
            text = engine.search(Query(text="ring"), k=40)
            embedded = engine.ready().live.product_count == 32
            return embedded and found.duplicates_complete and text.complete

        wait_for(is_followed, seconds=60)
        engine.reviews.submit({"prohibited": []}, [], product_id=None)
        with engine.review_database.reviews.database.transaction() as sql:
            sql.execute("DELETE FROM tallies WHERE kind = 'log'")
        wait_for(lambda: engine.review_database.reviews.is_counted(), seconds=60)
        assert "complete" not in web.get("/v1/reviews").get_json()
