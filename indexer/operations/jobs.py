"""Jobs of a home (imports, builds, undos) as folders, each run by a process of low priority.

python -m indexer.operations.jobs HOME JOB_ID

exit 0 ended (well or not: the folder says), 75 not now (busy), 74 the disk is full.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, is_dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from indexer.core.actor import acting, current_actor
from indexer.core.atomic_files import (
    close_file,
    file_stamp,
    folder_aside,
    publish_folder,
    read_sealed_json,
    remove_folder,
    storage_failure,
    write_sealed_json,
    written_aside,
)
from indexer.core.disk_failures import disk_failure, is_disk_full
from indexer.core.errors import BusyError, CatalensError, NoMemoryError, UnknownJobError
from indexer.core.file_owner import touch
from indexer.core.home import Home
from indexer.core.home_clock import latest_time
from indexer.core.parent_process import end_with_parent
from indexer.core.process_limits import (
    is_out_of_memory,
    limit_import,
    limit_worker,
    release_freed_memory,
)
from indexer.core.progress import OnStage
from indexer.core.regular_files import read_json
from indexer.core.stamped_cache import StampedCache
from indexer.operations.job_redaction import without_names

JobKind = Literal["import", "build", "undo"]
# "cancelling" is never stored: it was asked to end and has not yet.
JobState = Literal["queued", "running", "cancelling", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
NOT_NOW = 75  # EX_TEMPFAIL: another process holds the lock
NO_ROOM = 74  # EX_IOERR: the disk is full, so that the folder could not say how it ended
_KEPT = 100  # ended jobs that are remembered
# Of ended ones, what a process keeps in memory: how many, and bytes of their files.
_KNOWN, _KNOWN_BYTES = 4 * _KEPT, 16 << 20
LISTED = 100  # left-out rows that a result names
_EVERY_S = 0.1  # between two reports of progress
_ID = re.compile(r"[0-9a-f]{32}")
_JOB, _PROGRESS = "job.json", "progress.json"
# Of a build whose version stands, or an undo that is made: such a job is not cancelled any more.
_MADE = "made"
# Of a job that ran while products were erased, which its report may name.
_ERASED = "erased"
_UNREADABLE = "its file is damaged (catalens verify); start it again"
_NO_MEMORY = {
    "import": (
        "this takes more memory than a job may: import the feed in parts, or raise the setting "
        "job_memory; what was committed stays"
    ),
    "build": (
        "the machine has not the memory that the build asked for: give it more, or raise the "
        "setting job_memory; no version was made"
    ),
    "undo": (
        "this takes more memory than a job may: raise the setting job_memory; what came back "
        "stays, undo it again for the rest"
    ),
}
OWNER_LOCK = "owner.lock"  # held by the service that waits for the job
UPLOAD = "upload"  # folder of the one file that was sent or fetched
# The fields of a job that waits.
_NOT_BEGUN: Mapping[str, Any] = {
    "state": "queued",
    "started": None,
    "ended": None,
    "result": None,
    "problem": None,
    "stage": None,
    "done": 0,
    "total": 0,
}


@dataclass(frozen=True)
class JobProblem:
    """Why a job failed."""

    code: str
    detail: str


@dataclass(frozen=True)
class Job:
    """One job as its folder says. Times in seconds since 1970."""

    job_id: str
    kind: JobKind
    options: Mapping[str, Any]
    created: float
    state: JobState
    started: float | None
    ended: float | None
    result: Mapping[str, Any] | None  # of a job that is done
    problem: JobProblem | None  # of one that failed
    stage: str | None
    done: int
    total: int
    number: int = 0  # above all before: by no clock

    @classmethod
    def read(cls, stored: Mapping[str, Any], job_id: str) -> Job:
        """The job that ``job.json`` in the folder ``job_id`` holds; what it does not say is as
        before the start.

        Raises ``ValueError`` for what is no job, or another one: its id names what is deleted.
        """
        job: Job = _job_type().validate_python({**_NOT_BEGUN, **stored})
        if job.job_id != job_id:
            raise ValueError(f"it is of a job {job.job_id[:40]!a}")
        return job


@dataclass(frozen=True)
class JobProgress:
    """How far a job is, as ``progress.json`` says."""

    stage: str
    done: int
    total: int


@cache
def _job_type() -> TypeAdapter[Job]:
    return TypeAdapter(Job)


@cache
def _progress_type() -> TypeAdapter[JobProgress]:
    return TypeAdapter(JobProgress)


class Jobs:
    """The jobs of one home. Cheap to make; each change is one renamed file, so a reader never sees
    half of one."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.folder = home.path / "jobs"
        # Listed again and again, and written by nobody any more but an erasure.
        self._ended: StampedCache[Job] = StampedCache(_KNOWN, _KNOWN_BYTES)

    def add(
        self,
        kind: JobKind,
        options: Mapping[str, Any],
        *,
        upload: Callable[[Path], None] | None = None,
        name: str = "feed",
    ) -> Job:
        """A new job, queued, of whoever acts (``by`` of its options).

        ``upload`` writes the file that it reads, called ``name``, to the path it is given. Raises
        as ``Home.require``, and ``StorageError``; then nothing of it stays.
        """
        job_id = uuid.uuid4().hex
        try:
            self._home.make_folder(self.folder)
            with folder_aside(self.folder / job_id) as aside:
                if upload is not None:
                    (aside / UPLOAD).mkdir()
                    upload(aside / UPLOAD / name)
                number = 1 + max((job.number for job in self.list()), default=0)
                # After the upload, which may take longer than a job may stay without an owner.
                named = {**options, "by": current_actor()}
                job = Job(job_id, kind, named, time.time(), **_NOT_BEGUN, number=number)
                write_sealed_json(aside / _JOB, asdict(job), private=True)
                self._home.require()  # an upload may take minutes
                publish_folder(aside, self.folder / job_id)
        except OSError as error:
            raise storage_failure(self.folder, error) from error
        return job

    def path(self, job_id: str) -> Path:
        """A job's folder. Raises ``UnknownJobError``, and as ``Home.require``: jobs of a home that
        is gone are not forgotten."""
        folder = self.folder / job_id
        self._home.require()
        if not _ID.fullmatch(job_id) or not (folder / _JOB).is_file():
            raise UnknownJobError(f"no job {job_id[:64]!r}")
        return folder

    def get(self, job_id: str) -> Job:
        """Raises ``UnknownJobError``."""
        folder = self.path(job_id)
        job = self._ended.get(folder / _JOB)
        if job is None:
            stamp = file_stamp(folder / _JOB)
            job = self._read(folder)
            if job.state in ENDED:
                self._ended.put(folder / _JOB, stamp, job)
        return job

    def _read(self, folder: Path) -> Job:
        try:
            close_file(folder / _JOB)
            job = Job.read(read_stored(folder), folder.name)
        except (OSError, ValueError) as error:
            raise UnknownJobError(f"job {folder.name} cannot be read: {_UNREADABLE}") from error
        try:
            made = _progress_type().validate_python(read_json(folder / _PROGRESS))
            return replace(job, **asdict(made))
        except (OSError, ValueError):
            return job  # it has not begun

    def list(self, *, ended: bool = True) -> list[Job]:
        """All that are remembered, the newest first; ``ended`` False: not those that are known to
        have ended, which are not read for it. Raises as ``Home.require``."""
        self._home.require()
        folders = self.folder.glob("[0-9a-f]*") if self.folder.is_dir() else ()
        known = self._ended.is_known
        names = (one.name for one in folders if ended or not known(one / _JOB))
        return sorted(self.known(names), key=lambda job: (-job.number, -job.created, job.job_id))

    def known(self, job_ids: Iterable[str]) -> Iterator[Job]:
        """Those of ``job_ids`` that are remembered: an erasure forgets ended ones at any time."""
        for job_id in job_ids:
            with suppress(UnknownJobError):
                yield self.get(job_id)

    def set(self, job_id: str, **changes: Any) -> Job:
        """Change what ``job.json`` says; one process at a time does so. What a job that ended
        brought along goes."""
        folder = self.path(job_id)
        try:
            stored = read_stored(folder)
        except (OSError, ValueError) as error:
            raise UnknownJobError(f"job {job_id} cannot be read: {_UNREADABLE}") from error
        if changes.get("state") in ENDED:
            changes.setdefault("ended", latest_time(self._home))
            for brought in (UPLOAD, "unpacked"):
                shutil.rmtree(folder / brought, ignore_errors=True)
        stored |= {name: _plain(value) for name, value in changes.items()}
        if stored.get("state") in ENDED and (folder / _ERASED).exists():
            stored = without_names(stored)
        write_sealed_json(folder / _JOB, stored, private=True)
        return self.get(job_id)

    def mark_made(self, job_id: str) -> None:
        """Note that what a job makes stands: from now on it cannot be cancelled."""
        touch(self.folder / job_id / _MADE)

    def is_made(self, job_id: str) -> bool:
        """Whether what a job makes stands."""
        return (self.folder / job_id / _MADE).exists()

    def report(self, job_id: str, stage: str, done: int, total: int) -> None:
        """Store the progress of a job. Not flushed: progress is worth nothing after a crash."""
        folder = self.folder / job_id
        with written_aside(folder / _PROGRESS, flush=False) as aside:
            aside.write_text(json.dumps({"stage": stage, "done": done, "total": total}))

    def forget(self, *, keep: int = _KEPT, ended_before: float = math.inf) -> int:
        """Remove jobs that ended before that time (seconds since 1970) but the newest ``keep``; how
        many."""
        ended = [job for job in self.list() if job.state in ENDED][keep:]
        doomed = [job for job in ended if (job.ended or job.created) < ended_before]
        for job in doomed:
            remove_folder(self.folder / job.job_id)
        return len(doomed)

    def have_ended(self, before: float) -> bool:
        """Whether a job ended before that time (seconds since 1970)."""
        ages = (job.ended or job.created for job in self.list() if job.state in ENDED)
        return any(age < before for age in ages)

    def redact(self) -> None:
        """Take out of the reports of jobs what may name a product, such as rows of a feed; of those
        that run when they end.

        That there was the job, how it ended and its counts stay: whoever started it finds it.
        """
        for job in self.list():
            folder = self.folder / job.job_id
            with suppress(FileNotFoundError, ValueError):  # forgotten meanwhile, or damaged
                if job.state == "running":
                    touch(folder / _ERASED)
                # Read after the mark: whoever ended it before did not see that.
                stored = read_stored(folder)
                redacted = without_names(stored) if stored.get("state") in ENDED else stored
                if redacted != stored:
                    write_sealed_json(folder / _JOB, redacted, private=True)


def read_stored(folder: Path) -> dict[str, Any]:
    """What ``job.json`` says. Raises ``OSError``, ``ValueError`` where it is damaged: with one
    changed byte a dry run is none."""
    return read_sealed_json(folder / _JOB)


# -- the process


def run(home: Home, job_id: str, *, on_made: Callable[[], object] = lambda: None) -> None:
    """Do the work of a job and note how it ended.

    ``on_made`` is called once a build's version stands, or all that an undo brings back is there:
    from then on it is not cancelled. Raises ``BusyError`` where the lock is held; the job then
    stays queued.
    """
    jobs = Jobs(home)
    job = jobs.get(job_id)
    jobs.set(job_id, state="running", started=time.time())
    progress = _throttled(partial(jobs.report, job_id))
    try:
        with acting(str(job.options.get("by", ""))):
            if job.kind == "import":
                from indexer.operations.import_job import import_upload

                result = import_upload(home, jobs.path(job_id), job.options, progress)
            else:
                work, last_stage = (_undo, "undo") if job.kind == "undo" else (_build, "publish")

                def made() -> None:
                    on_made()
                    jobs.mark_made(job_id)

                result = work(home, job, _watched(progress, last_stage, made))
    except BusyError:
        jobs.set(job_id, state="queued", started=None)
        raise
    except CatalensError as error:
        jobs.set(job_id, state="failed", problem=JobProblem(error.code, str(error)))
    except Exception as error:
        problem = JobProblem("internal", f"{type(error).__name__}: {error}")
        if is_out_of_memory(error):
            problem = JobProblem(NoMemoryError.code, _NO_MEMORY[job.kind])
        elif (failure := disk_failure(error, home.path)) is not None:
            problem = JobProblem(failure.code, str(failure))
        jobs.set(job_id, state="failed", problem=problem)
    else:
        jobs.set(job_id, state="done", result=result)


def _build(home: Home, job: Job, progress: OnStage) -> dict[str, Any]:
    from indexer.index_build.pipeline import BuildOptions, build_index
    from indexer.model.registry import by_version, resolve
    from indexer.operations.automatic_export import choose_exported

    given = {
        name: job.options[name]
        for name in ("recall", "device")
        if job.options.get(name) is not None
    }
    options = BuildOptions(**given)
    model = job.options.get("model")
    # Never a folder of this machine: the name came over HTTP.
    bundle = resolve(home, None) if model is None else by_version(home, str(model))
    choice = choose_exported(home, bundle, device=options.device, progress=progress)
    report = build_index(
        home,
        choice.bundle,
        options,
        activate=bool(job.options.get("activate")),
        progress=progress,
    )
    result = {name: _plain(value) for name, value in vars(report).items() if name != "estimated"}
    return result | {"export": choice.reason} | limited("skipped", result["skipped"])


def _undo(home: Home, job: Job, progress: OnStage) -> dict[str, Any]:
    from indexer.catalog.store import open_catalog
    from indexer.operations.undo import undo

    with open_catalog(home) as catalog:
        done = undo(
            home,
            catalog,
            str(job.options.get("action", "")),
            dry_run=bool(job.options.get("dry_run")),
            progress=partial(progress, "undo"),
        )
    return asdict(done)


def limited(name: str, entries: list[Any]) -> dict[str, Any]:
    """The first entries of a list that a job's result holds, and how many there are."""
    return {name: entries[:LISTED], f"{name}_total": len(entries)}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value.item() if hasattr(value, "item") else value


def _watched(report: OnStage, last_stage: str, on_made: Callable[[], object]) -> OnStage:
    """``report``, and a call once the last stage is over."""

    def progress(stage: str, done: int, total: int, note: str = "", /) -> None:
        if (stage, done) == (last_stage, total):
            on_made()
        report(stage, done, total, note)

    return progress


def _throttled(report: Callable[[str, int, int], None]) -> OnStage:
    """``report`` at most every tenth of a second, but always of a stage's beginning and end."""
    last: tuple[str, float] = ("", 0.0)

    def progress(stage: str, done: int, total: int, note: str = "", /) -> None:
        nonlocal last
        now = time.monotonic()
        if stage != last[0] or done >= total or now - last[1] >= _EVERY_S:
            last = (stage, now)
            report(stage, done, total)

    return progress


def main(arguments: list[str]) -> int:
    """Entry point of the process that the service starts."""
    import structlog

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    # as compaction has it: behind what answers, but not without any time beside a busy service
    if hasattr(os, "nice"):
        os.nice(10)
    # Cancelled: what is being made is tidied up on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    end_with_parent()
    home, job_id = arguments
    if Jobs(Home(home)).get(job_id).kind == "import":
        limit_import()
        release_freed_memory()
    else:
        limit_worker()
    try:
        # What stands, and may serve in a moment, must not be called cancelled.
        run(
            Home(home),
            job_id,
            on_made=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
        )
    except BusyError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return NOT_NOW
    except (CatalensError, OSError) as error:
        if not is_disk_full(error):
            raise
        print(disk_failure(error, Path(home)), file=sys.stderr)
        return NO_ROOM
    return 0


def entries(jobs: Jobs, states: tuple[str, ...]) -> Iterator[Job]:
    """The jobs in one of ``states`` of those that have not ended, the oldest first."""
    yield from (job for job in reversed(jobs.list(ended=False)) if job.state in states)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
