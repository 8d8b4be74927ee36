"""One question about many photos: asked by a few threads, so that decoding, the network and
searching overlap."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from indexer.core.errors import BadImageError, CatalensError
from indexer.core.timer import StageTimer
from service.inference.admission import OverloadedError
from service.query.classify import Classifier
from service.query.query import Query, SearchOptions
from service.query.search import Searcher
from service.query.tags import TagSuggester
from service.state.snapshots import Snapshot

Task = Literal["classify", "search", "tags"]
_OF_A_PHOTO = (BadImageError, OverloadedError)  # failures that say nothing about the other photos


class BatchRunner:
    """Part of the engine. All calls share its threads, so a large batch leaves the network room for
    single questions.

    Photos that are decoded at the same time reach the network together: it batches by itself what
    waits for it.
    """

    def __init__(self, classifying: Classifier, searching: Searcher, tagging: TagSuggester) -> None:
        self._classifying, self._searching, self._tagging = classifying, searching, tagging
        self._threads = ThreadPoolExecutor(max(4, os.cpu_count() or 4), thread_name_prefix="many")

    def close(self) -> None:
        """Take no more; what was asked is answered first."""
        self._threads.shutdown()

    def ask(
        self, question: Task, snapshot: Snapshot, sources: Sequence[Query], wanted: SearchOptions
    ) -> list[dict[str, Any] | CatalensError]:
        """The answer to each source, or what kept it from one. ``wanted`` is for searches.

        Raises what is wrong with the question itself, and ``OverloadedError`` once closed.
        """

        def one(source: Query) -> dict[str, Any] | CatalensError:
            clock = StageTimer()
            try:
                if question == "search":
                    return self._searching.search(snapshot, source, wanted, clock)
                if question == "tags":
                    return self._tagging.tags(snapshot, source, clock)
                return self._classifying.classify(snapshot, source, clock)
            except _OF_A_PHOTO as error:
                return error

        try:
            answers = self._threads.map(one, sources)
        except RuntimeError:  # the pool takes no more
            raise OverloadedError("the service is shutting down") from None
        return list(answers)
