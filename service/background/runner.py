"""Background runner: one thread polls every task beside the answers."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

from service.background.leadership import Leadership


class BackgroundTask(Protocol):
    """Work beside the answers; ``name`` stands in the log."""

    name: str

    def poll(self) -> None:
        """Start what is due and note what ended; short. What only one service of a home may do it
        does where it leads."""
        ...

    def close(self) -> None:
        """End what runs."""
        ...


class BackgroundRunner:
    """Polls each of ``tasks`` every ``poll_s``; one that fails is logged and polled again.

    ``start`` is optional: an engine that is not watched polls nothing by itself.
    """

    def __init__(
        self, tasks: Sequence[BackgroundTask], leadership: Leadership, *, poll_s: float, log: Any
    ) -> None:
        self._tasks = tuple(tasks)
        self._leadership = leadership
        self._poll_s = poll_s
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop polling, end what runs, and let another service of the home lead."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
        for task in self._tasks:
            task.close()
        self._leadership.release()

    def _run(self) -> None:
        while not self._stop.wait(self._poll_s):
            for task in self._tasks:
                try:
                    task.poll()
                except Exception as error:  # the others must go on
                    self._log.error("background work failed", task=task.name, exc_info=error)
