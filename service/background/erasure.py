"""Erasure in the background, within the time that was set."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from indexer.catalog.store import Catalog
from indexer.core.home import Home
from indexer.operations import erasure
from indexer.operations.garbage_collection import IN_FLIGHT_S
from indexer.operations.retention import is_due, note_clock
from indexer.operations.retention_terms import RetentionTerms, remember_terms
from service.background.leadership import Leadership
from service.background.worker_process import WorkerProcess


class Eraser:
    """Starts ``indexer.operations.erasure`` when deletions, and what came to its end by its term,
    have waited half of the time allowed.

    Deletions of half that time share one rewrite; the other half is for the rewrite itself. How
    long a deletion waited before this service led the home is not known, so what is found then is
    erased at once. A kill of the service or of the worker harms neither. Its terms are noted in the
    home, for commands that are told none.
    """

    name = "erasure"

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        leadership: Leadership,
        *,
        within_s: float,
        memory: int = 0,
        log: Any,
        terms: RetentionTerms | None = None,
    ) -> None:
        self._home = home
        self._terms = terms or RetentionTerms()
        self._catalog = catalog
        self._leadership = leadership
        self._within_s = within_s
        self._memory = memory
        self.longest_wait_s = within_s / 20
        self._log = log
        self._process: WorkerProcess | None = None
        self._check_at = 0.0
        # When to act on what is found; None: nothing found yet.
        self._due: float | None = time.monotonic()
        self._clock_fault: str | None = None

    def poll(self) -> None:
        """Note a deletion, start a rewrite that is due, or note that one ended."""
        if self._process is not None:
            if (code := self._process.poll()) is not None:
                self._finish(self._process, code)
            return
        now = time.monotonic()
        if now < self._check_at or not self._leadership.holds():
            return
        self._check_at = now + min(60.0, self.longest_wait_s)
        remember_terms(self._home, self._terms)
        if not self._is_due():
            self._due = None
        elif self._due is None:
            self._due = now + self._within_s / 2
        elif now >= self._due:
            terms = json.dumps(asdict(self._terms))
            self._process = WorkerProcess(
                erasure.__name__, str(self._home.path), terms, memory=self._memory
            )

    def _is_due(self) -> bool:
        """Whether a deletion left something, or something came to its end by its term."""
        fault = note_clock(self._home, self._catalog)
        if fault != self._clock_fault:
            self._clock_fault = fault
            if fault is not None:
                self._log.error("clock jumped", reason=fault)
        return is_due(self._home, self._catalog, self._terms) or erasure.needs_erasing(
            self._home, self._catalog
        )

    def close(self) -> None:
        """End a rewrite in work; the next start takes it up again."""
        if self._process is not None:
            self._process.stop()
            self._process = None

    def _finish(self, process: WorkerProcess, code: int) -> None:
        self._process = None
        self._check_at = 0.0
        _, reason = process.finish()
        if code == 0:
            self._log.info("erased", complete=True, **({"note": reason} if reason else {}))
            wait_s = IN_FLIGHT_S
        else:
            self._log.error("erasure is not complete", code=code, reason=reason)
            wait_s = (
                self._within_s / 2
                if code == erasure.INCOMPLETE
                else min(300.0, self._within_s / 10)
            )
        self._due = time.monotonic() + wait_s
