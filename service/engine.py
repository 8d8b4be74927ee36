"""Holds model, index and catalog, answers the questions, takes the writes; knows nothing of HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np

from indexer import images
from indexer.catalog.photos import PhotoStore
from indexer.catalog.records import Delete, Patch, Product, Written
from indexer.catalog.store import open_catalog
from indexer.databases import is_read_only
from indexer.errors import BadRequest, CatalensError, NoIndex, UnknownPhoto, UnknownProduct
from indexer.home import Home
from indexer.index.version import Versions
from indexer.native import THREADS
from indexer.traces import ticket as make_ticket
from service import answers
from service.answers import Clock
from service.batching import InferenceQueue, Overloaded, Turns
from service.classes import Classes
from service.classifying import Classifying
from service.erasing import Eraser
from service.explaining import Explaining
from service.filtering import Filtering
from service.folding import Folding
from service.logs import make_log
from service.many import Many, Question
from service.mapping import CatalogMap
from service.others import OtherVersions
from service.paging import Cursor
from service.people import People
from service.searching import Searching, Source, Wanted
from service.seeing import Seeing
from service.serving import Serving, Snapshot
from service.settings import Settings
from service.tagging import Tagging
from service.writes import Draft, Order, Upsert, Writer

_PATIENCE_S = 2.0  # how long a question with `min_sequence` waits for a write of another process


class Engine:
    """Answers over one home. Safe to call from many threads; ``close`` it, or use it in ``with``.

    Every answer is a plain dict that carries ``model_version``, ``index_version`` and ``timings_ms``, all from one
    snapshot. Failures are ``CatalensError``; with no active index, questions raise ``NoIndex`` until one is activated.
    ``watch=False`` (one question, then gone): other processes' later writes are not followed.
    """

    def __init__(self, settings: Settings, *, watch: bool = True, log: Any = None) -> None:
        self.settings = settings
        self.log = log or make_log()
        self.home = Home(settings.home)
        self._catalog = open_catalog(self.home)
        self._photos = PhotoStore(self.home)
        self._limits = images.ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
        # More threads at work than cores only wait for each other's locks: with 40 of them half as much is answered.
        self._turns = Turns(settings.working or THREADS + 1, settings.max_waiting, settings.deadline_s)
        self._stop = threading.Event()
        self.queue = InferenceQueue(
            max_batch=settings.max_batch, max_waiting=settings.max_waiting, max_delay_s=settings.max_delay_ms / 1000
        )
        self._seeing = Seeing(
            self.queue, self._catalog, self._photos, limits=self._limits, deadline_s=settings.deadline_s
        )
        self._watcher: threading.Thread | None = None
        self._eraser: Eraser | None = None
        try:
            self._serving = Serving(
                self.home,
                self._catalog,
                self._photos,
                self.queue,
                device=settings.device,
                engine=settings.engine,
                log=self.log,
            )
            self._writer = Writer(
                self._catalog, self._photos, self._serving, self.queue, self._limits, self._seeing.decoding, self.log
            )
            self.classes = Classes(
                self.home, self._catalog, self._serving, self.queue, embed=self._seeing.vector, answer=self._answer
            )
            self._others = OtherVersions(self.home, self._serving, most=settings.other_versions, log=self.log)
            self._serving.others = self._others
            self.folding = Folding(
                self.home, self._serving, max_delta=settings.max_delta, device=settings.device, log=self.log
            )
            self.explain = Explaining(
                self.queue, snapshot=self._snapshot, photo=self._seeing.photo, answer=self._answer
            )
            self._filtering = Filtering(self._catalog, answer=self._answer, log=self.log)
            self._searching = Searching(self._catalog, self._filtering, inputs=self._inputs, answer=self._answer)
            shared: dict[str, Any] = {"vectors": self._vectors, "answer": self._answer}
            self._classifying = Classifying(**shared)
            self._tagging = Tagging(self._catalog, **shared)
            self._many = Many(self._classifying, self._searching, self._tagging)
            self.mapping = CatalogMap(self._catalog, snapshot=self._snapshot, answer=self._answer)
            self.people = People(self.home, self._catalog, self._serving, answer=self._answer)
            self._serving.start()
        except BaseException:
            self.queue.close()
            raise
        if watch:
            self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)
            self._watcher.start()
            if not is_read_only(self.home.catalog_file):
                within_s = settings.erase_within_s
                self._eraser = Eraser(self.home, self._catalog, within_s=within_s, log=self.log)
                self._eraser.start()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop the threads; questions in flight are answered first."""
        self._stop.set()
        if self._eraser is not None:
            self._eraser.close()
        if self._watcher is not None:
            self._watcher.join(timeout=30)
        self.folding.close()
        self._many.close()
        self.queue.close()
        self.people.close()

    def _watch(self) -> None:
        while not self._stop.wait(self.settings.poll_s):
            self._serving.refresh()
            try:
                self.folding.look()
            except Exception as error:  # the watcher must go on following other processes
                self.log.error("folding cannot be looked after", exc_info=error)

    def refresh(self) -> None:
        """Look now for other processes' writes and activations (the watcher does so every ``poll_s``)."""
        self._serving.refresh()

    @property
    def snapshot(self) -> Snapshot | None:
        """What would answer now, if anything does."""
        return self._serving.current

    def last_sequence(self) -> int:
        """The sequence number of the catalog's last change, of whatever process."""
        return self._catalog.last_sequence()

    def ready(self) -> Snapshot:
        """The snapshot that would answer now. Raises ``NoIndex`` or ``Overloaded``."""
        if not self.queue.alive:
            raise Overloaded("the service is shutting down")
        return self._snapshot()

    # -- questions

    # Each may name another ``version`` than the serving one; model, decision layer and index are then that version's.

    def classify(
        self, source: Source, *, top: int = 5, min_sequence: int | None = None, version: str | None = None
    ) -> dict[str, Any]:
        """``categories`` [{label, path, probability}], best first, and ``unknown``. Raises ``NoCategories``."""
        snapshot = self._snapshot(min_sequence, version)
        with self._turn() as clock:
            return self._classifying.classify(snapshot, source, clock, top=top)

    def search(
        self,
        source: Source,
        *,
        k: int = 20,
        exclude: Sequence[str] = (),
        min_score: float | None = None,
        filter: object = None,
        weights: Mapping[str, float] | None = None,
        mix: Mapping[str, float] | None = None,
        collapse: str = "none",
        cursor: str | None = None,
        min_sequence: int | None = None,
        version: str | None = None,
    ) -> dict[str, Any]:
        """``results``, one per product with its best photo, score descending; min(k, matches) of them. ``next_cursor``.

        A product asked about is itself left out, and so are the ids in ``exclude``. ``filter``: as sent, see
        ``parse_filter``. ``weights`` over the embedding's blocks and ``mix`` over image and product_id: the score is
        the weighted mean of their cosines. ``collapse``: of results with the same photo, or nearly the same, only the
        best. ``cursor``: the ``next_cursor`` of the page before. Raises ``BadFilter``, ``BadRequest``, ``CursorGone``.
        """
        if cursor is not None:
            page = Cursor.read(cursor)
            min_sequence = max(min_sequence or 0, page.sequence)
            version = version or self._others.of_cursor(page)
        wanted = Wanted(k, exclude, min_score, filter, weights, mix, collapse, cursor)
        snapshot = self._snapshot(min_sequence, version)
        with self._turn() as clock:
            return self._searching.search(snapshot, source, wanted, clock)

    def similar(self, product_id: str, **wanted: Any) -> dict[str, Any]:
        """``search`` for a stored product, with the same parameters: the best over its photos. ``UnknownProduct``."""
        return self.search(Source(product_id=product_id), **wanted)

    def facets(
        self, *, filter: object = None, fields: Sequence[str] = (), limit: int = 20, min_sequence: int | None = None
    ) -> dict[str, Any]:
        """Counts of values among the products that pass ``filter``; see ``Filtering.facets``."""
        clock = Clock()
        return self._filtering.facets(self._snapshot(min_sequence), clock, filter=filter, fields=fields, limit=limit)

    def tags(self, source: Source, *, min_sequence: int | None = None, version: str | None = None) -> dict[str, Any]:
        """``tags`` [{tag, confidence, neighbours: [{product_id, score}]}], most confident first."""
        snapshot = self._snapshot(min_sequence, version)
        with self._turn() as clock:
            return self._tagging.tags(snapshot, source, clock)

    def describe(
        self,
        source: Source,
        *,
        min_sequence: int | None = None,
        version: str | None = None,
        **wanted: Any,
    ) -> dict[str, Any]:
        """What ``classify``, ``search`` (whose parameters are ``wanted``) and ``tags`` answer, from one snapshot.

        The photo is decoded and embedded once. A model without categories has none and ``unknown`` is None.
        """
        snapshot = self._snapshot(min_sequence, version)
        with self._turn() as clock:
            found = self._searching.search(snapshot, source, Wanted(**wanted), clock)
            parts = [self._tagging.tags(snapshot, source, clock)]
            if snapshot.bundle.decision.categories:
                parts.append(self._classifying.classify(snapshot, source, clock))
        whole = {"categories": [], "unknown": None, **found}
        for part in parts:
            whole.update(part)
        return whole

    def many(
        self,
        question: Question,
        photos: Sequence[bytes],
        *,
        min_sequence: int | None = None,
        version: str | None = None,
        **wanted: Any,
    ) -> tuple[list[dict[str, Any] | CatalensError], dict[str, Any]]:
        """What ``question`` answers about each photo, all from one snapshot, and the answer around them.

        ``wanted``: the parameters of ``search``. A photo that cannot be used, or that the network has no time for, has
        its failure in its place; what is wrong with the question itself is raised.
        """
        clock = Clock()
        snapshot = self._snapshot(min_sequence, version)
        found = self._many.ask(question, snapshot, [Source(image=data) for data in photos], Wanted(**wanted))
        return found, self._answer(snapshot, clock)

    # -- the catalog

    def product(self, product_id: str) -> dict[str, Any]:
        """One product as stored. Raises ``UnknownProduct``."""
        clock = Clock()
        return self._answer(self._serving.current, clock, **self._shown([self._catalog.get(product_id)])[0])

    def sample(self, limit: int = 24) -> dict[str, Any]:
        """``products`` spread evenly over the index, and ``total``: something to begin browsing with."""
        clock = Clock()
        snapshot = self._snapshot()
        rows = snapshot.live.base.rows
        places = np.linspace(0, max(len(rows) - 1, 0), num=min(3 * limit, len(rows)), dtype=np.int64)
        pids = list(dict.fromkeys(int(pid) for pid in rows[places, 0]))
        products = list(self._catalog.by_pids(pids).values())
        return self._answer(
            snapshot, clock, products=self._shown(_spread(products, limit)), total=snapshot.live.product_count
        )

    def put(self, product_id: str, draft: Draft, *, external_version: int | None = None) -> dict[str, Any]:
        """Add or replace a product; the next question finds it. ``outcome`` and ``sequence``.

        Acknowledged after the commit. Raises ``BadImage``, ``BadProduct``, ``StaleVersion``; then nothing is changed.
        """
        clock = Clock()
        return self._written(product_id, self._writer.one(Upsert(product_id, draft, external_version), clock), clock)

    def patch(
        self, product_id: str, changes: Mapping[str, Any], *, external_version: int | None = None
    ) -> dict[str, Any]:
        """Change title, category, tags or attributes; photos stay. Raises ``UnknownProduct``, ``BadProduct``."""
        clock = Clock()
        return self._written(product_id, self._writer.one(Patch(product_id, changes, external_version), clock), clock)

    def delete(self, product_id: str, *, external_version: int | None = None, ticket: bool = False) -> dict[str, Any]:
        """Erase a product with the photos no other product uses. Raises ``UnknownProduct``.

        Versions and databases are rewritten without it within ``erase_within_s``. ``ticket``: what to look for then,
        for ``catalens index verify --erased``.
        """
        clock = Clock()
        kept = make_ticket(self.home, self._catalog, product_id) if ticket else None
        written = self._writer.one(Delete(product_id, external_version), clock)
        self._seeing.forget([written])
        answer = self._written(product_id, written, clock)
        return answer if kept is None else {**answer, "ticket": kept}

    def batch(self, orders: Sequence[Order]) -> tuple[list[Written | CatalensError], dict[str, Any]]:
        """What became of each of ``orders``, committed as one and searchable by now, and the answer around them."""
        clock = Clock()
        written = self._writer.write(orders, clock)
        self._seeing.forget([found for found in written if isinstance(found, Written)])
        return written, self._answer(self._serving.current, clock)

    def thumbnail(self, content_hash: str, width: int) -> bytes:
        """A JPEG, ``width`` (160, 320, 640) px wide at most. Raises ``UnknownPhoto``."""
        row = self._catalog.photo(content_hash)
        if row is None:
            raise UnknownPhoto(f"no photo {content_hash}")
        try:
            with self._seeing.decoding:
                return self._photos.thumbnail(row, width)
        except CatalensError as error:  # its message may name a file of this machine
            self.log.warning("photo cannot be shown", hash=content_hash, code=error.code, error=str(error))
            raise UnknownPhoto(f"the file of photo {content_hash} is gone or was changed") from error

    def has_photo(self, content_hash: str) -> bool:
        """Whether a stored product has this photo."""
        return self._catalog.photo(content_hash) is not None

    # -- versions

    def indexes(self) -> dict[str, Any]:
        """``indexes``: the published versions, oldest first, and which one serves."""
        clock = Clock()
        now = self._serving.current
        names = ("version", "model_version", "embedding_id", "recipe", "counts", "last_sequence", "recall", "created")
        listed = []
        for manifest in Versions(self.home).list():
            fields = asdict(manifest)
            active = now is not None and manifest.version == now.index_version
            listed.append({**{name: fields[name] for name in names}, "active": active})
        blocks = {block.name: block.weight for block in now.bundle.spec.blocks} if now else {}
        return self._answer(now, clock, indexes=listed, blocks=blocks)

    def activate(self, version: str) -> dict[str, Any]:
        """Switch to ``version`` and its model. Raises ``UnknownVersion``, ``DamagedIndex``, ``IndexMismatch``."""
        clock = Clock()
        Versions(self.home).activate(version)
        self._serving.refresh()
        return self._answer(self._serving.current, clock, activated=version)

    # -- inside

    @contextmanager
    def _turn(self) -> Iterator[Clock]:
        """A place at work, and the request's clock. Raises ``Overloaded``, ``TooLate``."""
        clock = Clock()
        with ExitStack() as stack:
            with clock.stage("wait"):
                stack.enter_context(self._turns.turn())
            yield clock

    def _snapshot(self, min_sequence: int | None = None, version: str | None = None) -> Snapshot:
        snapshot = self._serving.current if version is None else self._others.get(version)
        if snapshot is None:
            raise NoIndex("no index version is active: run catalens index build --activate")
        if min_sequence is not None:
            until = time.monotonic() + _PATIENCE_S
            while snapshot.live.sequence < min_sequence:
                if min_sequence > self._catalog.last_sequence():
                    raise BadRequest(f"min_sequence {min_sequence} is beyond the catalog's last change")
                if time.monotonic() > until:
                    raise Overloaded(f"sequence {min_sequence} is not searchable yet: try again shortly")
                time.sleep(0.02)
                snapshot = self._snapshot(version=version)
        return snapshot

    def _inputs(self, snapshot: Snapshot, source: Source, clock: Clock) -> tuple[dict[str, np.ndarray], set[int]]:
        """The embeddings of what a question is about, by name (each float32 [n, D]), and the pids it is about."""
        inputs: dict[str, np.ndarray] = {}
        own: set[int] = set()
        if source.product_id is not None:
            pid = self._catalog.pid(source.product_id)
            if pid is None:
                raise UnknownProduct(f"no product {source.product_id!r}")
            try:
                inputs["product_id"] = snapshot.live.vectors_of(pid)[1]
            except UnknownProduct:
                raise NoIndex(f"product {source.product_id!r} is stored but not searchable yet") from None
            own = {pid}
        if source.image is not None:
            inputs["image"] = self._seeing.vector(snapshot, source.image, source.crop, clock)[np.newaxis]
        if not inputs:
            raise BadRequest("nothing to look at: give an image or a product")
        return inputs, own

    def _vectors(self, snapshot: Snapshot, source: Source, clock: Clock) -> tuple[np.ndarray, set[int]]:
        """Query vectors float32 [n, D], of several inputs their mean direction, and the pids the question is about."""
        inputs, own = self._inputs(snapshot, source, clock)
        if len(inputs) == 1:
            return next(iter(inputs.values())), own
        mean = np.sum([_unit(vectors.mean(axis=0)) for vectors in inputs.values()], axis=0)
        return _unit(mean.astype(np.float32))[np.newaxis], own

    def _shown(self, products: Sequence[Product]) -> list[dict[str, Any]]:
        rows = self._catalog.photos_by_id([photo_id for product in products for photo_id in product.photo_ids])
        return [answers.stored(product, rows) for product in products]

    def _written(self, product_id: str, written: Written, clock: Clock) -> dict[str, Any]:
        return self._answer(
            self._serving.current, clock, product_id=product_id, outcome=written.outcome, sequence=written.sequence
        )

    @staticmethod
    def _answer(snapshot: Snapshot | None, clock: Clock, **content: Any) -> dict[str, Any]:
        return {
            "model_version": snapshot.model_version if snapshot else None,
            "index_version": snapshot.index_version if snapshot else None,
            **content,
            "timings_ms": clock.read(),
        }


def _spread(products: list[Product], limit: int) -> list[Product]:
    """``limit`` of ``products`` at even distances."""
    places = np.linspace(0, len(products) - 1, num=min(limit, len(products)))
    return [products[round(place)] for place in places]


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    if length < 1e-6:
        raise BadRequest("the image and the product point in opposite directions: ask for one of them")
    return vector / length
