"""Fetcher of photos: many URLs at once, each host at its own rate, each result once."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal, Self

from indexer.core.errors import UrlFailedError, UrlRefusedError
from indexer.fetch.address_check import CheckedURL
from indexer.fetch.http_client import HTTPAnswer, PhotoClient
from indexer.fetch.rate import HostRate
from indexer.fetch.settings import FetchSettings
from indexer.fetch.state import FetchState, URLState
from indexer.imaging.decode import hash_content

# Jobs looked up in the state at once.
_PORTION = 128
_LONGEST_BACKOFF_S = 30.0
_RATE_S = 30.0


@dataclass(frozen=True)
class FetchJob:
    """One photo to fetch. ``key`` is the caller's own; several jobs may name one URL.

    ``fresh``: the bytes are needed, whatever is known of the URL.
    """

    url: str
    key: object = None
    fresh: bool = False


@dataclass(frozen=True)
class FetchedPhoto:
    """What a job gave.

    "new": ``data`` and its ``content_hash``. "unchanged": no data, the photo of ``content_hash`` is
    held already; with a ``reason`` where it could not be asked again. "failed": the ``reason``.
    """

    job: FetchJob
    data: bytes | None
    content_hash: str | None
    status: Literal["new", "unchanged", "failed"]
    reason: str | None = None


@dataclass(frozen=True)
class FetchProgress:
    """How far a fetcher is: numbers of results so far, requests, and results a second of late."""

    new: int = 0
    unchanged: int = 0
    failed: int = 0
    requests: int = 0
    per_second: float = 0.0

    @property
    def done(self) -> int:
        return self.new + self.unchanged + self.failed

    def remaining_s(self, total: int) -> float | None:
        """Seconds for the rest of ``total`` at the present rate; None before there is one."""
        return (total - self.done) / self.per_second if self.per_second else None

    def words(self) -> str:
        """One line for people."""
        return (
            f"photos by URL: {self.new} fetched, {self.unchanged} unchanged, {self.failed} failed; "
            f"{self.requests} requests"
        )


@dataclass
class _Task:
    """One URL with all jobs that wait for it."""

    url: CheckedURL
    known: URLState | None
    jobs: list[FetchJob]
    # Whether the photo that the URL gave before is held.
    held: bool
    attempts: int = 0
    refusals: int = 0


@dataclass
class _Host:
    rate: HostRate
    queue: deque[_Task] = field(default_factory=deque)


class PhotoFetcher:
    """Fetches photos within ``settings`` and keeps what it learns of each URL in ``state``.

    ``holds`` tells whether the caller still has the photo of a content hash; without it, every
    photo that was fetched once counts as held. What it learns of a host's rate is kept from one
    ``fetch`` to the next. Close it, or use it in ``with``.
    """

    def __init__(
        self,
        state: FetchState,
        settings: FetchSettings | None = None,
        *,
        client: PhotoClient | None = None,
        holds: Callable[[str], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or FetchSettings()
        self.state = state
        self.client = client or PhotoClient(self.settings)
        self.holds = holds or (lambda content_hash: True)
        self.clock = clock
        # Guards what the threads of a run share, the hosts' rates among it.
        self.lock = threading.RLock()
        self.rates: dict[str, HostRate] = {}
        # Hashes of the URLs whose bytes were handed out: the caller may not have stored them yet.
        self.given: set[int] = set()
        self._counts = {"new": 0, "unchanged": 0, "failed": 0}
        self._requests = 0
        self._late: deque[float] = deque(maxlen=4096)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. The state stays open: it is the caller's."""
        self.client.close()

    def fetch(self, jobs: Iterable[FetchJob]) -> Iterator[FetchedPhoto]:
        """One result for each job, in the order in which they come.

        ``jobs`` is read ahead, but bounded; at most ``settings.concurrency`` photos are in memory.
        A URL that several jobs name at a time is asked once; its bytes go to the first of them, the
        others get "unchanged". Nothing of one photo ends the run.
        """
        run = _Run(self, jobs)
        try:
            while (result := run.next_result()) is not None:
                self._count(result)
                yield result
        finally:
            run.close()

    def progress(self) -> FetchProgress:
        """How far this fetcher is, over all its runs."""
        with self.lock:
            now = time.monotonic()
            since = max(now - _RATE_S, self._late[0] if self._late else now)
            recent = sum(1 for at in self._late if at >= since)
            # By the second, so that the first few do not look like thousands.
            rate = recent / max(now - since, 1.0)
            return FetchProgress(**self._counts, requests=self._requests, per_second=rate)

    def _count(self, result: FetchedPhoto) -> None:
        with self.lock:
            self._counts[result.status] += 1
            self._late.append(time.monotonic())

    def count_request(self) -> None:
        """Count one request that is sent."""
        with self.lock:
            self._requests += 1


class _Run:
    """One ``fetch``: tasks by host, tasks that wait to be tried again, results not yet taken."""

    def __init__(self, fetcher: PhotoFetcher, jobs: Iterable[FetchJob]) -> None:
        self._fetcher = fetcher
        self._settings = fetcher.settings
        self._jobs = iter(jobs)
        self._exhausted = False
        self._closed = False
        self._work = threading.Condition(fetcher.lock)
        self._done = threading.Condition(fetcher.lock)
        self._hosts: dict[str, _Host] = {}
        self._by_url: dict[str, _Task] = {}
        self._later: list[tuple[float, int, _Task]] = []
        self._sequence = 0
        # Not yet taken: with a photo's bytes, and without.
        self._results: deque[list[FetchedPhoto]] = deque()
        self._ready: deque[FetchedPhoto] = deque()
        self._active = 0
        self._threads: list[threading.Thread] = []

    # -- the caller's thread

    def next_result(self) -> FetchedPhoto | None:
        """The next result, or None when all jobs have one."""
        while True:
            with self._fetcher.lock:
                found = self._take()
                if found is not None:
                    return found
                reads = not self._exhausted and len(self._by_url) < self._settings.waiting
                if not reads:
                    if not self._by_url:
                        return None
                    self._done.wait()
                    continue
            self._read_ahead()

    def close(self) -> None:
        """End the threads; requests under way end by themselves."""
        with self._fetcher.lock:
            self._closed = True
            self._work.notify_all()

    def _take(self) -> FetchedPhoto | None:
        if not self._ready and self._results:
            self._ready.extend(self._results.popleft())
            self._work.notify()
        return self._ready.popleft() if self._ready else None

    def _read_ahead(self) -> None:
        """Take the next jobs: answer those that need no request, queue the others."""
        jobs = list(islice(self._jobs, _PORTION))
        urls: list[tuple[FetchJob, CheckedURL]] = []
        answered = []
        for job in jobs:
            try:
                urls.append((job, self._fetcher.client.check(job.url)))
            except UrlRefusedError as error:
                answered.append(FetchedPhoto(job, None, None, "failed", str(error)))
        known = self._fetcher.state.find(url.text for _, url in urls)
        with self._fetcher.lock:
            self._exhausted = self._exhausted or len(jobs) < _PORTION
            self._ready.extend(answered)
            for job, url in urls:
                self._add(job, url, known.get(url.text))

    def _add(self, job: FetchJob, url: CheckedURL, known: URLState | None) -> None:
        task = self._by_url.get(url.text)
        if task is not None:
            task.jobs.append(job)
            return
        settled = self._settled(job, known)
        if settled is not None:
            self._ready.append(settled)
            return
        held = not job.fresh and self._is_held(known)
        task = self._by_url[url.text] = _Task(url, known, [job], held)
        host = self._hosts.get(url.endpoint)
        if host is None:
            rate = self._fetcher.rates.setdefault(
                url.endpoint, HostRate(self._settings.connections)
            )
            host = self._hosts[url.endpoint] = _Host(rate)
            self._start_threads()
        host.queue.append(task)
        self._work.notify()

    def _start_threads(self) -> None:
        wanted = min(self._settings.concurrency, len(self._hosts) * self._settings.connections)
        while len(self._threads) < wanted:
            thread = threading.Thread(target=self._serve, name="fetch", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _settled(self, job: FetchJob, known: URLState | None) -> FetchedPhoto | None:
        """The result of a job whose URL need not be asked now."""
        if job.fresh or known is None:
            return None
        age = self._fetcher.clock() - known.asked
        if known.reason is not None:
            recent = 0 <= age < self._settings.refused_recheck_s
            if recent and not known.transient:
                return FetchedPhoto(job, None, None, "failed", known.reason)
        elif 0 <= age < self._settings.recheck_s and self._is_held(known):
            return FetchedPhoto(job, None, known.content_hash, "unchanged")
        return None

    def _is_held(self, known: URLState | None) -> bool:
        if known is None or known.content_hash is None:
            return False
        return hash(known.url) in self._fetcher.given or self._fetcher.holds(known.content_hash)

    # -- the threads

    def _serve(self) -> None:
        while (task := self._next_task()) is not None:
            started = time.monotonic()
            failure: UrlFailedError | UrlRefusedError | None = None
            answer: HTTPAnswer | None = None
            try:
                self._fetcher.count_request()
                answer = self._ask(task)
            except (UrlFailedError, UrlRefusedError) as error:
                failure = error
            # A thread that ended here would leave its task without a result.
            except Exception as error:
                failure = UrlFailedError(f"the photo could not be fetched: {error!r:.200}")
            self._end(task, started, answer, failure)

    def _ask(self, task: _Task) -> HTTPAnswer:
        known = task.known if task.held else None
        return self._fetcher.client.get(
            task.url,
            etag=known.etag if known else None,
            last_modified=known.last_modified if known else None,
        )

    def _next_task(self) -> _Task | None:
        """The next task whose host may be asked, as soon as there is one; None at the end."""
        with self._work:
            while not self._closed:
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    task = heapq.heappop(self._later)[2]
                    self._hosts[task.url.endpoint].queue.appendleft(task)
                wait = self._later[0][0] - now if self._later else None
                if self._active + len(self._results) < self._settings.concurrency:
                    for name, host in self._hosts.items():
                        at = host.rate.ready_at(now) if host.queue else None
                        if at is not None and at <= now:
                            # The next one begins with another host.
                            self._hosts[name] = self._hosts.pop(name)
                            host.rate.start(now)
                            self._active += 1
                            return host.queue.popleft()
                        if at is not None:
                            wait = at - now if wait is None else min(wait, at - now)
                self._work.wait(wait)
            return None

    def _end(
        self,
        task: _Task,
        started: float,
        answer: HTTPAnswer | None,
        failure: UrlFailedError | UrlRefusedError | None,
    ) -> None:
        task.attempts += 1
        again = task.refusals > 0
        found = None if answer is None or answer.data is None else hash_content(answer.data)
        again_s = self._again_s(task, failure)
        results = None
        if again_s is None and not self._closed:
            results = self._settle(task, answer, found, failure)
        with self._fetcher.lock:
            now = time.monotonic()
            self._active -= 1
            status = getattr(failure, "status", None)
            wait_s = getattr(failure, "retry_after_s", None)
            refused = status == 429 or (status == 503 and wait_s is not None)
            self._hosts[task.url.endpoint].rate.end(
                now, refused=refused, started=started, wait_s=wait_s, again=again
            )
            if again_s is not None:
                self._sequence += 1
                heapq.heappush(self._later, (now + again_s, self._sequence, task))
            elif results is not None:
                del self._by_url[task.url.text]
                # Those that came while the state was written.
                if results[0].data is not None:
                    self._fetcher.given.add(hash(task.url.text))
                results += [_without_data(results[0], job) for job in task.jobs[len(results) :]]
                self._results.append(results)
                self._done.notify()
            self._work.notify()

    def _again_s(
        self, task: _Task, failure: UrlFailedError | UrlRefusedError | None
    ) -> float | None:
        """Seconds after which a task is tried again; None where it is not."""
        if not isinstance(failure, UrlFailedError) or not failure.transient:
            return None
        if failure.status == 429:
            task.refusals += 1
        others = task.attempts - task.refusals
        if task.refusals >= self._settings.refusals or others >= self._settings.attempts:
            return None
        pause = self._settings.backoff_s * 2 ** (task.attempts - 1)
        # Apart from one another, so that those that failed together do not come back together.
        pause = min(pause, _LONGEST_BACKOFF_S) * random.uniform(0.75, 1.25)
        return max(pause, failure.retry_after_s or 0.0)

    def _settle(
        self,
        task: _Task,
        answer: HTTPAnswer | None,
        found: str | None,
        failure: UrlFailedError | UrlRefusedError | None,
    ) -> list[FetchedPhoto]:
        """Record what is now known of a URL; the results of its jobs."""
        known = task.known or URLState(task.url.text)
        state = replace(known, asked=self._fetcher.clock(), attempts=known.attempts + task.attempts)
        first = task.jobs[0]
        if answer is not None:
            content_hash = found or known.content_hash
            unchanged = found is None or (task.held and found == known.content_hash)
            self._fetcher.state.record(
                replace(
                    state,
                    content_hash=content_hash,
                    etag=answer.etag or (known.etag if found is None else None),
                    last_modified=answer.last_modified
                    or (known.last_modified if found is None else None),
                    failures=0,
                    reason=None,
                    transient=False,
                )
            )
            data = None if unchanged else answer.data
            result = FetchedPhoto(first, data, content_hash, "unchanged" if unchanged else "new")
        else:
            transient = isinstance(failure, UrlFailedError) and failure.transient
            reason = str(failure)
            if transient and task.attempts > 1:
                reason = f"{reason}; asked {task.attempts} times"
            # What was refused here, before it was asked, may be allowed the next time.
            own = isinstance(failure, UrlRefusedError)
            self._fetcher.state.record(
                replace(
                    state, failures=known.failures + 1, reason=reason, transient=transient or own
                )
            )
            result = FetchedPhoto(first, None, None, "failed", reason)
            if transient and task.held:
                result = FetchedPhoto(first, None, known.content_hash, "unchanged", reason)
        return [result, *(_without_data(result, job) for job in task.jobs[1:])]


def _without_data(result: FetchedPhoto, job: FetchJob) -> FetchedPhoto:
    status = "unchanged" if result.status == "new" else result.status
    return FetchedPhoto(job, None, result.content_hash, status, result.reason)
