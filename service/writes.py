"""Writes: a product's photos stored and embedded, the catalog changed, the served index told."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer import images
from indexer.catalog.photos import PhotoStore
from indexer.catalog.records import Product, ProductInput, Tag, Written, check_product
from indexer.catalog.store import Catalog
from indexer.errors import BadProduct, CatalensError
from service.answers import Clock
from service.batching import InferenceQueue
from service.serving import Serving, Snapshot


@dataclass(frozen=True)
class Draft:
    """A product as sent. ``tags`` are (tag, source); ``photos`` bytes, or the hash of a stored one; the first leads."""

    title: str | None = None
    category: tuple[str, ...] | None = None
    tags: tuple[tuple[str, str], ...] = ()
    attributes: Mapping[str, Any] | None = None
    photos: tuple[bytes | str, ...] = ()


class Writer:
    """Takes one write at a time up to its commit, and makes it searchable before it returns."""

    def __init__(
        self,
        catalog: Catalog,
        photos: PhotoStore,
        serving: Serving,
        queue: InferenceQueue,
        limits: images.ImageLimits,
        decoding: threading.Semaphore,
        log: Any,
    ) -> None:
        self._catalog, self._photos, self._serving, self._queue = catalog, photos, serving, queue
        self._limits, self._decoding, self._log = limits, decoding, log
        self._writing = threading.Lock()

    def put(self, product_id: str, draft: Draft, external_version: int | None, clock: Clock) -> Written:
        """As ``Engine.put``. Decoded and embedded first, so that a bad photo changes nothing."""
        snapshot = self._serving.current
        with clock.stage("decode"):
            given = [self._photo(photo, position, snapshot) for position, photo in enumerate(draft.photos)]
        hashes = [photo if isinstance(photo, str) else photo[1].content_hash for photo in given]
        product = ProductInput(
            product_id=product_id,
            title=draft.title,
            category=draft.category,
            tags=tuple(Tag(tag, source) for tag, source in draft.tags),
            attributes=dict(draft.attributes or {}),
            photos=tuple(dict.fromkeys(hashes)),
        )
        check_product(product)
        new = {photo[1].content_hash: photo for photo in given if not isinstance(photo, str)}
        vectors: dict[str, np.ndarray] = {}
        if snapshot is not None and new:
            with clock.stage("embed"):
                embedded = self._queue.embed(snapshot.embedder, [photo for _, photo in new.values()])
            vectors = dict(zip(new, embedded, strict=True))
        with clock.stage("write"), self._writing:
            before = self._stored(product_id)
            try:
                rows = [self._photos.add(data, photo) for data, photo in new.values()]
                written = self._catalog.put(product, photos=rows, external_version=external_version)
            except CatalensError:
                self._photos.collect(self._catalog, new)
                raise
            self._after(written, before, snapshot, vectors)
        return written

    def patch(self, product_id: str, changes: Mapping[str, Any], external_version: int | None, clock: Clock) -> Written:
        """As ``Engine.patch``."""
        with clock.stage("write"), self._writing:
            written = self._catalog.patch(product_id, changes, external_version=external_version)
            self._after(written, None)
        return written

    def delete(self, product_id: str, external_version: int | None, clock: Clock) -> Written:
        """As ``Engine.delete``."""
        with clock.stage("write"), self._writing:
            before = self._stored(product_id)
            written = self._catalog.delete(product_id, external_version=external_version)
            self._after(written, before)
        return written

    def _photo(self, given: bytes | str, position: int, snapshot: Snapshot | None) -> str | tuple[bytes, images.Photo]:
        if isinstance(given, str):
            if self._catalog.photo(given) is None:
                raise BadProduct(f"image {position}: no stored photo has hash {given}")
            return given
        shrink_to = snapshot.embedder.shrink_to if snapshot else None
        try:
            with self._decoding:
                return given, images.decode(given, limits=self._limits, shrink_to=shrink_to)
        except images.BadImage as error:
            raise type(error)(f"image {position}: {error}") from error

    def _stored(self, product_id: str) -> Product | None:
        pid = self._catalog.pid(product_id)
        return None if pid is None else self._catalog.by_pids([pid]).get(pid)

    def _after(
        self,
        written: Written,
        before: Product | None,
        snapshot: Snapshot | None = None,
        vectors: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Make a committed write searchable and clear what nothing uses any more. Never fails: the write is safe."""
        try:
            if snapshot is not None and vectors:
                rows = self._catalog.photos_by_hash(vectors)
                ids = np.array([row.photo_id for row in rows.values()], dtype=np.int64)
                if len(ids):
                    snapshot.store.put(ids, np.stack([vectors[content_hash] for content_hash in rows]))
            self._serving.apply([written.pid], written.sequence)
        except Exception as error:
            self._log.error("written, but not searchable yet", sequence=written.sequence, exc_info=error)
        if before is None or not written.orphaned:
            return
        try:
            held = dict(zip(before.photos, before.photo_ids, strict=True))
            gone = [held[content_hash] for content_hash in written.orphaned if content_hash in held]
            if self._serving.current is not None:
                self._serving.current.store.delete(np.array(gone, dtype=np.int64))
            self._photos.collect(self._catalog, written.orphaned)
        except Exception as error:
            self._log.error("photos of an erased product are still on disk", hashes=written.orphaned, exc_info=error)
