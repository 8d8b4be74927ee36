"""Erasure in the background: deleted products are rewritten out of every version within the time
that was set."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

from indexer.catalog.store import Catalog
from indexer.core.home import Home
from indexer.operations.erasure import INCOMPLETE, needs_erasing
from indexer.operations.garbage_collection import IN_FLIGHT_S


class Eraser:
    """Looks now and then whether something was deleted, and starts ``indexer.operations.erasure``
    in half of the time allowed.

    Deletions of half that time share one rewrite; the other half is for the rewrite itself. How
    long a deletion waited before the service started is not known, so what is found then is erased
    at once. The work is a process of its own: it may take a core for minutes, and a kill of either
    harms neither.
    """

    def __init__(self, home: Home, catalog: Catalog, *, within_s: float, log: Any) -> None:
        self._home, self._catalog, self._log = home, catalog, log
        self._within_s = within_s
        self._stop = threading.Event()
        self._due: float | None = (
            time.monotonic()
        )  # when to act on what is found; None: nothing found yet
        self._thread = threading.Thread(target=self._run, name="eraser", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop; a rewrite that is going on is ended and taken up again by the next start."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception as error:
                self._log.error("erasure failed", error=str(error), exc_info=error)
            self._stop.wait(min(60.0, self._within_s / 20))

    def look(self) -> None:
        """One round: note a deletion, or rewrite when one is due."""
        if not needs_erasing(self._home, self._catalog):
            self._due = None
        elif self._due is None:
            self._due = time.monotonic() + self._within_s / 2
        elif time.monotonic() >= self._due:
            self._due = time.monotonic() + self._erase()

    def _erase(self) -> float:
        """Run it; in how many seconds to try again, if there is still something."""
        command = [sys.executable, "-m", "indexer.operations.erasure", str(self._home.path)]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            while process.poll() is None and not self._stop.wait(0.2):
                pass
            if process.poll() is None:
                process.terminate()
            said = (process.communicate()[1] or "").strip().splitlines()
        if self._stop.is_set():
            return 0.0
        if process.returncode == 0:
            self._log.info("erased", complete=True, **({"note": said[-1]} if said else {}))
            return IN_FLIGHT_S
        self._log.error(
            "erasure is not complete", code=process.returncode, reason=said[-1] if said else ""
        )
        return (
            self._within_s / 2
            if process.returncode == INCOMPLETE
            else min(300.0, self._within_s / 10)
        )
