"""Worker process for long work beside the answers: one thread, low priority."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import indexer
from indexer.core.parent_process import PARENT
from indexer.core.process_limits import JOB_MEMORY

# Pillow warns of each value of a damaged file; what a worker says is kept in memory.
_QUIET = {"PYTHONWARNINGS": "ignore"}
_PATIENCE_S = 10.0  # between the request to end and the kill


class WorkerProcess:
    """``python -m MODULE ARGUMENT...`` with no standard input; its output is read when it ended.

    A process, and not a thread: building holds Python's lock for seconds, and FAISS's threads take
    the cores. The module lowers its own priority and ends with this process
    (``indexer.core.parent_process``). ``memory``: bytes that it may take; 0: as it finds right
    (``indexer.core.process_limits``). Raises ``OSError`` where it cannot be started.
    """

    def __init__(self, module: str, *arguments: str, memory: int = 0) -> None:
        root = str(Path(indexer.__file__).parents[1])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        # One thread: what answers has the other cores.
        limits = {"CATALENS_THREADS": "1", "OMP_NUM_THREADS": "1", JOB_MEMORY: str(memory)}
        self._asked: float | None = None
        self._stdout = _output_file()
        self._stderr = _output_file()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=self._stdout,
                stderr=self._stderr,
                env={
                    **os.environ,
                    "PYTHONPATH": path,
                    PARENT: str(os.getpid()),
                    **limits,
                    **_QUIET,
                },
            )
        except OSError:
            self._close()
            raise

    def poll(self) -> int | None:
        """Its exit code, negative where a signal ended it; None while it works."""
        return self._process.poll()

    def finish(self) -> tuple[str, str]:
        """What it printed on standard output, and its last line on standard error."""
        texts = []
        for stream in (self._stdout, self._stderr):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", "replace"))
        self._close()
        return texts[0], texts[1].strip().rpartition("\n")[2]

    def stop(self) -> None:
        """Ask it to end, and kill it where it does not."""
        self.ask_to_end()
        try:
            self._process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def ask_to_end(self) -> None:
        """Ask it to end without waiting for that; asked again after a while, it is killed."""
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
            self._process.terminate()
        elif now - self._asked > _PATIENCE_S:
            self._process.kill()

    def _close(self) -> None:
        self._stdout.close()
        self._stderr.close()


def _output_file() -> IO[bytes]:
    """A file that nobody else sees: a pipe that is not read would stop a worker that says much.

    In memory where the system can, so that a full temporary folder stops no worker.
    """
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("catalens-worker"), "w+b")
    return tempfile.TemporaryFile()
