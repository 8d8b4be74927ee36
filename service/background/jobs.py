"""Runs the home's jobs beside the answers: one of a kind at a time, each in a process
of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import indexer
from indexer.core.errors import BadRequestError, CatalensError, JobEndedError, UnknownJobError
from indexer.core.home import Home
from indexer.core.timer import StageTimer
from indexer.operations import jobs
from indexer.operations.archives import check_archive
from indexer.operations.garbage_collection import sweep
from indexer.operations.jobs import ENDED, Job, JobKind
from service.inference.admission import OverloadedError
from service.state.snapshots import Snapshot

_MOST_WAITING = 20  # queued jobs; the next one is refused
_PATIENCE_S = 10.0  # for a cancelled process, before it is killed
_AGAIN_S = 2.0  # after "not now": an import on the command line holds the lock
_LOOK_S = 0.25  # between two looks at a job that somebody watches
_BEAT_S = 5.0  # a line that says nothing, so that a client that is gone is noticed
_LONGEST_S = 600.0  # of one stream; clients of server-sent events come back by themselves


class JobRunner:
    """Part of the engine. ``look`` starts what waits and notes what ended; the watcher and every
    question call it.

    A job is owned by the service that took it, which holds a lock in the job's folder; the lock of
    a service that died is free, which is how the next one knows that nobody will end the job.
    """

    def __init__(
        self,
        home: Home,
        *,
        import_root: Path | None,
        max_upload_bytes: int,
        device: str,
        streams: int,
        snapshot: Callable[[], Snapshot | None],
        answer: Callable[..., dict[str, Any]],
        log: Any,
    ) -> None:
        self._home, self._jobs, self._root = home, jobs.Jobs(home), import_root
        self._most_bytes, self._device, self._log = max_upload_bytes, device, log
        self._snapshot, self._answer = snapshot, answer
        self._looking = threading.RLock()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._owned: dict[str, FileLock] = {}
        self._not_before: dict[str, float] = {}
        self._streams = threading.BoundedSemaphore(streams)

    def start(self) -> None:
        """Mark the jobs that a service left when it died as failed."""
        for job in list(jobs.entries(self._jobs, ("queued", "running"))):
            lock = self._lock(job.job_id)
            try:
                lock.acquire(timeout=0)
            except (Timeout, OSError):
                continue  # another service of this home has it, or nothing can be written here
            detail = (
                "the service was stopped while the job was queued or ran: what was committed "
                "stays, start it again"
            )
            self._jobs.set(
                job.job_id, state="failed", problem={"code": "interrupted", "detail": detail}
            )
            lock.release()
            self._log.warning("job was interrupted", job_id=job.job_id, kind=job.kind)

    def close(self) -> None:
        """End what runs; its jobs are failed, what they committed stays."""
        with self._looking:
            for job_id in list(self._owned):
                if job_id in self._running:
                    self._end(self._running.pop(job_id))
                detail = (
                    "the service was stopped while the job was queued or ran: what was committed "
                    "stays"
                )
                self._finished(
                    job_id, state="failed", problem={"code": "interrupted", "detail": detail}
                )

    # -- what clients ask

    def add_import(
        self,
        *,
        archive: Callable[[Path], None] | None = None,
        path: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """A new import: of an uploaded zip (``archive`` writes it to a path), or of ``path`` below
        ``import_root``.

        Raises ``BadRequestError``, ``BadDataError``, ``OverloadedError``.
        """
        if archive is None:
            options.update(path=str(self._allowed(path or "")), root=str(self._root))
            return self._add("import", options)

        def checked(target: Path) -> None:
            archive(target)
            check_archive(target, most_bytes=self._most_bytes)

        return self._add("import", {**options, "most_bytes": self._most_bytes}, checked)

    def add_build(self, **options: Any) -> dict[str, Any]:
        """A new index version of the catalog as it is when its turn comes. Raises
        ``OverloadedError``."""
        return self._add("build", {**options, "device": self._device})

    def get(self, job_id: str) -> dict[str, Any]:
        """Raises ``UnknownJobError``."""
        self.look()
        return self._answer(self._snapshot(), StageTimer(), **self.shown(self._jobs.get(job_id)))

    def list(self) -> dict[str, Any]:
        """``jobs``: all that are remembered, the newest first."""
        self.look()
        return self._answer(
            self._snapshot(), StageTimer(), jobs=[self.shown(job) for job in self._jobs.list()]
        )

    def shown(self, job: Job) -> dict[str, Any]:
        """A job as clients see it: no path of this machine."""
        fields = asdict(job)
        fields["options"] = {
            k: v
            for k, v in job.options.items()
            if k not in ("path", "root", "device", "most_bytes")
        }
        if job.problem is not None:
            fields["problem"] = {**job.problem, "detail": self._told(job, job.problem)}
        return fields

    def _told(self, job: Job, problem: Mapping[str, str]) -> str:
        if problem["code"] == "internal":
            return "an unexpected failure; the service's log says why"
        detail = problem["detail"]
        places = {
            self._jobs.folder / job.job_id / "unpacked": "the archive",
            self._home.path: "the home",
        }
        if job.options.get("root") is not None:
            places = {Path(job.options["root"]): "the folder that imports may read from", **places}
        for place, name in sorted(places.items(), key=lambda pair: -len(str(pair[0]))):
            for path in {str(place), str(place.resolve())}:
                detail = detail.replace(f"{path}{os.sep}", "").replace(path, name)
        return detail

    def cancel(self, job_id: str) -> dict[str, Any]:
        """End a job: batches that an import committed stay, a build leaves no version. Raises
        ``JobEndedError``."""
        with self._looking:
            self.look()
            job = self._jobs.get(job_id)
            if job.state in ENDED:
                raise JobEndedError(f"job {job_id} is {job.state} already")
            if job_id not in self._owned:
                raise BadRequestError(
                    f"job {job_id} belongs to another service of this home: cancel it there"
                )
            running = self._running.pop(job_id, None)
            if running is not None:
                self._end(running)
                if self._jobs.get(job_id).state in ENDED:  # it was quicker
                    self._release(job_id)
                    return self.get(job_id)
            self._finished(job_id, state="cancelled")
            self._log.info("job cancelled", job_id=job_id, kind=job.kind)
        return self.get(job_id)

    def watch(self, job_id: str) -> tuple[Iterator[Job | None], Callable[[], None]]:
        """What becomes of a job: each change, None now and then without one; ends with it, or after
        ten minutes.

        Call the second when nobody listens any more. Raises ``UnknownJobError``, and
        ``OverloadedError`` where too many listen: each takes a thread of the server.
        """
        self._jobs.get(job_id)
        if not self._streams.acquire(blocking=False):
            raise OverloadedError(
                "as many clients follow jobs as may: ask GET /v1/jobs/{id} now and then instead"
            )
        return self._changes(job_id), self._streams.release

    def _changes(self, job_id: str) -> Iterator[Job | None]:
        until, beat = time.monotonic() + _LONGEST_S, time.monotonic()
        last: Job | None = None
        while time.monotonic() < until:
            self.look()
            try:
                job = self._jobs.get(job_id)
            except UnknownJobError:
                return  # forgotten
            if job != last:
                last, beat = job, time.monotonic()
                yield job
            elif time.monotonic() - beat > _BEAT_S:
                beat = time.monotonic()
                yield None
            if job.state in ENDED:
                return
            time.sleep(_LOOK_S)

    # -- running them

    def look(self) -> None:
        """Note what ended and start what waits. Never blocks for long, and never raises for a job's
        own failure."""
        if not self._owned:
            return
        with self._looking:
            for job_id, running in list(self._running.items()):
                if (code := running.poll()) is not None:
                    del self._running[job_id]
                    self._ended(job_id, code)
            busy = {self._jobs.get(job_id).kind for job_id in self._running}
            for job in list(jobs.entries(self._jobs, ("queued",))):
                waits = self._not_before.get(job.job_id, 0.0) > time.monotonic()
                if (
                    job.job_id in self._owned
                    and job.job_id not in self._running
                    and not waits
                    and job.kind not in busy
                ):
                    busy.add(job.kind)
                    self._begin(job)

    def _add(
        self,
        kind: JobKind,
        options: Mapping[str, Any],
        upload: Callable[[Path], None] | None = None,
    ) -> dict[str, Any]:
        self.look()
        if len(self._owned) >= _MOST_WAITING:
            raise OverloadedError(f"{len(self._owned)} jobs wait or run already: try again later")
        job = self._jobs.add(kind, options, upload=upload)
        lock = self._lock(job.job_id)
        lock.acquire(timeout=0)
        with self._looking:
            self._owned[job.job_id] = lock
        self._jobs.forget()
        return self.get(job.job_id)

    def _begin(self, job: Job) -> None:
        root = str(Path(indexer.__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", jobs.__name__, str(self._home.path), job.job_id]
        # One thread, as a fold has: what answers has the other cores.
        env = {**os.environ, "PYTHONPATH": path, "CATALENS_THREADS": "1", "OMP_NUM_THREADS": "1"}
        silent = subprocess.DEVNULL
        try:
            process = subprocess.Popen(command, stdin=silent, stdout=silent, stderr=silent, env=env)
        except OSError as error:
            self._finished(
                job.job_id, state="failed", problem={"code": "internal", "detail": str(error)}
            )
            self._log.error(
                "job cannot be started", job_id=job.job_id, kind=job.kind, error=str(error)
            )
            return
        self._running[job.job_id] = process
        self._log.info("job started", job_id=job.job_id, kind=job.kind)

    def _ended(self, job_id: str, code: int) -> None:
        job = self._jobs.get(job_id)
        if code == jobs.NOT_NOW:
            self._not_before[job_id] = time.monotonic() + _AGAIN_S
        elif job.state in ENDED:
            self._release(job_id)
            self._log.info(
                "job ended", job_id=job_id, kind=job.kind, state=job.state, problem=job.problem
            )
        else:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            detail = (
                f"its process ended with {how} before the work was done: what was committed stays, "
                "start it again"
            )
            self._finished(
                job_id, state="failed", problem={"code": "worker-died", "detail": detail}
            )
            self._log.error("job died", job_id=job_id, kind=job.kind, how=how)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Stop a process, and take away what it had half made."""
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        try:
            sweep(self._home, after_s=0.0)  # of processes that are gone
        except (CatalensError, OSError) as error:
            self._log.warning("leftovers of a job stay for now", error=str(error))

    def _finished(self, job_id: str, **changes: Any) -> None:
        self._jobs.set(job_id, **changes)
        self._release(job_id)

    def _release(self, job_id: str) -> None:
        lock = self._owned.pop(job_id, None)
        if lock is not None:
            lock.release()
        self._not_before.pop(job_id, None)

    def _lock(self, job_id: str) -> FileLock:
        return FileLock(self._jobs.path(job_id) / "owner.lock", thread_local=False)

    def _allowed(self, path: str) -> Path:
        """``path`` (relative to the root, or absolute) if it lies below ``import_root``, links
        resolved."""
        if self._root is None:
            raise BadRequestError(
                "path: imports from folders of this machine are off (setting import_root); upload "
                "an archive"
            )
        try:
            found = (self._root / path).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):
            found = None
        # One message for both, so that nobody learns what lies elsewhere on this machine.
        if found is None or not found.is_relative_to(self._root):
            raise BadRequestError(
                f"path: nothing at {path[:200]!r} below the folder that imports may read from"
            )
        return found
