"""Stream of a job's changes, for a client that follows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Protocol

from indexer.core.errors import UnknownJobError
from indexer.operations.jobs import ENDED, Job

_WATCH_S = 0.25  # between two readings of a job that somebody watches
_BEAT_S = 5.0  # an event that says nothing, so that a client that is gone is noticed
_LONGEST_S = 600.0  # of one stream; clients of server-sent events come back by themselves


class JobSource(Protocol):
    """What knows the jobs of a home."""

    def get(self, job_id: str) -> Job:
        """A job as clients see it. Raises ``UnknownJobError``."""
        ...


class JobStream:
    """The changes of one job as an iterator: None now and then without one; ends with the job, with
    the service, or after ten minutes."""

    def __init__(
        self,
        runner: JobSource,
        job_id: str,
        places: threading.BoundedSemaphore,
        ending: threading.Event,
    ) -> None:
        self._ending = ending
        self._runner = runner
        self._job_id = job_id
        self._places = places

    def close(self) -> None:
        """Give the listener's place to another one."""
        self._places.release()

    def __iter__(self) -> Iterator[Job | None]:
        beat = time.monotonic()
        until = beat + _LONGEST_S
        last: Job | None = None
        while time.monotonic() < until:
            try:
                job = self._runner.get(self._job_id)
            except UnknownJobError:
                return  # forgotten
            if job != last:
                last = job
                beat = time.monotonic()
                yield job
            elif time.monotonic() - beat > _BEAT_S:
                beat = time.monotonic()
                yield None
            if job.state in ENDED:
                return
            if self._ending.wait(_WATCH_S):
                return
