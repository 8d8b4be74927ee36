"""Holds model, index and catalog, answers the questions, takes the writes; knows
nothing of HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import open_catalog
from indexer.core.errors import BadRequestError, CatalensError, NoIndexError, UnknownProductError
from indexer.core.home import Home
from indexer.core.native import THREADS
from indexer.core.sqlite import is_read_only
from indexer.core.timer import StageTimer
from indexer.imaging.decode import ImageLimits
from service.background.compaction import Compactor
from service.background.erasure import Eraser
from service.background.jobs import JobRunner
from service.background.leadership import Leadership
from service.background.refresh import SnapshotRefresh
from service.background.runner import BackgroundRunner
from service.inference.admission import AdmissionGate, OverloadedError
from service.inference.queue import InferenceQueue
from service.logging import make_log
from service.products.catalog import ProductCatalog
from service.products.classes import ClassManager
from service.products.writer import Writer
from service.query.batch import BatchRunner, Task
from service.query.catalog_map import CatalogMap
from service.query.classify import Classifier
from service.query.cursors import Cursor
from service.query.explain import Explainer
from service.query.filters import FilterParser
from service.query.objects import ObjectFinder
from service.query.photo_embedder import PhotoEmbedder
from service.query.query import Query, SearchOptions
from service.query.recommend import Recommender
from service.query.search import Searcher
from service.query.search_cache import SearchCache
from service.query.tags import TagSuggester
from service.query.text import TextQueryParser
from service.review.queue import ReviewQueue
from service.review.review import ListingReviewer
from service.settings import Settings
from service.state.pinned_versions import PinnedVersions
from service.state.snapshots import Snapshot, SnapshotManager

_PATIENCE_S = 2.0  # how long a question with `min_sequence` waits for a write of another process


class Engine(ProductCatalog):
    """Answers over one home. Safe to call from many threads; ``close`` it, or use it in ``with``.

    Every answer is a plain dict that carries ``model_version``, ``index_version`` and
    ``timings_ms``, all from one snapshot. Failures are ``CatalensError``; with no active index,
    questions raise ``NoIndexError`` until one is activated. ``watch=False`` (one question, then
    gone): other processes' later writes are not followed.
    """

    def __init__(self, settings: Settings, *, watch: bool = True, log: Any = None) -> None:
        self.settings = settings
        self.log = log or make_log()
        self.home = Home(settings.home)
        self._catalog = open_catalog(self.home)
        self._photos = PhotoStore(self.home)
        self._limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
        # More threads at work than cores only wait for each other's locks: with 40 of them half as
        # much is answered.
        self._turns = AdmissionGate(
            settings.working or THREADS + 1, settings.max_waiting, settings.deadline_s
        )
        self.queue = InferenceQueue(
            max_batch=settings.max_batch,
            max_waiting=settings.max_waiting,
            max_delay_s=settings.max_delay_ms / 1000,
        )

        def crowded() -> bool:
            return self._turns.crowded

        self._seeing = PhotoEmbedder(
            self.queue,
            self._catalog,
            self._photos,
            limits=self._limits,
            deadline_s=settings.deadline_s,
            crowded=crowded,
        )
        try:
            self._serving = SnapshotManager(
                self.home,
                self._catalog,
                self._photos,
                self.queue,
                device=settings.device,
                engine=settings.engine,
                log=self.log,
            )
            self._writer = Writer(
                self.home,
                self._catalog,
                self._photos,
                self._serving,
                self.queue,
                self._limits,
                self._seeing.decoding,
                self.log,
            )
            self.classes = ClassManager(
                self.home,
                self._catalog,
                self._serving,
                self.queue,
                embed=self._seeing.vector,
                answer=self._answer,
            )
            self._others = PinnedVersions(
                self.home, self._serving, most=settings.other_versions, log=self.log
            )
            self._serving.others = self._others
            leadership = Leadership(self.home, eligible=not is_read_only(self.home.catalog_file))
            self.folding = Compactor(
                self.home,
                self._serving,
                leadership,
                max_delta=settings.max_delta,
                device=settings.device,
                log=self.log,
            )
            self.jobs = JobRunner(
                self.home,
                leadership,
                import_root=settings.import_root,
                max_upload_bytes=settings.max_upload_bytes,
                device=settings.device,
                streams=max(1, settings.threads // 4),
                log=self.log,
            )
            self.eraser = Eraser(
                self.home,
                self._catalog,
                leadership,
                within_s=settings.erase_within_s,
                log=self.log,
            )
            self._background = BackgroundRunner(
                (SnapshotRefresh(self._serving), self.folding, self.jobs, self.eraser),
                leadership,
                poll_s=settings.poll_s,
                log=self.log,
            )
            self.explain = Explainer(
                self.queue, snapshot=self._snapshot, photo=self._seeing.photo, answer=self._answer
            )
            self._filtering = FilterParser(self._catalog, answer=self._answer, log=self.log)
            self.recommending = Recommender(
                self._catalog, self._filtering, out_of_stock=settings.out_of_stock,
                snapshot=self._snapshot, turn=self._turn, answer=self._answer,
            )  # fmt: skip
            self._texting = TextQueryParser(self.home, self._catalog, encoder=settings.text_encoder)
            self._searching = Searcher(
                self._catalog,
                self._filtering,
                self._texting,
                inputs=self._inputs,
                answer=self._answer,
            )
            self.objects = ObjectFinder(
                self._seeing,
                self._searching,
                snapshot=self._snapshot,
                turn=self._turn,
                answer=self._answer,
            )
            shared: dict[str, Any] = {"vectors": self._vectors, "answer": self._answer}
            self._classifying = Classifier(**shared)
            self._tagging = TagSuggester(self._catalog, **shared, crowded=crowded)
            self._many = BatchRunner(self._classifying, self._searching, self._tagging)
            self.mapping = CatalogMap(self._catalog, snapshot=self._snapshot, answer=self._answer)
            self.people = ReviewQueue(self.home, self._catalog, self._serving, answer=self._answer)
            self._reviewing = ListingReviewer(
                self.home,
                self._catalog,
                self._photos,
                self.queue,
                self._seeing,
                self._classifying,
                self._tagging,
                self.people,
                settings=settings,
                answer=self._answer,
                log=self.log,
            )
            self._serving.start()
        except BaseException:
            self.queue.close()
            raise
        if watch:
            self._background.start()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the threads; questions in flight are answered first."""
        self._background.close()
        self._many.close()
        self._tagging.close()
        self.queue.close()
        self._reviewing.close()
        self.people.close()
        self._texting.close()

    def refresh(self) -> None:
        """Look now for other processes' writes and activations (the background does so
        every ``poll_s``)."""
        self._serving.refresh()

    def frame(self, **content: Any) -> dict[str, Any]:
        """``content`` that no snapshot answers, with the versions that serve."""
        return self._answer(self._serving.current, StageTimer(), **content)

    @property
    def snapshot(self) -> Snapshot | None:
        """What would answer now, if anything does."""
        return self._serving.current

    def last_sequence(self) -> int:
        """The sequence number of the catalog's last change, of whatever process."""
        return self._catalog.last_sequence()

    def ready(self) -> Snapshot:
        """The snapshot that would answer now. Raises ``NoIndexError`` or ``OverloadedError``."""
        if not self.queue.alive:
            raise OverloadedError("the service is shutting down")
        return self._snapshot()

    # -- questions

    # Each may name another ``version`` than the serving one; model, decision layer and index are
    # then that version's.

    def classify(
        self,
        source: Query,
        *,
        top: int = 5,
        min_sequence: int | None = None,
        version: str | None = None,
    ) -> dict[str, Any]:
        """``categories`` [{label, path, probability}], best first, and ``unknown``. Raises
        ``NoCategoriesError``."""
        snapshot = self._snapshot(min_sequence, version)
        with self._turn() as clock:
            return self._classifying.classify(snapshot, source, clock, top=top)

    def search(
        self, query: Query, options: SearchOptions | None = None, **fields: Any
    ) -> dict[str, Any]:
        """``results``, one per product with its best photo, score descending; min(k, matches) of
        them. ``next_cursor``.

        ``options``, or its ``fields`` by name. A product asked about is itself left out. With
        ``weights`` and ``mix`` the score is the weighted mean of the inputs' cosines and, of a
        text, of its keywords. What matches a text is all that passes; where it has no vector (a
        version without a tower, words that the tower lacks) what holds one of its words.
        ``unknown_words``: of a text, those that nothing is known of. Raises ``BadFilterError``,
        ``BadRequestError``, ``CursorGoneError``.
        """
        options = SearchOptions.of(options, fields)
        snapshot = self._turned_to(options)
        with self._turn() as clock:
            return self._searching.search(snapshot, query, options, clock)

    def similar(
        self, product_id: str, options: SearchOptions | None = None, **fields: Any
    ) -> dict[str, Any]:
        """``search`` for a stored product: the best over its photos. Raises
        ``UnknownProductError``."""
        return self.search(Query(product_id=product_id), options, **fields)

    def facets(
        self,
        *,
        filter: object = None,
        fields: Sequence[str] = (),
        limit: int = 20,
        min_sequence: int | None = None,
    ) -> dict[str, Any]:
        """Counts of values among the products that pass ``filter``; see ``FilterParser.facets``."""
        clock = StageTimer()
        return self._filtering.facets(
            self._snapshot(min_sequence), clock, filter=filter, fields=fields, limit=limit
        )

    def tags(
        self, source: Query, *, min_sequence: int | None = None, version: str | None = None
    ) -> dict[str, Any]:
        """``tags`` [{tag, confidence, neighbours: [{product_id, score}]}], most confident first."""
        snapshot = self._snapshot(min_sequence, version)
        with self._turn() as clock:
            return self._tagging.tags(snapshot, source, clock)

    def describe(
        self, query: Query, options: SearchOptions | None = None, **fields: Any
    ) -> dict[str, Any]:
        """What ``classify``, ``search`` (whose parameters it takes) and ``tags`` answer, from one
        snapshot.

        The photo is decoded and embedded once, and a search that two of them need is made once. A
        model without categories has none and ``unknown`` is None.
        """
        options = SearchOptions.of(options, fields)
        snapshot = self._turned_to(options)
        with self._turn() as clock:
            near = SearchCache(self._tagging.depths(snapshot.tag_rule))
            found = self._searching.search(snapshot, query, options, clock, near)
            parts = [self._tagging.tags(snapshot, query, clock, near)]
            if snapshot.bundle.decision.categories:
                parts.append(self._classifying.classify(snapshot, query, clock, near=near))
        whole = {"categories": [], "unknown": None, **found}
        for part in parts:
            whole.update(part)
        return whole

    def many(
        self,
        question: Task,
        photos: Sequence[bytes],
        *,
        min_sequence: int | None = None,
        version: str | None = None,
        **wanted: Any,
    ) -> tuple[list[dict[str, Any] | CatalensError], dict[str, Any]]:
        """What ``question`` answers about each photo, all from one snapshot, and the answer around
        them.

        ``wanted``: the parameters of ``search``. A photo that cannot be used, or that the network
        has no time for, has its failure in its place; what is wrong with the question itself is
        raised.
        """
        clock = StageTimer()
        snapshot = self._snapshot(min_sequence, version)
        found = self._many.ask(
            question,
            snapshot,
            [Query(image=data) for data in photos],
            SearchOptions.of(None, wanted),
        )
        return found, self._answer(snapshot, clock)

    def review(
        self,
        photos: Sequence[bytes],
        *,
        product_id: str | None = None,
        profile: str | None = None,
        queue: bool = True,
        min_sequence: int | None = None,
        version: str | None = None,
    ) -> dict[str, Any]:
        """Whether a listing with these ``photos`` is fit to publish; see ``replies.ReviewAnswer``.

        ``product_id``: a stored product, never its own duplicate, whose photos are taken where none
        are given. ``queue``: put it where people look, if it asks for one. Raises
        ``BadImageError``, ``UnknownProductError``.
        """
        snapshot = self._snapshot(min_sequence, version)
        with self._turn() as clock:
            return self._reviewing.review(
                snapshot, photos, clock, product_id=product_id, profile=profile, queue=queue
            )

    @property
    def policy_version(self) -> str | None:
        """Of the policies that reviews are checked against."""
        return self._reviewing.policies.version

    def prepare_reviews(self) -> None:
        """Do now what a service does behind its first review: read all signatures, fit galleries.
        May take minutes."""
        self._reviewing.policies.fit(self._snapshot())
        self._reviewing.repeats.read()

    # -- inside

    @contextmanager
    def _turn(self) -> Iterator[StageTimer]:
        """A place at work, and the request's clock. Raises ``OverloadedError``,
        ``DeadlineExceededError``."""
        clock = StageTimer()
        with ExitStack() as stack:
            with clock.stage("wait"):
                stack.enter_context(self._turns.turn())
            yield clock

    def _snapshot(self, min_sequence: int | None = None, version: str | None = None) -> Snapshot:
        snapshot = self._serving.current if version is None else self._others.get(version)
        if snapshot is None:
            raise NoIndexError("no index version is active: run catalens index build --activate")
        if min_sequence is not None:
            until = time.monotonic() + _PATIENCE_S
            while snapshot.live.sequence < min_sequence:
                if min_sequence > self._catalog.last_sequence():
                    raise BadRequestError(
                        f"min_sequence {min_sequence} is beyond the catalog's last change"
                    )
                if time.monotonic() > until:
                    raise OverloadedError(
                        f"sequence {min_sequence} is not searchable yet: try again shortly"
                    )
                time.sleep(0.02)
                snapshot = self._snapshot(version=version)
        return snapshot

    def _turned_to(self, options: SearchOptions) -> Snapshot:
        """What answers a page: the version that gave the page before. Raises ``CursorGoneError``,
        and as ``_snapshot``."""
        min_sequence, version = options.min_sequence, options.version
        if options.cursor is not None:
            page = Cursor.read(options.cursor)
            min_sequence = max(min_sequence or 0, page.sequence)
            version = version or self._others.of_cursor(page)
        return self._snapshot(min_sequence, version)

    def _inputs(
        self, snapshot: Snapshot, source: Query, clock: StageTimer
    ) -> tuple[dict[str, np.ndarray], set[int]]:
        """The embeddings of what a question is about, by name (each float32 [n, D]), and the pids
        it is about."""
        inputs: dict[str, np.ndarray] = {}
        own: set[int] = set()
        if source.product_id is not None:
            pid = self._catalog.pid(source.product_id)
            if pid is None:
                raise UnknownProductError(f"no product {source.product_id!r}")
            try:
                inputs["product_id"] = snapshot.live.vectors_of(pid)[1]
            except UnknownProductError:
                raise NoIndexError(
                    f"product {source.product_id!r} is stored but not searchable yet"
                ) from None
            own = {pid}
        if source.image is not None:
            inputs["image"] = self._seeing.vector(snapshot, source, clock)[np.newaxis]
        if not inputs:
            raise BadRequestError("nothing to look at: give an image or a product")
        return inputs, own

    def _vectors(
        self, snapshot: Snapshot, source: Query, clock: StageTimer
    ) -> tuple[np.ndarray, set[int]]:
        """Query vectors float32 [n, D], of several inputs their mean direction, and the pids the
        question is about."""
        inputs, own = self._inputs(snapshot, source, clock)
        if len(inputs) == 1:
            return next(iter(inputs.values())), own
        mean = np.sum([_unit(vectors.mean(axis=0)) for vectors in inputs.values()], axis=0)
        return _unit(mean.astype(np.float32))[np.newaxis], own


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        raise BadRequestError(
            "the image and the product point in opposite directions: ask for one of them"
        )
    return vector / length
