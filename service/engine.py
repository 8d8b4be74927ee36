"""Engine: holds model, index and catalog of one home, answers queries and takes writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.probe import CatalogProbe
from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.core.timer import StageTimer
from indexer.imaging.decode import ImageLimits
from service.background.compaction import Compactor
from service.background.derived_state import DerivedState, Follower
from service.background.erasure import Eraser
from service.background.home_tasks import home_tasks
from service.background.jobs import JobRunner
from service.background.leadership import Leadership
from service.background.refresh import SnapshotRefresh
from service.background.runner import BackgroundRunner
from service.inference.admission import AdmissionGate, OverloadedError
from service.inference.decoder import PhotoDecoder
from service.inference.queue import InferenceQueue
from service.logging import make_log
from service.products.actions import ActionHistory
from service.products.catalog import ProductCatalog
from service.products.classes import ClassManager
from service.products.versions import IndexVersions
from service.products.writer import Writer
from service.query.batch import BatchAnswer, BatchRunner, Task
from service.query.catalog_map import MOST, map_points
from service.query.classify import classify, require_categories
from service.query.context import RequestContext
from service.query.cursors import CursorSigner
from service.query.describe import describe
from service.query.explain import Explainer
from service.query.facets import FacetCounter
from service.query.filters import FilterParser
from service.query.groups import GroupReader
from service.query.interest_ranking import RecommendOptions
from service.query.objects import ObjectFinder, ObjectOptions
from service.query.pair_texts import PairEncoders
from service.query.photo_embedder import PhotoEmbedder
from service.query.photo_urls import PhotoUrls, fetch_settings
from service.query.query import OutOfStock, Query, RawFilter, SearchOptions, SnapshotSelector
from service.query.recommend import Event, Recommender, check_history
from service.query.response import (
    Classification,
    Description,
    Envelope,
    Explanation,
    Facets,
    FoundObjects,
    Framed,
    MapPoints,
    Recommendations,
    SearchPage,
    SuggestedTags,
)
from service.query.search import Searcher
from service.query.selection import SnapshotChooser
from service.query.stock import StockFilter
from service.query.tags import TagSuggester
from service.query.text import TextQueryParser
from service.review.database import ReviewDatabase
from service.review.duplicate_check import DuplicateCheck
from service.review.feedback import FeedbackLog
from service.review.policy_check import PolicyCheck
from service.review.quality_check import QualityCheck
from service.review.queue import NAMELESS, ListingName, ReviewQueue
from service.review.result import ReviewResult
from service.review.review import ListingReviewer
from service.settings import Capacity, Settings
from service.state.pinned_versions import PinnedVersions
from service.state.snapshot import Snapshot
from service.state.snapshots import SnapshotManager


class Engine:
    """Answers over one home. Safe to call from many threads; ``close`` it, or use it in ``with``.

    What is asked of a snapshot is a method here; what the home holds is a part: ``products``,
    ``versions``, ``classes``, ``jobs``, ``reviews``, ``feedback``. Every answer is an
    ``Envelope`` with the versions of one snapshot. Failures are ``CatalensError``; with no active
    index, queries raise ``NoIndexError`` until one is activated. Each query may name another
    ``version`` than the serving one: model, decision layer and index are then that version's.
    ``watch=False`` (one query, then gone): other processes' later writes are not followed.
    """

    def __init__(self, settings: Settings, *, watch: bool = True, log: Any = None) -> None:
        self.settings = settings
        self._watches = watch
        self.log = log or make_log()
        self.home = Home(settings.home)
        self.catalog = open_catalog(self.home)
        self._probe = CatalogProbe(self.catalog.database)
        self._capacity = capacity = Capacity.of(settings)
        self.admission = AdmissionGate(capacity.working, capacity.waiting, settings.deadline_s)
        self.queue = InferenceQueue(
            max_batch=settings.max_batch,
            max_waiting=settings.max_waiting,
            max_delay_s=settings.max_delay_ms / 1000,
        )
        try:
            self._make_parts(settings)
            self.snapshots.start()
        except BaseException:
            self.queue.close()
            raise
        if watch:
            self._background.start()

    def _make_parts(self, settings: Settings) -> None:
        self.photos = PhotoStore(self.home)
        self.photo_urls = PhotoUrls(settings)
        decoder = PhotoDecoder(
            ImageLimits(settings.max_image_bytes, settings.max_image_pixels),
            settings.max_decoded_bytes or None,
        )
        pinned = PinnedVersions(self.home, capacity=settings.other_versions, log=self.log)
        self.snapshots = SnapshotManager(
            self.home,
            self.catalog,
            self.photos,
            self.queue,
            pinned,
            device=settings.device,
            engine=settings.engine,
            log=self.log,
        )
        self.embedder = PhotoEmbedder(
            self.queue, decoder, self.admission, self.catalog, self.photos
        )
        self._pairs = PairEncoders(self.log, settings.text_pair_share)
        writer = Writer(
            self.home, self.catalog, self.photos, self.snapshots, self.queue, decoder, self.log
        )
        self.products = ProductCatalog(
            self.home,
            self.catalog,
            self.photos,
            self.snapshots,
            writer,
            self.embedder,
            deadline_s=settings.deadline_s,
            log=self.log,
        )
        self.versions = IndexVersions(self.home, self.catalog, self.snapshots, settings.deadline_s)
        self.actions = ActionHistory(self.home, self.catalog, self.snapshots, settings)
        self.classes = ClassManager(
            self.home,
            self.catalog,
            self.snapshots,
            self.embedder,
            self._pairs,
            deadline_s=settings.deadline_s,
        )
        self._make_query_parts(settings)
        self._make_review_parts(settings)
        self._make_background_parts(settings)

    def _make_query_parts(self, settings: Settings) -> None:
        cursors = CursorSigner(self.catalog, settings.max_depth)
        self._chooser = SnapshotChooser(self.catalog, self.snapshots, cursors)
        filters = FilterParser(self.catalog, log=self.log, followed=self._watches)
        self._filters = filters
        self._texts = TextQueryParser(
            self.home,
            self.catalog,
            self._pairs,
            encoder=settings.text_encoder,
            followed=self._watches,
        )
        stock = StockFilter(filters, settings.out_of_stock, settings.out_of_stock_handling)
        self._groups = groups = GroupReader(filters, stock)
        self._facets = FacetCounter(filters, stock, groups)
        self.searcher = Searcher(self.catalog, stock, groups, self._texts, cursors)
        self.tag_suggester = TagSuggester(self.catalog, self.admission)
        self._explainer = Explainer(self.queue, self.embedder)
        self._recommender = Recommender(self.catalog, filters, stock, groups)
        self._objects = ObjectFinder(self.embedder, self.searcher)
        self._batches = BatchRunner(self.embedder, self.searcher, self.tag_suggester)

    def _make_review_parts(self, settings: Settings) -> None:
        self.review_database = ReviewDatabase(self.home, self.catalog)
        self.reviews = ReviewQueue(self.catalog, self.snapshots, self.review_database)
        self.feedback = FeedbackLog(self.catalog, self.snapshots, self.review_database)
        quality = QualityCheck(
            self.home, settings.quality_profile, settings.quality_floors, self.log
        )
        home, catalog, file = self.home, self.catalog, settings.policy_file
        self.policies = PolicyCheck(
            home, catalog, self.queue, self.embedder, self._pairs, file, self.log
        )
        self._duplicates = DuplicateCheck(
            self.home,
            self.catalog,
            self.photos,
            self._groups,
            print_limit=settings.print_difference,
            followed=self._watches,
        )
        self._reviewer = ListingReviewer(
            self.catalog,
            self.embedder,
            self.tag_suggester,
            self.reviews,
            quality=quality,
            policies=self.policies,
            duplicates=self._duplicates,
        )

    def _make_background_parts(self, settings: Settings) -> None:
        leadership = Leadership(self.home, self.catalog.database, log=self.log)
        self.folding = Compactor(
            self.home,
            self.snapshots,
            leadership,
            max_delta=settings.max_delta,
            device=settings.device,
            memory=settings.job_memory,
            log=self.log,
        )
        self.jobs = JobRunner(
            self.home,
            leadership,
            import_root=settings.import_root,
            max_upload_bytes=settings.max_upload_bytes,
            fetching=fetch_settings(settings) if settings.allow_urls else None,
            device=settings.device,
            memory=settings.job_memory,
            streams=max(1, self._capacity.threads // 4),
            log=self.log,
        )
        self.eraser = Eraser(
            self.home,
            self.catalog,
            leadership,
            within_s=settings.erase_within_s,
            terms=settings.retention_terms,
            memory=settings.job_memory,
            log=self.log,
        )
        followers: dict[str, Follower] = {
            "photos": self.snapshots,
            "keywords": self._texts,
            "signatures": self._duplicates,
            "reviews": self.reviews,
            "columns": self._filters,
        }
        derived = DerivedState(followers, log=self.log)
        refresh = SnapshotRefresh(self.snapshots, self._probe)
        more = home_tasks(self.home, settings, leadership, self.log)
        self._background = BackgroundRunner(
            (refresh, derived, self.folding, self.jobs, self.eraser, *more),
            leadership,
            poll_s=settings.poll_s,
            log=self.log,
        )

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the threads; queries in flight are answered first."""
        self._background.close()
        self._batches.close()
        self.photo_urls.close()
        self.tag_suggester.close()
        self.queue.close()
        self._reviewer.close()
        self.review_database.close()
        self._texts.close()

    def refresh(self) -> None:
        """Follow other processes' writes and activations now; the background does so
        every ``poll_s``."""
        self.snapshots.refresh()

    @property
    def snapshot(self) -> Snapshot | None:
        """What would answer now, if anything does."""
        return self.snapshots.current

    def last_sequence(self) -> int:
        """The sequence number of the catalog's last change, of whatever process."""
        return self.catalog.last_sequence()

    def ready(self) -> Snapshot:
        """The snapshot that would answer now. Raises ``NoIndexError``, ``OverloadedError``, and
        as ``CatalogProbe.require``."""
        if not self.queue.alive:
            raise OverloadedError("the service is shutting down")
        self._probe.require()
        return self.snapshots.require()

    def frame(self, content: Framed) -> Envelope[Framed]:
        """An answer that needs no snapshot, with the versions that serve now."""
        return Envelope.around(content, self.snapshots.current, StageTimer())

    # -- queries: options are given as a model, or as its fields by name

    def classify(
        self, query: Query, at: SnapshotSelector | None = None, *, top: int = 5, **fields: Any
    ) -> Envelope[Classification]:
        """Categories, best first. Raises ``NoCategoriesError``."""
        with self._begin(SnapshotSelector.of(at, fields)) as ctx:
            require_categories(ctx.snapshot)
            return ctx.respond(classify(ctx, self.embedder.embed(ctx, query), top=top))

    def search(
        self, query: Query, options: SearchOptions | None = None, **fields: Any
    ) -> Envelope[SearchPage]:
        """One result per product with its best photo, score descending; min(k, matches) of them.

        A product asked about is itself left out. With ``weights`` and ``mix`` the score is the
        weighted mean of the inputs' cosines and, of a text, of its keywords. What matches a text is
        all that passes; where it has no vector (a version without a tower, words that the tower
        lacks) what holds one of its words. Raises ``BadFilterError``, ``BadRequestError``,
        ``CursorGoneError``.
        """
        options = SearchOptions.of(options, fields)
        with self._begin(options) as ctx:
            plan = self.searcher.plan(ctx, query, options)
            page = self.searcher.search(ctx, self.embedder.embed(ctx, query), plan)
            return ctx.respond(page, options.fields)

    def similar(
        self, product_id: str, options: SearchOptions | None = None, **fields: Any
    ) -> Envelope[SearchPage]:
        """``search`` for a stored product: the best over its photos. Raises
        ``UnknownProductError``."""
        return self.search(Query(product_id=product_id), options, **fields)

    def tags(
        self, query: Query, at: SnapshotSelector | None = None, **fields: Any
    ) -> Envelope[SuggestedTags]:
        """Tags, most confident first, with the products that speak for them."""
        with self._begin(SnapshotSelector.of(at, fields)) as ctx:
            return ctx.respond(self.tag_suggester.suggest(ctx, self.embedder.embed(ctx, query)))

    def describe(
        self, query: Query, options: SearchOptions | None = None, **fields: Any
    ) -> Envelope[Description]:
        """What ``classify``, ``search`` and ``tags`` answer, from one snapshot.

        The photo is decoded and embedded once, and a search that two of them need is made once.
        """
        options = SearchOptions.of(options, fields)
        with self._begin(options, with_tags=True) as ctx:
            plan = self.searcher.plan(ctx, query, options)
            embedded = self.embedder.embed(ctx, query)
            page = self.searcher.search(ctx, embedded, plan)
            tags = self.tag_suggester.suggest(ctx, embedded).tags
            return ctx.respond(describe(ctx, embedded, page, tags), options.fields)

    def batch(
        self,
        task: Task,
        photos: Sequence[bytes],
        options: SearchOptions | None = None,
        **fields: Any,
    ) -> Envelope[BatchAnswer]:
        """What ``task`` gives for each photo, all from one snapshot.

        A photo that cannot be used, or that the network has no time for, has its failure in its
        place; what is wrong with the task itself is raised.
        """
        options = SearchOptions.of(options, fields)
        ctx = self._context(options)
        return ctx.respond(self._batches.run(ctx, task, photos, options), options.fields)

    def facets(
        self,
        at: SnapshotSelector | None = None,
        *,
        filter: RawFilter | None = None,
        fields: Sequence[str] = (),
        limit: int = 20,
        group_by: str | None = None,
        out_of_stock: OutOfStock | None = None,
        **selector: Any,
    ) -> Envelope[Facets]:
        """Counts of values among the products that pass ``filter``, or among their groups;
        ``fields``: of these alone."""
        with self._begin(SnapshotSelector.of(at, selector)) as ctx:
            found = self._facets.count(
                ctx,
                filter=filter,
                fields=fields,
                limit=limit,
                group_by=group_by,
                out_of_stock=out_of_stock,
            )
            return ctx.respond(found)

    def find_objects(
        self, photo: bytes, options: ObjectOptions | None = None, **fields: Any
    ) -> Envelope[FoundObjects]:
        """The products in a busy photo, each with what looks like it."""
        options = ObjectOptions.of(options, fields)
        with self._begin(options) as ctx:
            return ctx.respond(self._objects.find(ctx, photo, options))

    def recommend(
        self, history: Sequence[Event], options: RecommendOptions | None = None, **fields: Any
    ) -> Envelope[Recommendations]:
        """Products for a shopper, each with its reason. Raises ``BadRequestError`` for an empty
        history, ``UnknownProductError``, ``NoOrdersError``."""
        options = RecommendOptions.of(options, fields)
        check_history(history)
        with self._begin(options) as ctx:
            return ctx.respond(self._recommender.recommend(ctx, history, options), options.fields)

    def explain_category(
        self,
        query: Query,
        category: str | Sequence[str] | None = None,
        at: SnapshotSelector | None = None,
        **fields: Any,
    ) -> Envelope[Explanation]:
        """What in a photo speaks for ``category``, None for the most probable one."""
        with self._begin(SnapshotSelector.of(at, fields)) as ctx:
            return ctx.respond(self._explainer.explain_category(ctx, query, category))

    def explain_pair(
        self, query: Query, other: Query, at: SnapshotSelector | None = None, **fields: Any
    ) -> Envelope[Explanation]:
        """What in two photos makes them similar, by block of the embedding."""
        with self._begin(SnapshotSelector.of(at, fields)) as ctx:
            return ctx.respond(self._explainer.explain_pair(ctx, query, other))

    def map(self, *, limit: int = MOST) -> Envelope[MapPoints]:
        """At most ``limit`` products as points in the plane."""
        ctx = self._context(SnapshotSelector())
        return ctx.respond(map_points(ctx, self.catalog, limit=limit))

    # -- reviews

    def review(
        self,
        photos: Sequence[bytes],
        at: SnapshotSelector | None = None,
        *,
        product_id: str | None = None,
        profile: str | None = None,
        queue: bool = True,
        name: ListingName = NAMELESS,
        **fields: Any,
    ) -> Envelope[ReviewResult]:
        """Whether a listing with these ``photos`` is fit to publish.

        ``product_id``: a stored product, never its own duplicate, whose photos are taken where none
        are given. ``queue``: put it where people look, if it asks for one, under ``name``. Raises
        ``BadImageError``, ``UnknownProductError``.
        """
        with self._begin(SnapshotSelector.of(at, fields)) as ctx:
            result = self._reviewer.review(
                ctx, photos, product_id=product_id, profile=profile, queue=queue, name=name
            )
            return ctx.respond(result)

    @property
    def policy_version(self) -> str | None:
        """Of the policies that reviews are checked against."""
        return self.policies.version

    def prepare_reviews(self) -> None:
        """Do now what a service does behind its first review: read all signatures, fit galleries.
        May take minutes."""
        self.policies.fit(self.snapshots.require())
        self._duplicates.read()

    # -- inside

    @contextmanager
    def _begin(self, at: SnapshotSelector, *, with_tags: bool = False) -> Iterator[RequestContext]:
        """A place at work and the request's context. Raises ``OverloadedError``,
        ``DeadlineExceededError``, and as ``SnapshotChooser``."""
        snapshot = self._chooser.choose(at)
        timer = StageTimer()
        with ExitStack() as stack:
            with timer.stage("wait"):
                stack.enter_context(self.admission.turn())
            deadline_s = self.settings.deadline_s
            yield RequestContext.begin(snapshot, deadline_s, timer=timer, with_tags=with_tags)

    def _context(self, at: SnapshotSelector) -> RequestContext:
        """The context of a request that takes no place at work."""
        return RequestContext.begin(self._chooser.choose(at), self.settings.deadline_s)
