"""Erasure beside the answers: by the leader alone, as modest as the other workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from indexer.operations.retention_terms import RetentionTerms, remembered_terms
from indexer.reviews.store import Preview, days_ago, open_reviews
from service.background import worker_process
from service.background.erasure import Eraser
from service.background.leadership import Leadership
from service.engine import Engine
from tests.service.state.test_snapshots import wait_for


def test_the_leader_s_eraser_runs_one_thread(own: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deletion found at the start is erased at once, by one service, in a process that has one
    thread and finds our modules; when it ended another look is due."""
    started: list[tuple[list[str], dict[str, Any]]] = []
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        started.append((command, options))
        return real([sys.executable, "-c", "print()"], **options)

    monkeypatch.setattr(worker_process.subprocess, "Popen", start)
    own.products.delete("cross-red")
    leader, follower = Leadership(own.home), Leadership(own.home)
    erasers = [
        Eraser(own.home, own.catalog, leads, within_s=60, log=own.log)
        for leads in (leader, follower)
    ]
    for eraser in erasers:
        eraser.poll()
        assert eraser.longest_wait_s == 3, "polled in time, whatever poll_s says"
    assert remembered_terms(own.home) == own.settings.retention_terms, "for commands"
    ((command, options),) = started
    assert command[1:4] == ["-m", "indexer.operations.erasure", str(own.home.path)]
    assert RetentionTerms(**json.loads(command[4])) == own.settings.retention_terms
    assert options["env"]["OMP_NUM_THREADS"] == options["env"]["CATALENS_THREADS"] == "1"
    assert str(Path(__file__).parents[3]) in options["env"]["PYTHONPATH"].split(":")
    wait_for(lambda: (erasers[0].poll(), erasers[0]._process is None)[1], seconds=30)
    erasers[0].poll()
    assert len(started) == 1, "what is found again so soon waits"
    for eraser in erasers:
        eraser.close()
    leader.release()


def test_what_came_to_its_end_is_due_though_nothing_was_deleted(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos of a review that was decided long ago start the eraser, with the terms that were
    set."""
    started: list[list[str]] = []

    class Started:
        def __init__(self, *command: str, memory: int) -> None:
            assert memory == 0
            started.append(list(command))

        def stop(self) -> None:
            pass

    monkeypatch.setattr("service.background.erasure.WorkerProcess", Started)
    with open_reviews(own.home) as reviews:
        name = reviews.open_review({}, [Preview("a" * 64, b"jpeg")])
        with reviews.database.transaction() as sql:
            query = "UPDATE reviews SET opened = ? WHERE name = ?"
            sql.execute(query, (days_ago(20), name))
    leader = Leadership(own.home)
    for days, count in ((21.0, 0), (19.0, 1)):
        terms = RetentionTerms(open_review_photos=days)
        eraser = Eraser(own.home, own.catalog, leader, within_s=60, log=own.log, terms=terms)
        eraser.poll()
        assert len(started) == count
        eraser.close()
    assert json.loads(started[0][2])["open_review_photos"] == 19.0
    leader.release()
