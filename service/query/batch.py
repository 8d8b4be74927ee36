"""Batch of photos under one task, so that decoding, network and search overlap."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal

from indexer.core.container import usable_cores
from indexer.core.errors import BadImageError, BadRequestError, CatalensError
from service.inference.admission import AdmissionGate, OverloadedError
from service.query.classify import classify, require_categories
from service.query.context import RequestContext
from service.query.photo_embedder import PhotoEmbedder
from service.query.query import Query, SearchOptions
from service.query.response import Classification, SearchPage, SuggestedTags, Suggestions
from service.query.search import Searcher
from service.query.tags import TagSuggester

Task = Literal["classify", "search", "tags"]
PhotoContent = Classification | SearchPage | SuggestedTags
# Products in one answer, those within groups too: 64 photos with 1,000 each are some 60 MB.
MOST_RESULTS = 64_000
# Batches that are worked on at once, those that may wait, and for how long: they share their
# threads anyway, and each holds its answers in memory.
_AT_ONCE = 4
# Of these, one at a time may hold more products than this: 64,000 take some 270 MB of memory.
_LARGE = 8_000
_MOST_WAITING = 32
_WAIT_S = 10.0
# Failures that say nothing about the other photos.
_OF_A_PHOTO = (BadImageError, OverloadedError)


@dataclass(frozen=True)
class PhotoAnswer:
    """The result of one photo, and how long it took."""

    content: PhotoContent
    timings_ms: dict[str, float]


@dataclass(frozen=True)
class BatchAnswer:
    """The results of many photos in their order, or what kept each from one."""

    rows: list[PhotoAnswer | CatalensError]

    def suggestions(self) -> Suggestions | None:
        """Of all photos together."""
        found = [row.content.suggestions() for row in self.rows if isinstance(row, PhotoAnswer)]
        named = [suggestions for suggestions in found if suggestions is not None]
        if not named:
            return None
        tags: list[str] = []
        products: list[str] = []
        for suggestions in named:
            tags += suggestions.tags
            products += suggestions.products
        return Suggestions(tuple(tags), tuple(products))


class BatchRunner:
    """Runs tasks over photos. All calls share its threads, so a large batch leaves the network
    room for single queries.

    Photos that are decoded at the same time reach the network together: it batches by itself what
    waits for it.
    """

    def __init__(
        self, embedder: PhotoEmbedder, searcher: Searcher, tag_suggester: TagSuggester
    ) -> None:
        self._embedder = embedder
        self._searcher = searcher
        self._tag_suggester = tag_suggester
        self._gate = AdmissionGate(_AT_ONCE, _MOST_WAITING, _WAIT_S)
        self._large = AdmissionGate(1, _MOST_WAITING, _WAIT_S)
        self._threads = ThreadPoolExecutor(max(4, usable_cores()), thread_name_prefix="batch")

    def close(self) -> None:
        """Take no more; what was asked is answered first."""
        self._threads.shutdown()

    def run(
        self, ctx: RequestContext, task: Task, photos: Sequence[bytes], options: SearchOptions
    ) -> BatchAnswer:
        """``options`` are for searches. Raises what is wrong with the task itself, and
        ``OverloadedError`` once closed, or where other batches are enough."""
        products = _count_results(len(photos), options) if task == "search" else 0
        # The narrower gate first: who waits there takes no place of the others.
        with self._large.turn() if products > _LARGE else nullcontext(), self._gate.turn():
            try:
                rows = self._threads.map(partial(self._answer, ctx, task, options), photos)
            except RuntimeError:  # the pool takes no more
                raise OverloadedError("the service is shutting down") from None
            return BatchAnswer(list(rows))

    def _answer(
        self, batch: RequestContext, task: Task, options: SearchOptions, data: bytes
    ) -> PhotoAnswer | CatalensError:
        ctx = RequestContext.begin(batch.snapshot, batch.deadline_s)
        try:
            batch.check()  # what is not begun in the time of the whole question is not begun
            content = self._content(ctx, task, Query(image=data), options)
        except _OF_A_PHOTO as error:
            return error
        return PhotoAnswer(content, ctx.timer.milliseconds())

    def _content(
        self, ctx: RequestContext, task: Task, query: Query, options: SearchOptions
    ) -> PhotoContent:
        if task == "search":
            plan = self._searcher.plan(ctx, query, options)
            return self._searcher.search(ctx, self._embedder.embed(ctx, query), plan)
        if task == "classify":
            require_categories(ctx.snapshot)
            return classify(ctx, self._embedder.embed(ctx, query))
        return self._tag_suggester.suggest(ctx, self._embedder.embed(ctx, query))


def _count_results(photos: int, options: SearchOptions) -> int:
    """How many products the answer may hold. Raises ``BadRequestError`` for more than one may."""
    each = options.k * (options.group_size if options.group_by is not None else 1)
    if photos * each > MOST_RESULTS:
        raise BadRequestError(
            f"{photos} photos with {each:,} products each are more than the {MOST_RESULTS:,} that "
            "one answer holds: send fewer photos, or a smaller k or group_size"
        )
    return photos * each
