"""Duplicate check: products that a listing's photo repeats."""

from __future__ import annotations

import threading
from collections.abc import Set as AbstractSet
from contextlib import closing
from typing import Any, cast

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import Catalog
from indexer.core.errors import CatalensError, OutdatedVersionError
from indexer.core.home import Home
from indexer.duplicates.detect import NEAREST, find_repeats, nearest
from indexer.duplicates.hash_store import SignatureIndex, Signatures, SignatureStore
from indexer.duplicates.print_difference import PrintComparison
from indexer.duplicates.print_limit import PRINTS_DIFFER
from indexer.duplicates.product_threshold import load_rule
from indexer.imaging.decode import Photo
from service.query.context import RequestContext
from service.query.groups import GroupReader
from service.query.response import image_url
from service.review.result import DuplicateProduct


class DuplicateCheck:
    """Finds the products that a photo repeats.

    The signatures of the whole catalog are read, and made where they are missing, by a thread of
    their own; until they are there only identical photos and near embeddings are found, and
    ``complete`` says so.
    """

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        photos: PhotoStore,
        groups: GroupReader,
        log: Any,
        print_limit: float = PRINTS_DIFFER,
    ) -> None:
        self._home = home
        self._catalog = catalog
        self._photos = photos
        self._groups = groups
        self._prints = PrintComparison(catalog, photos, print_limit)
        self._log = log
        self._store: SignatureStore | None = None  # takes one call at a time
        self._using = threading.Lock()
        self._index = SignatureIndex(
            Signatures.compute(np.zeros(0, np.int64), np.zeros((0, 32, 32, 3), np.uint8)), 0
        )
        self._thread: threading.Thread | None = None
        self.complete = False

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join(timeout=30)
        if self._store is not None:
            self._store.close()

    def find(
        self,
        ctx: RequestContext,
        photo: Photo,
        vector: np.ndarray,
        *,
        exclude: AbstractSet[int],
    ) -> list[DuplicateProduct]:
        """The products repeated, the surest kind first, one of each parent's variants.

        ``exclude``: pids that do not count, and neither do their variants.
        """
        snapshot = ctx.snapshot
        fields = self._groups.fields(snapshot)
        exclude = self._groups.relatives(fields, exclude)
        hits = ctx.searches.search(snapshot.live, vector, NEAREST, exclude, None)
        close = nearest(snapshot.live, vector[np.newaxis], snapshot.bundle.spec, hits=hits)
        rule = load_rule(self._home, snapshot.bundle.embedding_id)
        with self._using:
            if self._store is None:
                self._store = SignatureStore(self._home, self._catalog)
            if self._thread is None and not self.complete:
                self._thread = threading.Thread(target=self._read, name="signatures", daemon=True)
                self._thread.start()
            if self.complete:
                self._follow(self._store)
            found = find_repeats(
                self._catalog,
                self._index,
                self._store,
                photo,
                neighbours=close,
                rule=rule,
                exclude=set(exclude),
                prints=self._prints,
            )
        pids = [self._catalog.pid(repeat.product_id) or 0 for repeat in found]
        return [
            DuplicateProduct(
                repeat.product_id,
                cast(Any, repeat.kind),
                repeat.score,
                repeat.photo,
                image_url(repeat.photo),
                repeat.evidence,
            )
            for repeat in map(found.__getitem__, self._groups.one_each(fields, pids))
        ]

    def _follow(self, store: SignatureStore) -> None:
        try:
            self._index.follow(self._catalog, self._photos, store)
        except OutdatedVersionError:  # the log was compacted past what the index had seen
            self._index = SignatureIndex.open(self._catalog, self._photos, store)

    def read(self) -> None:
        """Read and make all signatures now, in this thread."""
        with closing(SignatureStore(self._home, self._catalog)) as store:
            self._index = SignatureIndex.open(self._catalog, self._photos, store)
        self.complete = True

    def _read(self) -> None:
        try:
            self.read()
        except CatalensError as error:
            self._log.error(
                "signatures cannot be read: repeated photos are found by embedding only",
                error=str(error),
            )
