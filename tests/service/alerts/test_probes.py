"""A full disk and a failed job are causes; what mends them ends them."""

from __future__ import annotations

import shutil
import time
from collections import namedtuple
from pathlib import Path

import pytest

from indexer.core.home import Home
from indexer.operations.jobs import JobProblem, Jobs
from indexer.operations.sync_source import SyncRun, SyncSource, SyncSources
from service.alerts.probes import DiskProbe, JobProbe, SyncProbe

Usage = namedtuple("Usage", "total used free")


def test_less_free_disk_than_the_share_is_a_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = DiskProbe(Home.create(tmp_path / "home"), 0.10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100e9, 91e9, 9e9))
    (cause,) = probe.causes()
    assert cause.title == "Only 9% of the disk is free"
    assert probe.owns(cause.key)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100e9, 89e9, 11e9))
    assert list(probe.causes()) == []


def test_the_last_job_of_a_kind_decides(tmp_path: Path) -> None:
    """A failed import is a cause until one is done; a build beside it is no end of it."""
    home = Home.create(tmp_path / "home")
    jobs, probe = Jobs(home), JobProbe(home)
    failed = jobs.add("import", {})
    jobs.set(failed.job_id, state="failed", problem=JobProblem("bad-data", "no rows"))
    jobs.set(jobs.add("build", {}).job_id, state="done", result={})
    (cause,) = probe.causes()
    assert (cause.key, cause.title) == ("job:import", "The last import failed")
    assert "no rows" in cause.detail
    jobs.set(jobs.add("import", {}).job_id, state="done", result={})
    assert list(probe.causes()) == []


def test_a_feed_that_is_held_failed_silent_or_without_photos_is_a_cause(tmp_path: Path) -> None:
    """The last run decides, of photos the last that read any; a sound run ends all."""
    home = Home.create(tmp_path / "home")
    sources, probe = SyncSources(home), SyncProbe(home, 0.02)
    now = time.time()
    sources.add(SyncSource("shop", "feed.csv", 3600.0, created=now))

    def keys() -> list[str]:
        return [cause.key for cause in probe.causes()]

    assert keys() == []
    counts = {"photos": 100}
    sources.add_run("shop", SyncRun(now, now, "done", counts=counts, photos_failed=3))
    assert keys() == ["sync:shop:photos"]
    sources.add_run("shop", SyncRun(now, now, "held", "it shrank"))
    assert keys() == ["sync:shop:held", "sync:shop:photos"]
    sources.add_run("shop", SyncRun(now, now, "failed", "no connection"))
    assert keys()[0] == "sync:shop:failed"
    sources.add_run("shop", SyncRun(now, now, "done", counts=counts, photos_failed=2))
    assert keys() == []
    sources.add(SyncSource("old", "feed.csv", 3600.0, created=now - 7300))
    assert keys() == ["sync:old:silent"]
    assert all(probe.owns(key) for key in keys())
