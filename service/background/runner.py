"""Background runner: a thread of its own polls each task beside the answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

from indexer.core.backoff import Backoff
from service.background.leadership import Leadership

_AGAIN_S = 5.0
_LONGEST_S = 3600.0


class BackgroundTask(Protocol):
    """Work beside the answers; ``name`` stands in the log, and ``longest_wait_s`` bounds the time
    between two polls."""

    name: str
    longest_wait_s: float

    def poll(self) -> None:
        """Start what is due and note what ended; short. What only one service of a home may do it
        does where it leads."""
        ...

    def close(self) -> None:
        """End what runs."""
        ...


class BackgroundRunner:
    """Polls each of ``tasks`` every ``poll_s``; one that fails is logged and polled again.

    Each has a thread: one whose poll takes minutes (a refresh that embeds thousands of photos)
    keeps no other one from what is due.

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
        self._threads = [
            threading.Thread(target=self._run, args=(task,), name=task.name, daemon=True)
            for task in self._tasks
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop polling, end what runs, and let another service of the home lead."""
        self._stop.set()
        until = time.monotonic() + 30
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=max(0.0, until - time.monotonic()))
        for task in self._tasks:
            task.close()
        self._leadership.release()

    def _run(self, task: BackgroundTask) -> None:
        # Polled several times a second: what stays wrong is said at the first time and then ever
        # less often.
        silence = Backoff(_AGAIN_S, _LONGEST_S)
        while not self._stop.wait(min(self._poll_s, task.longest_wait_s)):
            try:
                task.poll()
            except Exception as error:  # the next poll may do
                if silence.is_due:
                    again_s = silence.fail()
                    self._log.error(
                        "background work failed",
                        task=task.name,
                        said_again_after_s=again_s,
                        exc_info=error,
                    )
            else:
                silence.succeed()
