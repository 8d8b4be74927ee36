"""Queue of products that wait for their photos by address."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from indexer.feeds.notice import Notice
from indexer.feeds.photo_intake import PhotoIntake
from indexer.feeds.product_writer import Candidate
from indexer.fetch.fetcher import FetchedPhoto, FetchJob
from indexer.fetch.settings import FetchSettings


class Fetcher(Protocol):
    """Fetches photos, in whatever order they come, and reads its jobs ahead only so far."""

    @property
    def settings(self) -> FetchSettings:
        """Among others, when a photo is asked for again."""
        ...

    def fetch(self, jobs: Iterable[FetchJob]) -> Iterator[FetchedPhoto]:
        """One result for each job."""
        ...


@dataclass
class _Waiting:
    candidate: Candidate
    # What is asked for, and the address that it stands for.
    urls: dict[str, str]
    # Addresses that are still to come.
    left: int


class FetchQueue:
    """Products in the order in which their photos are there; few of them are held at a time."""

    def __init__(self, candidates: Iterable[Candidate], fetcher: Fetcher, intake: PhotoIntake):
        self._candidates = candidates
        self._fetcher = fetcher
        self._intake = intake
        self._ready: deque[Candidate] = deque()
        self._waiting: dict[int, _Waiting] = {}

    def __iter__(self) -> Iterator[Candidate]:
        for result in self._fetcher.fetch(self._jobs()):
            self._take(result)
            while self._ready:
                yield self._ready.popleft()
        yield from self._ready

    def _jobs(self) -> Iterator[FetchJob]:
        for number, candidate in enumerate(self._candidates):
            urls = {
                photo.request or photo.source: photo.source
                for photo in candidate.product.photos
                if photo.is_url
            }
            if not urls or candidate.product.partial:
                self._ready.append(candidate)
                continue
            self._waiting[number] = _Waiting(candidate, urls, len(urls))
            for url in urls:
                yield FetchJob(url, number)

    def _take(self, result: FetchedPhoto) -> None:
        number = result.job.key
        assert isinstance(number, int)
        waiting = self._waiting[number]
        url = waiting.urls[result.job.url]
        where = next(
            photo.where for photo in waiting.candidate.product.photos if photo.source == url
        )
        if result.data is not None:
            taken = self._intake.take_bytes(result.data, where, url)
        elif result.status == "unchanged" and result.content_hash is not None:
            taken = self._intake.take_held(result.content_hash, where, url)
        else:
            taken = Notice(where, result.reason or "was not fetched", "photo-failed", value=url)
        waiting.candidate.fetched[url] = taken
        waiting.left -= 1
        if not waiting.left:
            self._ready.append(self._waiting.pop(number).candidate)


def fetched(
    candidates: Iterable[Candidate], fetcher: Fetcher | None, intake: PhotoIntake
) -> Iterator[Candidate]:
    """The ``candidates``, those with photos by address once these are there."""
    return iter(candidates if fetcher is None else FetchQueue(candidates, fetcher, intake))
