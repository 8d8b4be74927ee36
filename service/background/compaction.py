"""Keeps the delta bounded: has it folded into a new version, beside the one that answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import indexer
from indexer.core.home import Home
from indexer.operations import compaction
from service.state.snapshots import Snapshot, SnapshotManager

# A change without photos (a price) is carried in a few bytes and costs no search anything; too many
# only make the next start slow, which reads them all from the log.
_MOST_CHANGES = 1_000_000
# share of the version's products that were replaced or deleted: each search looks past them
_MOST_DEAD = 0.25
_NOT_NOW_S = 5.0
_AFTER_FAILURE_S, _LONGEST_S = 60.0, 3600.0


class Compactor:
    """One fold at a time, in a process of its own with low priority; nothing here waits for it.

    A process, and not a thread: building holds Python's lock for seconds and FAISS's threads take
    the cores. Between two folds lies at least as long as the last one took. Several services of one
    home may start one at once; the home's build lock lets one of them work.
    """

    def __init__(
        self, home: Home, serving: SnapshotManager, *, max_delta: int, device: str, log: Any
    ) -> None:
        self._home, self._serving, self._log = home, serving, log
        self._max_delta, self._device = max_delta, device
        self._process: subprocess.Popen[bytes] | None = None
        self._output: tuple[IO[bytes], IO[bytes]] | None = None
        self._began = self._next = 0.0
        self._since: tuple[str, float] | None = (
            None  # the version under the delta, and when its first write was seen
        )
        self.done = self.failed = 0  # folds of this process
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

    def look(self) -> None:
        """Start a fold where one is due, or take note of one that ended. Called by the watcher;
        never blocks."""
        snapshot = self._serving.current
        if snapshot is None:
            return
        if snapshot.live.sequence == snapshot.live.base.manifest.last_sequence:
            self._since = None
        elif self._since is None or self._since[0] != snapshot.index_version:
            self._since = (snapshot.index_version, time.monotonic())
        if self._process is not None:
            if self._process.poll() is not None:
                self._ended(self._process.returncode)
        elif time.monotonic() >= self._next and (why := self._due(snapshot)):
            self._start(snapshot, why)

    def close(self) -> None:
        """End a fold in work; a build that was stopped leaves nothing that serves."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _due(self, snapshot: Snapshot) -> str | None:
        """Why a fold is due now, in words; None where it is not."""
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
        root = str(Path(indexer.__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [
            sys.executable,
            "-m",
            compaction.__name__,
            str(self._home.path),
            snapshot.index_version,
            self._device,
        ]
        self._output = (tempfile.TemporaryFile(), tempfile.TemporaryFile())  # noqa: SIM115 - read when it ended
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output[0],
                stderr=self._output[1],
                # One thread: what answers has the other cores.
                env={
                    **os.environ,
                    "PYTHONPATH": path,
                    "CATALENS_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                },
            )
        except OSError as error:
            self._failure(str(error))
            return
        self._began = time.monotonic()
        self._log.info("fold started", index_version=snapshot.index_version, why=why)

    def _ended(self, code: int) -> None:
        self._process = None
        took = time.monotonic() - self._began
        out, err = (self._read(stream) for stream in self._output or ())
        if code == 0:
            self.done, self.last_s = self.done + 1, took
            self._next = time.monotonic() + took
            self._log.info("fold done", seconds=round(took, 2), **json.loads(out))
        elif code == compaction.NOT_NOW:
            self._next = time.monotonic() + _NOT_NOW_S
        else:
            self._failure(err.strip().rpartition("\n")[2] or f"exit code {code}")

    def _failure(self, reason: str) -> None:
        self.failed += 1
        self._next = time.monotonic() + min(
            _LONGEST_S, _AFTER_FAILURE_S * 2 ** min(self.failed - 1, 6)
        )
        self._log.error(
            "fold failed; the delta goes on growing", error=reason, failures=self.failed
        )

    @staticmethod
    def _read(stream: IO[bytes]) -> str:
        stream.seek(0)
        text = stream.read().decode("utf-8", "replace")
        stream.close()
        return text
