"""Inference queue: the one owner of the network, which works in micro-batches."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from indexer.imaging.decode import Photo
from indexer.model.runtime_base import Runtime
from service.inference.admission import DeadlineExceededError, OverloadedError

TaskResult = TypeVar("TaskResult", covariant=True)


class NetworkTask(Protocol[TaskResult]):
    """Work on the network other than embedding."""

    def run(self) -> TaskResult:
        """Do the work; called by the network's one owner."""


@dataclass(frozen=True)
class _Job:
    embedder: Runtime
    photos: Sequence[Photo]
    # Where given, anything else that uses the network; photos are none.
    task: NetworkTask[Any] | None = None
    result: Future[Any] = field(default_factory=Future)

    @property
    def alone(self) -> bool:
        """Not to be batched with others."""
        return self.task is not None


class InferenceQueue:
    """Photos in, embeddings out, computed by one thread in the order of arrival.

    The thread takes what is queued already, up to ``max_batch`` photos of one embedder. Only while
    further photos are on their way (``expecting``) does it wait for them, ``max_delay_s`` at most:
    an idle service adds no delay.
    """

    def __init__(
        self, *, max_batch: int, max_waiting: int, max_delay_s: float = 0.0, timeout_s: float = 60.0
    ) -> None:
        self._max_batch = max_batch
        self._max_delay_s = max_delay_s
        self._timeout_s = timeout_s
        self._expected = 0
        self._counting = threading.Lock()
        self._jobs: queue.Queue[_Job | None] = queue.Queue(maxsize=max_waiting)
        self._held: _Job | None = None  # taken from the queue, but belongs to the next batch
        self._closed = False  # no new jobs
        self._ending = False  # the thread has seen the end mark
        self._batches: Counter[int] = Counter()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closed

    @property
    def waiting(self) -> int:
        """Requests that the thread has not taken yet."""
        return self._jobs.qsize() + (self._held is not None)

    def batches(self) -> dict[int, int]:
        """Photos in one pass of the network -> how many passes had so many."""
        return dict(self._batches)

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Inside, a photo is made ready that will be given to ``embed`` afterwards."""
        with self._counting:
            self._expected += 1
        try:
            yield
        finally:
            with self._counting:
                self._expected -= 1

    def embed(
        self,
        embedder: Runtime,
        photos: Sequence[Photo],
        *,
        patient: bool = False,
        within_s: float | None = None,
    ) -> np.ndarray:
        """float32 [N, D] unit rows of N photos. Raises ``OverloadedError`` when the queue is full.

        ``patient``: background work, which waits for a place instead. ``within_s``: where they are
        not done by then ``DeadlineExceededError`` is raised, and what is not begun is not computed
        at all.
        """
        vectors: np.ndarray = self._submit(_Job(embedder, photos), patient, within_s)
        return vectors

    def run_exclusive(
        self, embedder: Runtime, task: NetworkTask[TaskResult], *, within_s: float
    ) -> TaskResult:
        """What ``task`` gives, run by the network's one owner; raises ``OverloadedError`` and
        ``DeadlineExceededError`` as ``embed`` does."""
        outcome: TaskResult = self._submit(_Job(embedder, (), task=task), False, within_s)
        return outcome

    def _submit(self, job: _Job, patient: bool, within_s: float | None) -> Any:
        if not self.alive:
            raise OverloadedError("the service is shutting down")
        try:
            self._jobs.put(job, block=patient, timeout=self._timeout_s if patient else None)
        except queue.Full:
            raise OverloadedError(
                f"{self._jobs.maxsize} requests are waiting already: try again shortly"
            ) from None
        try:
            return job.result.result(
                timeout=self._timeout_s if within_s is None else max(within_s, 0.0)
            )
        except TimeoutError:
            job.result.cancel()
            raise DeadlineExceededError(
                "the network has no time for this before its deadline: try again shortly"
            ) from None

    def close(self) -> None:
        """Finish what is queued, then stop the thread."""
        if not self._closed:
            self._closed = True
            # Where the network hangs, the queue may stay full: the end waits for it so long alone.
            with suppress(queue.Full):
                self._jobs.put(None, timeout=self._timeout_s)
            self._thread.join(timeout=self._timeout_s)

    def _run(self) -> None:
        while self._run_batch():
            pass
        while not self._jobs.empty():  # came between the last look and the end
            if (late := self._jobs.get_nowait()) is not None:
                late.result.set_exception(OverloadedError("the service is shutting down"))

    def _run_batch(self) -> bool:
        """Take what waits and compute it; False at the end. In a function of its own, so that no
        photo is held while nothing is asked."""
        first = self._next()
        if first is None:
            return False
        batch, size = [first], len(first.photos)
        until = time.monotonic() + self._max_delay_s
        while not first.alone and size < self._max_batch:
            try:
                # Looked at again each millisecond: what was on its way may have failed.
                job = self._jobs.get(self._expected > 0 and time.monotonic() < until, timeout=0.001)
            except queue.Empty:
                if self._expected and time.monotonic() < until:
                    continue
                break
            if job is None:
                self._ending = True
                break
            fits = job.embedder is first.embedder and size + len(job.photos) <= self._max_batch
            if job.alone or not fits:
                self._held = job
                break
            batch.append(job)
            size += len(job.photos)
        batch = [job for job in batch if job.result.set_running_or_notify_cancel()]
        if batch:
            if not first.alone:
                self._batches[sum(len(job.photos) for job in batch)] += 1
            _compute(batch)
        return True

    def _next(self) -> _Job | None:
        held, self._held = self._held, None
        if held is not None:
            return held
        return None if self._ending else self._jobs.get()


def _compute(batch: list[_Job]) -> None:
    """One pass for all; where it fails, one by one, so that a bad photo fails only
    its own request."""
    first = batch[0]
    try:
        if first.task is not None:
            first.result.set_result(first.task.run())
            return
        vectors = first.embedder.embed([photo for job in batch for photo in job.photos])
    except Exception as error:
        if len(batch) == 1:
            first.result.set_exception(error)
        else:
            for job in batch:
                _compute([job])
        return
    start = 0
    for job in batch:
        job.result.set_result(vectors[start : start + len(job.photos)])
        start += len(job.photos)
