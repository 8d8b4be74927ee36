"""A job that was acknowledged outlives a power cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.core import atomic_files
from indexer.core.home import Home
from indexer.operations.jobs import Jobs


def test_a_job_is_on_disk_before_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its upload and what it is to do are flushed, with their folders, before the name under which
    it is found, and that with its folder."""
    jobs = Jobs(Home.create(tmp_path / "home"))
    done: list[str] = []
    real_fsync, real_rename = atomic_files.fsync_path, atomic_files.os.rename

    def fsync(path: Path) -> None:
        done.append("jobs" if path == jobs.folder else path.name)
        real_fsync(path)

    def rename(old: Path, new: Path) -> None:
        done.append("renamed" if new.parent == jobs.folder else "")
        real_rename(old, new)

    def write(path: Path) -> None:
        path.write_bytes(b"data")

    monkeypatch.setattr(atomic_files, "fsync_path", fsync)
    monkeypatch.setattr(atomic_files.os, "rename", rename)
    job = jobs.add("import", {}, upload=write, name="f")
    place = done.index("renamed")
    assert {"f", "upload", "job.json"} <= set(done[:place])
    assert "jobs" in done[place:]
    assert jobs.get(job.job_id).state == "queued"
