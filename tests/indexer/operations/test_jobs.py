"""A job that was acknowledged outlives a power cut, and a damaged one harms no other."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from safetensors import SafetensorError

from indexer.core import atomic_files
from indexer.core.errors import UnknownJobError
from indexer.core.home import Home
from indexer.core.home_clock import note_seen
from indexer.operations import jobs as job_files
from indexer.operations.damaged_jobs import remove_damaged_jobs
from indexer.operations.jobs import OWNER_LOCK, JobProblem, Jobs
from indexer.operations.repair import repair_home
from indexer.operations.verification import verify_home
from tests.set_clock import SetClock


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


SAFETENSORS = "Error while serializing: I/O error: No space left on device (os error 28)"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk-full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk-full"),
        (SafetensorError(SAFETENSORS), "disk-full"),
        (OSError("40 requested and 0 written"), "disk-full"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only"),
        (OSError(errno.EIO, "Input/output error"), "internal"),
        (ValueError("28"), "internal"),
    ],
)
def test_a_job_says_what_the_disk_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    """By whatever word it hears of it; a full disk is no failure that only a log explains."""
    home = Home.create(tmp_path / "home")
    jobs = Jobs(home)
    job_id = jobs.add("build", {}).job_id

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(job_files, "_build", fail)
    job_files.run(home, job_id)
    problem = jobs.get(job_id).problem
    assert problem is not None
    assert problem.code == code
    assert ("index gc" in problem.detail) == (code == "disk-full")


@pytest.mark.parametrize(
    "changes",
    [
        {"created": "yesterday"},
        {"created": None},
        {"state": "qone"},
        {"kind": "imporu"},
        {"options": []},
        {"job_id": "../photos", "state": "done", "ended": 1.0},
    ],
)
def test_a_job_of_a_damaged_file_is_none(tmp_path: Path, changes: dict[str, object]) -> None:
    """All others are listed, told and forgotten, and nothing outside of the folder of jobs goes,
    whoever wrote the file (as in a backup of somebody else)."""
    home = Home.create(tmp_path / "home")
    home.photos.mkdir(exist_ok=True)
    jobs = Jobs(home)
    sound, damaged = (jobs.add("build", {}).job_id for _ in range(2))
    jobs.set(sound, state="done")
    file = jobs.folder / damaged / "job.json"
    told = {key: value for key, value in json.loads(file.read_text()).items() if key != "seal"}
    file.write_text(json.dumps({**told, **changes}))
    assert [job.job_id for job in jobs.list()] == [sound]
    jobs.redact()
    for ask in (jobs.get, lambda job_id: jobs.set(job_id, state="failed")):
        if "job_id" in changes or ask == jobs.get:
            with pytest.raises(UnknownJobError, match=r"cannot be read.*start it again"):
                ask(damaged)
    assert jobs.forget(keep=0) == 1
    assert home.photos.is_dir()


@pytest.mark.parametrize("state", ["running", "queued"])
def test_a_report_of_a_job_that_ran_during_an_erasure_names_no_product(
    tmp_path: Path, state: Any
) -> None:
    """What it read before the erasure it writes afterwards, without its rows; one that begins
    later reads nothing that is erased."""
    jobs = Jobs(Home.create(tmp_path / "home"))
    done, failed = (jobs.add("import", {}).job_id for _ in range(2))
    for job_id in (done, failed):
        jobs.set(job_id, state=state)
    jobs.redact()
    rows = [{"row": 3, "reason": "no photo of sku-17"}]
    jobs.set(done, state="done", result={"skipped": rows, "imported": 2, "note": "of sku-17"})
    jobs.set(failed, state="failed", problem=JobProblem("bad-data", "row 3: sku-17"))
    stored = "".join(path.read_text() for path in jobs.folder.rglob("*.json"))
    assert ("sku-17" in stored) is (state == "queued")
    result = jobs.get(done).result
    assert result is not None
    assert (result["imported"], jobs.get(failed).state) == (2, "failed")


def test_one_changed_byte_makes_no_other_job(tmp_path: Path) -> None:
    """A dry run is not made for good; ``verify`` names the file."""
    home = Home.create(tmp_path / "home")
    jobs = Jobs(home)
    job_id = jobs.add("undo", {"action": "a1", "dry_run": True}).job_id
    file = jobs.folder / job_id / "job.json"
    file.write_bytes(file.read_bytes().replace(b"dry_run", b"dry_ruo"))
    with pytest.raises(UnknownJobError, match="cannot be read"):
        jobs.get(job_id)
    (found,) = [one for one in verify_home(home.path).damages if "job.json" in one.where]
    assert (found.where, "checksum" in found.what) == (f"jobs/{job_id}/job.json", True)
    assert "verify --repair" in found.mend
    # As a release before wrote it.
    old = {"job_id": job_id, "kind": "undo", "options": {"dry_run": True}, "created": 1.0}
    file.write_text(json.dumps(old))
    assert jobs.get(job_id).options == {"dry_run": True}
    file.write_text("{")
    assert f"jobs/{job_id} was removed" in repair_home(home.path)[-1]
    assert not (jobs.folder / job_id).exists()
    assert verify_home(home.path).intact


def test_progress_says_nothing_of_the_job_itself(tmp_path: Path) -> None:
    """What lies beside a job moves its progress alone."""
    jobs = Jobs(Home.create(tmp_path / "home"))
    job_id = jobs.add("build", {}).job_id
    progress = jobs.folder / job_id / "progress.json"
    progress.write_text(json.dumps({"stage": "embed", "done": 1, "total": 2, "job_id": "../x"}))
    found = jobs.get(job_id)
    assert (found.job_id, found.stage, found.done, found.total) == (job_id, "embed", 1, 2)
    progress.write_text(json.dumps({"stage": "embed", "done": "many", "total": 2}))
    assert jobs.get(job_id).stage is None


def test_a_damaged_job_goes_with_an_erasure_and_with_its_term(tmp_path: Path) -> None:
    """An upload may lie in its folder, which no erasure looks through; nor does it stay for ever.
    One whose service waits for it stays."""
    home = Home.create(tmp_path / "home")
    jobs = Jobs(home)
    folders = []
    for _ in range(3):
        job = jobs.add("import", {}, upload=lambda path: path.write_bytes(b"rows") and None)
        folders.append(jobs.folder / job.job_id)
    for folder in folders[:2]:
        (folder / "job.json").write_bytes(b"{")
    now = time.time()
    assert remove_damaged_jobs(home, changed_before=now - 60) == []
    with FileLock(folders[0] / OWNER_LOCK):
        assert remove_damaged_jobs(home, changed_before=now + 60) == [folders[1].name]
    assert remove_damaged_jobs(home) == [folders[0].name]
    assert [job.job_id for job in jobs.list()] == [folders[2].name]
    folders[0].mkdir()
    (folders[0] / "job.json").mkdir()  # as one that this user may not read
    (folders[2] / "job.json").write_bytes(b"{")
    assert remove_damaged_jobs(home) == [folders[2].name]
    assert folders[0].exists()


def test_jobs_that_ended_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often they are listed; one whose file was written since is read again."""
    jobs = Jobs(Home.create(tmp_path / "home"))
    ids = [jobs.add("build", {}).job_id for _ in range(3)]
    for job_id in ids[:2]:
        jobs.set(job_id, state="done", result={"skipped": ["row 1"]})
    read: list[str] = []
    real = job_files.read_stored

    def count(folder: Path) -> dict[str, Any]:
        read.append(folder.name)
        return real(folder)

    jobs.list()
    monkeypatch.setattr(job_files, "read_stored", count)
    for _ in range(3):
        assert len(jobs.list()) == 3
        assert [job.job_id for job in job_files.entries(jobs, ("queued",))] == ids[2:]
    assert set(read) == {ids[2]}
    Jobs(Home(tmp_path / "home")).redact()
    assert jobs.get(ids[0]).result == {"skipped": []}


def test_no_clock_says_which_job_is_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs of a clock that was ahead are not kept instead of those that came after them; one that
    ends while the clock is behind ends at the latest time that the home has seen."""
    home = Home.create(tmp_path / "home")
    jobs = Jobs(home)
    clock = SetClock(2_000_000_000.0)
    monkeypatch.setattr(job_files, "time", clock)
    ids = []
    for _ in range(2):
        for _ in range(2):
            job = jobs.add("build", {})
            ids.append(jobs.set(job.job_id, state="done").job_id)
        clock.now -= 5 * 86_400
    assert [job.job_id for job in jobs.list()] == ids[::-1]
    assert jobs.forget(keep=2) == 2
    assert [job.job_id for job in jobs.list()] == ids[:1:-1]
    note_seen(home, 3_000_000_000.0)
    job = jobs.add("build", {})
    assert jobs.set(job.job_id, state="done").ended == 3_000_000_000.0
