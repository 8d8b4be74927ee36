"""Removal of what ended jobs had half made, beside everything else."""

from __future__ import annotations

import threading
from typing import Any

from indexer.core.errors import CatalensError
from indexer.core.home import Home
from indexer.operations.garbage_collection import sweep

_PATIENCE_S = 30.0  # how long ``close`` waits


class LeftoverSweeper:
    """Walks the home's files in a thread of its own: a walk over a million photos takes seconds,
    and nobody needs to wait for it."""

    def __init__(self, home: Home, log: Any) -> None:
        self._home = home
        self._log = log
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_wanted = False

    def start(self) -> None:
        """Begin a walk, or see to it that another one follows the present one; never waits."""
        with self._lock:
            self._is_wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leftovers", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Wait for a walk that is under way."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(_PATIENCE_S)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._is_wanted:
                    self._thread = None
                    return
                self._is_wanted = False
            try:
                sweep(self._home, after_s=0.0)  # of processes that are gone
            except (CatalensError, OSError) as error:
                self._log.warning("leftovers of a job stay for now", error=str(error))
