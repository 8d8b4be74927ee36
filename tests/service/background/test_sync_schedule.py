"""The leader of a home runs feeds that are due, in processes of their own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.fetch.settings import FetchSettings
from indexer.operations.sync import add_source
from indexer.operations.sync_source import SyncSource, SyncSources
from service.background import sync_schedule
from service.background.leadership import Leadership
from service.background.sync_schedule import SyncSchedule
from service.logging import make_log
from tests.indexer.conftest import draw


class Leader:
    """Leads while ``leads`` says so."""

    leads = True

    def holds(self) -> bool:
        return self.leads


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.create(tmp_path / "home")
    draw("disc", 1).save(tmp_path / "a.png")
    path = tmp_path / "feed.csv"
    path.write_text("product_id,image\np1,a.png\n")
    add_source(home, SyncSource("shop", str(path), 3600.0, created=time.time()))
    return home


def test_a_due_feed_runs_once_and_only_where_this_service_leads(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_schedule, "_EVERY_S", 0.0)
    leader: Any = Leader()
    schedule = SyncSchedule(home, leader, FetchSettings(), log=make_log())
    leader.leads = False
    schedule.poll()
    assert schedule._process is None
    leader.leads = True
    until = time.monotonic() + 60
    while not SyncSources(home).runs("shop") and time.monotonic() < until:
        schedule.poll()
        time.sleep(0.1)
    while schedule._process is not None and time.monotonic() < until:
        schedule.poll()
        time.sleep(0.05)
    schedule.poll()
    assert schedule._process is None
    (run,) = SyncSources(home).runs("shop")
    assert (run.outcome, run.counts["added"]) == ("done", 1)
    with open_catalog(home) as catalog:
        assert catalog.product_ids() == {"p1"}
    schedule.close()


class Ended:
    """A process that ended with ``code``."""

    code = 0

    def __init__(self, *_: str, memory: int | None) -> None:
        pass

    def poll(self) -> int:
        return self.code

    def finish(self) -> tuple[str, str]:
        return "", "another process is doing 'import'"


@pytest.mark.parametrize(("code", "outcomes"), [(75, []), (-9, ["failed"])])
def test_a_process_that_was_killed_is_a_failed_run_and_one_that_waits_is_none(
    code: int, outcomes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.create(tmp_path / "home")
    sources = SyncSources(home)
    sources.add(SyncSource("shop", str(tmp_path / "feed.csv"), 3600.0, created=time.time()))
    monkeypatch.setattr(sync_schedule, "WorkerProcess", Ended)
    monkeypatch.setattr(Ended, "code", code)
    leadership = Leadership(home)
    schedule = SyncSchedule(home, leadership, FetchSettings(), log=make_log())
    try:
        schedule.poll()
        schedule.poll()
    finally:
        leadership.release()
    assert [run.outcome for run in sources.runs("shop")] == outcomes
