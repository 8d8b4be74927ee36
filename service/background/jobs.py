"""Job runner of a home: one job of a kind at a time, each in a process of its own."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from indexer.core.atomic_files import file_stamp, storage_failure
from indexer.core.errors import (
    BadRequestError,
    DiskFullError,
    JobEndedError,
    NoMemoryError,
    ReadOnlyError,
    ReplacedFileError,
    StorageError,
    UnknownJobError,
)
from indexer.core.file_owner import lock_file, touch
from indexer.core.home import Home
from indexer.core.process_limits import OVER_MEMORY
from indexer.fetch.settings import FetchSettings
from indexer.operations import jobs
from indexer.operations.import_job import upload_name
from indexer.operations.jobs import ENDED, Job, JobKind, JobProblem
from service.background.job_sources import allowed_path, check_sent
from service.background.job_stream import JobStream
from service.background.job_view import public_job
from service.background.leadership import Leadership
from service.background.leftovers import LeftoverSweeper
from service.background.worker_process import WorkerProcess
from service.inference.admission import OverloadedError

_MOST_WAITING = 20  # jobs that wait or run; the next one is refused
_AGAIN_S = 2.0  # after "not now": an import on the command line holds the lock
_RELIST_S = 5.0  # between two readings of a folder that looks unchanged
_ORPHAN_S = 10.0  # age from which a waiting job that nobody owns has lost its service
_OWN_WITHIN_S = 5.0  # a poll that tests the owner's lock holds it for a moment
_CANCEL_WITHIN_S = 1.0  # how long a request waits for the leader to end a job
_CANCEL = "cancel"  # in a job's folder: a request that the leader ends it
_START_AGAIN = "what was committed stays, start it again"
_INTERRUPTED = f"the service was stopped while the job was queued or ran: {_START_AGAIN}"

JobOptions = Mapping[str, Any]


class Upload(Protocol):
    """A file that a client sent."""

    def save(self, dst: Path) -> None:
        """Write it to ``dst``."""
        ...


@dataclass(frozen=True)
class _End:
    """How a job ended, for its folder. ``code``: of its process; None: it has none any more."""

    code: int | None
    reason: str = ""


class JobRunner:
    """The jobs of one home: any service takes them, the leader runs them.

    A job belongs to the service that took it, which holds a lock in its folder while it waits: a
    free lock there means that its service died. What a new leader finds running died with the last.
    """

    name = "jobs"
    longest_wait_s = math.inf

    def __init__(
        self,
        home: Home,
        leadership: Leadership,
        *,
        import_root: Path | None,
        max_upload_bytes: int,
        fetching: FetchSettings | None,
        device: str,
        memory: int = 0,
        streams: int,
        log: Any,
    ) -> None:
        self._home = home
        self._jobs = jobs.Jobs(home)
        self._leadership = leadership
        self._root = import_root
        self._most_bytes = max_upload_bytes
        self._fetching = fetching
        self._device = device
        self._memory = memory
        self._log = log
        self._mutex = threading.RLock()
        self._leads = False
        self._waiting: dict[str, Job] = {}
        self._listed: tuple[object, float] = (None, 0.0)
        self._running: dict[str, WorkerProcess] = {}
        self._owned: dict[str, FileLock] = {}
        self._not_before: dict[str, float] = {}
        # What ended and whose folder does not say so yet: the disk may be full.
        self._ends: dict[str, _End] = {}
        self._untold: set[str] = set()
        # Those that are being cancelled, and those whose folder took no mark for it.
        self._cancelled: set[str] = set()
        self._unmarked: set[str] = set()
        self._sweeper = LeftoverSweeper(home, log)
        self._streams = threading.BoundedSemaphore(streams)

    def close(self) -> None:
        """End what this service runs and give up what it took; both fail as interrupted, what was
        committed stays."""
        with self._mutex:
            with suppress(ReplacedFileError):
                self._release_ended()
            self._interrupt_running()
            for job_id in list(self._owned):
                # Forgotten, or damaged; or the home is gone, and the job is where it went.
                with suppress(ReplacedFileError), self._storing(job_id):
                    if self._jobs.get(job_id).state == "queued":
                        self._fail(job_id, "interrupted", _INTERRUPTED)
                self._forget(job_id)
        self._sweeper.close()

    # -- what clients ask

    @property
    def takes_paths(self) -> bool:
        """Whether there is a folder of this machine that imports may read from."""
        return self._root is not None

    @property
    def takes_urls(self) -> bool:
        """Whether feeds and photos may be fetched."""
        return self._fetching is not None

    def add_import(
        self,
        *,
        upload: Upload | None = None,
        name: str | None = None,
        path: str | None = None,
        url: str | None = None,
        **options: Any,
    ) -> Job:
        """A new import: of an uploaded feed or zip called ``name``, of ``path`` below
        ``import_root``, or of the feed at ``url``.

        Raises ``BadRequestError``, ``BadDataError``, ``OverloadedError``.
        """
        if url is not None or options.get("fetch"):
            options["fetching"] = self._fetch_options("url" if url is not None else "fetch")
        if path is not None:
            options.update(path=str(allowed_path(self._root, path)), root=str(self._root))
            return self._add("import", options)
        options["most_bytes"] = self._most_bytes
        if url is not None:
            return self._add("import", {**options, "url": url})
        return self._add("import", options, upload, upload_name(name))

    def _fetch_options(self, field: str) -> JobOptions:
        """The settings of fetching as a job stores them. Raises ``BadRequestError``."""
        if self._fetching is None:
            raise BadRequestError(
                f"{field}: fetching from addresses is off (setting allow_urls); send the file"
            )
        values = asdict(self._fetching)
        return {**values, **{name: sorted(values[name]) for name in ("private", "hosts")}}

    def add_build(self, **options: Any) -> Job:
        """A new index version of the catalog as it is when its turn comes. Raises
        ``OverloadedError``."""
        return self._add("build", {**options, "device": self._device})

    def add_undo(self, action: str, *, dry_run: bool) -> Job:
        """A new undo of an action on many products. Raises ``OverloadedError``."""
        return self._add("undo", {"action": action, "dry_run": dry_run})

    def get(self, job_id: str) -> Job:
        """A job as clients see it. Raises ``UnknownJobError``."""
        self.poll()
        return self._public(self._jobs.get(job_id))

    def list(self) -> list[Job]:
        """All that are remembered, the newest first, as clients see them."""
        self.poll()
        return [self._public(job) for job in self._jobs.list()]

    def cancel(self, job_id: str) -> Job:
        """End a job: batches that an import committed stay, a build leaves no version. One that
        takes longer than a moment is ``cancelling``. Raises ``JobEndedError``."""
        self.poll()
        job = self._jobs.get(job_id)
        if job.state in ENDED:
            raise JobEndedError(f"job {job_id} is {job.state} already")
        mark = self._jobs.path(job_id) / _CANCEL
        try:
            touch(mark)
        except OSError as error:  # a full disk is what it may be cancelled for
            with self._mutex:
                if not self._leads:
                    raise storage_failure(mark, error) from error
                self._unmarked.add(job_id)
        until = time.monotonic() + _CANCEL_WITHIN_S
        while (job := self.get(job_id)).state not in ENDED and time.monotonic() < until:
            time.sleep(0.05)
        return job

    def watch(self, job_id: str, ending: threading.Event | None = None) -> JobStream:
        """The job's changes until ``ending`` is set; ``close`` it when nobody listens any more.

        Raises ``UnknownJobError``, and ``OverloadedError`` where too many listen: each takes a
        thread of the server.
        """
        self._jobs.get(job_id)
        if not self._streams.acquire(blocking=False):
            raise OverloadedError(
                "too many clients follow jobs: poll GET /v1/jobs/{id} now and then instead"
            )
        return JobStream(self, job_id, self._streams, ending or threading.Event())

    def _public(self, job: Job) -> Job:
        return public_job(self._home, self._jobs, job, cancelling=self._is_marked(job.job_id))

    def _is_marked(self, job_id: str) -> bool:
        """Whether somebody asked to end the job."""
        return job_id in self._unmarked or (self._jobs.folder / job_id / _CANCEL).exists()

    def _add(
        self, kind: JobKind, options: JobOptions, upload: Upload | None = None, name: str = "feed"
    ) -> Job:
        self.poll()
        self._leadership.require_writable()
        found = jobs.entries(self._jobs, ("queued", "running"))
        there = sum(job.job_id not in self._ends for job in found)
        if there >= _MOST_WAITING:
            raise OverloadedError(f"{there} jobs wait or run already: try again later")

        def save(target: Path) -> None:
            if upload is not None:
                upload.save(target)
                check_sent(target, most_bytes=self._most_bytes)

        job = self._jobs.add(kind, options, upload=save if upload is not None else None, name=name)
        lock = self._lock(job.job_id)
        lock.acquire(timeout=_OWN_WITHIN_S)
        with self._mutex:
            self._owned[job.job_id] = lock
            self._listed = (None, 0.0)  # read it now, unless another thread has started it
        self._jobs.forget()
        return self.get(job.job_id)

    # -- running them

    def poll(self) -> None:
        """Note what ended and, where this service leads, end what is to be cancelled and start what
        waits. Never blocks for long, and never raises for a job's own failure; raises as
        ``Home.require``."""
        with self._mutex:
            self._release_ended()
            if not self._leadership.holds():
                self._yield_lead()
                return
            if not self._leads:
                self._find_lost()
                self._leads = True
            self._note_ends()
            self._read_waiting()
            self._cancel_marked()
            self._start_waiting()

    def _yield_lead(self) -> None:
        """End what runs here once another service leads: it has failed these jobs as lost."""
        if not self._leads:
            return
        self._leads = False
        self._waiting.clear()
        self._listed = (None, 0.0)
        self._interrupt_running()

    def _interrupt_running(self) -> None:
        stopped = list(self._running.items())
        for job_id, process in stopped:
            process.stop()
            # The new leader has forgotten it, or the home is gone.
            with suppress(ReplacedFileError), self._storing(job_id):
                if self._jobs.get(job_id).state not in ENDED:
                    self._fail(job_id, "interrupted", _INTERRUPTED)
            self._forget(job_id)
        for job_id in list(self._ends):
            with suppress(ReplacedFileError):
                self._note_end(job_id)
            self._forget(job_id)
        if stopped:
            self._sweeper.start()

    def _find_lost(self) -> None:
        """Find the jobs that a leader left running when it died, and collect what was half made."""
        self._sweeper.start()
        for job in jobs.entries(self._jobs, ("running",)):
            self._ends[job.job_id] = _End(None)

    def _note_ends(self) -> None:
        for job_id, process in list(self._running.items()):
            if (code := process.poll()) is not None:
                del self._running[job_id]
                self._ends[job_id] = _End(code, process.finish()[1])
        for job_id in list(self._ends):
            self._note_end(job_id)

    @contextmanager
    def _storing(self, job_id: str) -> Iterator[None]:
        """A block that stores what became of a job: where the disk takes nothing, a later poll
        does, and the other jobs go on."""
        try:
            yield
        except UnknownJobError:  # an erasure was quicker to forget it
            self._forget(job_id)
        except ReplacedFileError:
            raise
        except (OSError, StorageError, ReadOnlyError) as error:
            if job_id not in self._untold:
                self._untold.add(job_id)
                self._log.error(
                    "the end of a job cannot be stored yet: make room on the disk, or let it be "
                    "written; it is tried again until then",
                    job_id=job_id,
                    error=str(error),
                )

    def _read_waiting(self) -> None:
        """Read which jobs wait, where the folder has changed or some seconds have passed."""
        stamp = file_stamp(self._jobs.folder)
        now = time.monotonic()
        if stamp == self._listed[0] and now - self._listed[1] < _RELIST_S:
            return
        self._listed = (stamp, now)
        found = jobs.entries(self._jobs, ("queued",))
        ours = {*self._running, *self._ends}
        self._waiting = {job.job_id: job for job in found if job.job_id not in ours}
        for job in list(self._waiting.values()):
            if job.job_id not in self._owned and time.time() - job.created > _ORPHAN_S:
                self._fail_orphan(job)

    def _fail_orphan(self, job: Job) -> None:
        """Fail a waiting job whose service died: then its lock is free."""
        try:
            lock = self._lock(job.job_id)
            lock.acquire(timeout=0)
        except (Timeout, OSError, UnknownJobError):
            return
        del self._waiting[job.job_id]
        self._ends[job.job_id] = _End(None)
        self._note_end(job.job_id)
        lock.release()

    def _cancel_marked(self) -> None:
        for job_id in [*self._running, *self._waiting]:
            if not self._is_marked(job_id) or self._jobs.is_made(job_id):
                # Killed for being slow after it made something, it would be called cancelled.
                continue
            process = self._running.get(job_id)
            if process is not None:
                # Nobody waits for it here: the poll that finds it ended says so.
                process.ask_to_end()
                self._cancelled.add(job_id)
            else:
                del self._waiting[job_id]
                self._ends[job_id] = _End(None)
                self._cancelled.add(job_id)
                self._note_end(job_id)

    def _note_cancelled(self, job_id: str) -> None:
        if self._jobs.get(job_id).state not in ENDED:  # else it was quicker
            self._jobs.set(job_id, state="cancelled")
            self._log.info("job cancelled", job_id=job_id)
        self._forget(job_id)

    def _start_waiting(self) -> None:
        busy = {job.kind for job in self._jobs.known(self._running)}
        for job in list(self._waiting.values()):
            waits = self._not_before.get(job.job_id, 0.0) > time.monotonic()
            if not waits and job.kind not in busy:
                busy.add(job.kind)
                self._start(job)

    def _start(self, job: Job) -> None:
        try:
            process = WorkerProcess(
                jobs.__name__, str(self._home.path), job.job_id, memory=self._memory
            )
        except OSError as error:
            with self._storing(job.job_id):
                self._fail(job.job_id, "internal", str(error))
            self._log.error(
                "job cannot be started", job_id=job.job_id, kind=job.kind, error=str(error)
            )
            return
        del self._waiting[job.job_id]
        self._running[job.job_id] = process
        self._log.info("job started", job_id=job.job_id, kind=job.kind)

    def _note_end(self, job_id: str) -> None:
        with self._storing(job_id):
            self._store_end(job_id, self._ends[job_id])

    def _store_end(self, job_id: str, end: _End) -> None:
        code, reason = end.code, end.reason
        if job_id in self._cancelled and not self._jobs.is_made(job_id):
            self._note_cancelled(job_id)
            if code is not None:
                self._sweeper.start()
            return
        job = self._jobs.get(job_id)
        if code == jobs.NOT_NOW:
            del self._ends[job_id]
            self._not_before[job_id] = time.monotonic() + _AGAIN_S
            self._waiting[job_id] = job
        elif job.state in ENDED:
            self._forget(job_id)
            self._log.info(
                "job ended",
                job_id=job_id,
                kind=job.kind,
                state=job.state,
                problem=asdict(job.problem) if job.problem else None,
            )
        elif code is None:
            self._fail(job_id, "interrupted", _INTERRUPTED)
            self._log.warning("job was interrupted", job_id=job_id, kind=job.kind)
        elif code == jobs.NO_ROOM:
            self._fail(job_id, DiskFullError.code, f"{reason}; {_START_AGAIN}")
            self._log.error("job found the disk full", job_id=job_id, kind=job.kind, error=reason)
        elif code == OVER_MEMORY:
            self._fail(job_id, NoMemoryError.code, reason.removeprefix(f"{NoMemoryError.code}: "))
            self._log.error("job took too much memory", job_id=job_id, kind=job.kind, error=reason)
        else:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            detail = f"its process ended with {how} before the work was done: {_START_AGAIN}"
            self._fail(job_id, "worker-died", detail)
            self._log.error("job died", job_id=job_id, kind=job.kind, how=how, reason=reason)

    def _fail(self, job_id: str, code: str, detail: str) -> None:
        self._jobs.set(job_id, state="failed", problem=JobProblem(code, detail))
        self._forget(job_id)

    def _forget(self, job_id: str) -> None:
        """Let go of a job that ended."""
        self._waiting.pop(job_id, None)
        self._running.pop(job_id, None)
        self._not_before.pop(job_id, None)
        self._ends.pop(job_id, None)
        for noted in (self._cancelled, self._unmarked, self._untold):
            noted.discard(job_id)
        if (lock := self._owned.pop(job_id, None)) is not None:
            lock.release()

    def _release_ended(self) -> None:
        """Let go of the jobs of this service that the leader ended, or that were forgotten."""
        for job_id in list(self._owned):
            if job_id in self._running or (self._leads and job_id in self._waiting):
                continue
            try:
                ended = self._jobs.get(job_id).state in ENDED
            except UnknownJobError:
                ended = True
            if ended:
                self._forget(job_id)

    def _lock(self, job_id: str) -> FileLock:
        return lock_file(self._jobs.path(job_id) / jobs.OWNER_LOCK, thread_local=False)
