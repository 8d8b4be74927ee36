"""A full disk and a failed job are causes; what mends them ends them."""

from __future__ import annotations

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from indexer.core.home import Home
from indexer.operations.jobs import JobProblem, Jobs
from service.alerts.probes import DiskProbe, JobProbe

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
