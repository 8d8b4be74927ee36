"""Triggers compaction of the delta into a new index version."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from indexer.core.home import Home
from indexer.operations import compaction
from service.background.leadership import Leadership
from service.background.worker_process import WorkerProcess
from service.state.snapshots import Snapshot, SnapshotManager

# A change without photos (a price) is carried in a few bytes and costs no search anything; too many
# only make the next start slow, which reads them all from the log.
_MOST_CHANGES = 1_000_000
# share of the version's products that were replaced or deleted: each search looks past them
_MOST_DEAD = 0.25
_NOT_NOW_S = 5.0
_AFTER_FAILURE_S, _LONGEST_S = 60.0, 3600.0


class Compactor:
    """One compaction at a time, in a process of its own; nothing here waits for it.

    Between two compactions lies at least as long as the last one took. The leader of the home
    starts them, and the home's build lock keeps them apart from builds on the command line.
    """

    name = "compaction"
    longest_wait_s = math.inf

    def __init__(
        self,
        home: Home,
        serving: SnapshotManager,
        leadership: Leadership,
        *,
        max_delta: int,
        device: str,
        memory: int = 0,
        log: Any,
    ) -> None:
        self._home = home
        self._serving = serving
        self._leadership = leadership
        self._log = log
        self._max_delta = max_delta
        self._device = device
        self._memory = memory
        self._process: WorkerProcess | None = None
        self._began = 0.0
        self._next = 0.0
        # The version under the delta, and when its first write was seen.
        self._since: tuple[str, float] | None = None
        self.done = 0  # compactions of this process
        self.failed = 0
        self.last_s: float | None = None  # how long the last one took

    @property
    def running(self) -> bool:
        return self._process is not None

    def age_s(self) -> float:
        """Seconds since this process first saw a write that the version does not hold; 0 where
        there is none."""
        snapshot = self._serving.current
        since = self._since
        if snapshot is None or since is None or since[0] != snapshot.index_version:
            return 0.0
        return time.monotonic() - since[1]

    def poll(self) -> None:
        """Start a compaction where one is due, or note that one ended; never blocks."""
        snapshot = self._serving.current
        if snapshot is None:
            return
        if snapshot.live.sequence == snapshot.live.base.manifest.last_sequence:
            self._since = None
        elif self._since is None or self._since[0] != snapshot.index_version:
            self._since = (snapshot.index_version, time.monotonic())
        if self._process is not None:
            if (code := self._process.poll()) is not None:
                self._note_end(self._process, code)
        elif (
            time.monotonic() >= self._next
            and (why := self._due(snapshot))
            and self._leadership.holds()
        ):
            self._start(snapshot, why)

    def close(self) -> None:
        """End a compaction in work; a build that was stopped leaves nothing that serves."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def _due(self, snapshot: Snapshot) -> str | None:
        """Why a compaction is due now, in words; None where it is not."""
        if not self._max_delta:
            return None
        live, manifest = snapshot.live, snapshot.live.base.manifest
        if live.delta_size > self._max_delta:
            return f"{live.delta_size} photos in the delta, {self._max_delta} are enough"
        changes = live.sequence - manifest.last_sequence
        if changes > _MOST_CHANGES:
            return f"{changes} changes since the version"
        lost = manifest.counts["products"] - live.product_count
        if lost > max(self._max_delta, _MOST_DEAD * manifest.counts["products"]):
            return f"{lost} products fewer than in the version"
        return None

    def _start(self, snapshot: Snapshot, why: str) -> None:
        arguments = (str(self._home.path), snapshot.index_version, self._device)
        try:
            self._process = WorkerProcess(compaction.__name__, *arguments, memory=self._memory)
        except OSError as error:
            self._note_failure(str(error))
            return
        self._began = time.monotonic()
        self._log.info("compaction started", index_version=snapshot.index_version, why=why)

    def _note_end(self, process: WorkerProcess, code: int) -> None:
        self._process = None
        seconds = time.monotonic() - self._began
        printed, reason = process.finish()
        if code == 0:
            self.done += 1
            self.last_s = seconds
            self._next = time.monotonic() + seconds
            # Its own seconds are those of the build alone.
            report = json.loads(printed) | {"seconds": round(seconds, 2)}
            self._log.info("compaction done", **report)
        elif code == compaction.NOT_NOW:
            self._next = time.monotonic() + _NOT_NOW_S
        else:
            self._note_failure(reason or f"exit code {code}")

    def _note_failure(self, reason: str) -> None:
        self.failed += 1
        self._next = time.monotonic() + min(
            _LONGEST_S, _AFTER_FAILURE_S * 2 ** min(self.failed - 1, 6)
        )
        self._log.error(
            "compaction failed; the delta goes on growing", error=reason, failures=self.failed
        )
