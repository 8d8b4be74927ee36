"""Schedule of feeds that are kept in step: the leader of a home runs each when it is due."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from indexer.core.errors import CatalensError
from indexer.core.home import Home
from indexer.fetch.settings import FetchSettings
from indexer.operations import sync
from indexer.operations.sync_source import SyncRun, SyncSource, SyncSources
from service.background.leadership import Leadership
from service.background.worker_process import WorkerProcess

_EVERY_S = 5.0
# A source whose process could not even start, or ended without a run, is tried again after this.
_AGAIN_S = 300.0
# One that another process was in the way of, after this.
_BUSY_S = 30.0


class SyncSchedule:
    """Runs one source at a time, each in a process of low priority."""

    name = "sync"
    longest_wait_s = 5.0

    def __init__(
        self,
        home: Home,
        leadership: Leadership,
        fetching: FetchSettings,
        *,
        memory: int = 0,
        log: Any,
    ) -> None:
        self._home = home
        self._leadership = leadership
        self._sources = SyncSources(home)
        self._memory = memory
        self._log = log
        values = asdict(fetching)
        for name in ("private", "hosts"):
            values[name] = sorted(values[name])
        self._settings = json.dumps(values)
        self._process: WorkerProcess | None = None
        self._running = ""
        self._started = 0.0
        self._reported: set[str] = set()
        self._next = 0.0
        self._not_before: dict[str, float] = {}

    def poll(self) -> None:
        """Note what ended, and start what is due; never blocks for long."""
        if self._process is not None:
            code = self._process.poll()
            if code is None and self._leadership.holds():
                return
            self._note_end(self._process, code)
        if time.monotonic() < self._next or not self._leadership.holds():
            return
        self._next = time.monotonic() + _EVERY_S
        due = self._due()
        if due is not None:
            self._start(due)

    def close(self) -> None:
        """End what runs: what was committed stays, and it is due again at once."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def _due(self) -> SyncSource | None:
        """The source that waits longest."""
        now = time.time()
        for text in sorted({str(error) for error in self._sources.damaged()} - self._reported):
            self._reported.add(text)
            self._log.error("feed cannot be read", error=text)
        sources = self._sources.all()
        waiting = [
            (self._sources.next_due(source), source)
            for source in sources
            if self._not_before.get(source.name, 0.0) <= time.monotonic()
        ]
        ready = [(at, source) for at, source in waiting if at <= now]
        return min(ready, key=lambda pair: pair[0])[1] if ready else None

    def _start(self, source: SyncSource) -> None:
        self._not_before[source.name] = time.monotonic() + _AGAIN_S
        try:
            self._process = WorkerProcess(
                sync.__name__,
                str(self._home.path),
                source.name,
                self._settings,
                memory=self._memory,
            )
        except OSError as error:
            self._log.error("feed cannot be run", feed=source.name, error=str(error))
            return
        self._running = source.name
        self._started = time.time()
        self._log.info("feed runs", feed=source.name)

    def _note_end(self, process: WorkerProcess, code: int | None) -> None:
        self._process = None
        if code is None:
            # Another service leads now, and will run it.
            process.stop()
            return
        output, failure = process.finish()
        if code == sync.BUSY:
            self._not_before[self._running] = time.monotonic() + _BUSY_S
            self._log.info("feed waits", feed=self._running, reason=failure)
            return
        if code != 0:
            self._log.error("feed run ended", feed=self._running, code=code, error=failure)
            self._remember_failure(code, failure)
            return
        self._not_before.pop(self._running, None)
        found = json.loads(output.splitlines()[-1])
        report = self._log.info if found["outcome"] in ("done", "unchanged") else self._log.warning
        report("feed run ended", feed=self._running, **found)

    def _remember_failure(self, code: int, failure: str) -> None:
        """A run for the history, where the process ended before it could write one: killed for its
        memory, for example."""
        name = self._running
        if not self._sources.has(name):
            return
        runs = self._sources.runs(name)
        if runs and runs[0].started >= self._started:
            return
        reason = f"its process ended with status {code}{f': {failure}' if failure else ''}"[:500]
        try:
            self._sources.add_run(name, SyncRun(self._started, time.time(), "failed", reason))
        except CatalensError as error:
            self._log.error("feed run cannot be remembered", feed=name, error=str(error))
