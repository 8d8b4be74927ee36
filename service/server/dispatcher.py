"""Dispatcher of requests to threads, which whoever asks shares with all others."""

from __future__ import annotations

import threading
from collections import Counter, deque
from typing import Protocol

from waitress.task import ThreadedTaskDispatcher

from service.access.caller import Asker
from service.settings import own_share


class AskedRequest(Protocol):
    """A request that waits for a thread."""

    asker: Asker


class RequestTask(Protocol):
    """A connection with requests, the first of which is to be answered."""

    requests: list[AskedRequest]

    def service(self) -> None:
        """Answer it."""

    def cancel(self) -> None:
        """Give up."""


class FairDispatcher(ThreadedTaskDispatcher):
    """Waitress's threads, of which each that is free goes to those who hold least of them: first by
    side, of strangers and of those who are known, then by asker, then in turn.

    One asker, and all strangers together, hold no more than nine in ten. What waits inside a
    thread, be it for its turn, for a photo of another server or for memory, then never keeps others
    from being looked at.
    """

    lock: threading.Lock
    queue_cv: threading.Condition
    thread_exit_cv: threading.Condition
    threads: set[int]
    queue: deque[RequestTask]
    stop_count: int
    active_count: int

    def __init__(self) -> None:
        super().__init__()
        # Those who waited longest for a thread first.
        self._pending: dict[Asker, deque[RequestTask]] = {}
        self._working: Counter[Asker] = Counter()
        self._sides: Counter[bool] = Counter()  # threads at work for strangers, and for others

    def add_task(self, task: RequestTask) -> None:
        """Let the first request of ``task`` be answered by a thread."""
        with self.lock:
            self._pending.setdefault(task.requests[0].asker, deque()).append(task)
            self.queue_cv.notify()

    def handler_thread(self, thread_no: int) -> None:
        """Answer requests until told to stop."""
        while True:
            with self.lock:
                asker = self._choose()
                while asker is None and not self.stop_count:
                    self.active_count -= 1
                    self.queue_cv.wait()
                    self.active_count += 1
                    asker = self._choose()
                if self.stop_count or asker is None:
                    self.active_count -= 1
                    self.stop_count -= 1
                    self.threads.discard(thread_no)
                    self.thread_exit_cv.notify()
                    return
                task = self._take(asker)
            try:
                task.service()
            except BaseException:
                self.logger.exception("Exception when servicing %r", task)
            # A bound name would hold the connection, and its answer, until the next one comes.
            del task
            with self.lock:
                self._count(asker, -1)

    def shutdown(self, cancel_pending: bool = True, timeout: float = 5) -> bool:
        """End the threads, and give up what waits."""
        with self.lock:
            for tasks in self._pending.values():
                self.queue.extend(tasks)
            self._pending.clear()
        ended: bool = super().shutdown(cancel_pending, timeout)
        return ended

    def _choose(self) -> Asker | None:
        """Whose request is next; None where nobody's may be."""
        most = own_share(len(self.threads))
        allowed = [
            asker
            for asker in self._pending
            if self._working[asker] < most and not (asker.stranger and self._sides[True] >= most)
        ]
        return min(
            allowed,
            key=lambda asker: (self._sides[asker.stranger], self._working[asker]),
            default=None,
        )

    def _take(self, asker: Asker) -> RequestTask:
        tasks = self._pending.pop(asker)
        task = tasks.popleft()
        if tasks:
            self._pending[asker] = tasks  # behind the others
        self._count(asker, 1)
        return task

    def _count(self, asker: Asker, change: int) -> None:
        self._sides[asker.stranger] += change
        self._working[asker] += change
        if not self._working[asker]:
            del self._working[asker]
