"""What the engine does beside answering questions: stored products and their photos, index
versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import Delete, Patch, Product, Written
from indexer.catalog.store import Catalog
from indexer.core.errors import CatalensError, UnknownPhotoError
from indexer.core.home import Home
from indexer.core.timer import StageTimer
from indexer.index.version import Versions
from indexer.operations.erasure_audit import ticket as make_ticket
from service.products.writer import Draft, Upsert, Writer, WriteRequest
from service.query.photo_embedder import PhotoEmbedder
from service.query.response import stored
from service.state.pinned_versions import check_version_name
from service.state.snapshots import Snapshot, SnapshotManager


class ProductCatalog:
    """The half of ``SearchEngine`` that needs no network; ``SearchEngine`` sets the parts it works
    with."""

    home: Home
    log: Any
    _catalog: Catalog
    _photos: PhotoStore
    _seeing: PhotoEmbedder
    _serving: SnapshotManager
    _writer: Writer

    def ready(self) -> Snapshot:
        """The snapshot that would answer now; ``SearchEngine`` knows."""
        raise NotImplementedError

    # -- the catalog

    def product(self, product_id: str) -> dict[str, Any]:
        """One product as stored. Raises ``UnknownProductError``."""
        clock = StageTimer()
        return self._answer(
            self._serving.current, clock, **self._shown([self._catalog.get(product_id)])[0]
        )

    def sample(self, limit: int = 24) -> dict[str, Any]:
        """``products`` spread evenly over those that can be found, and ``total``: something to
        begin browsing with."""
        clock = StageTimer()
        snapshot = self.ready()
        pids = snapshot.live.pids()
        # More than are shown: some may have been deleted by another process a moment ago.
        places = np.linspace(
            0, max(len(pids) - 1, 0), num=min(3 * limit, len(pids)), dtype=np.int64
        )
        products = list(self._catalog.by_pids(pids[places].tolist()).values())
        return self._answer(
            snapshot,
            clock,
            products=self._shown(_spread(products, limit)),
            total=snapshot.live.product_count,
        )

    def put(
        self, product_id: str, draft: Draft, *, external_version: int | None = None
    ) -> dict[str, Any]:
        """Add or replace a product; the next question finds it. ``outcome`` and ``sequence``.

        Acknowledged after the commit. Raises ``BadImageError``, ``BadProductError``,
        ``StaleVersionError``; then nothing is changed.
        """
        clock = StageTimer()
        return self._written(
            product_id, self._writer.one(Upsert(product_id, draft, external_version), clock), clock
        )

    def patch(
        self, product_id: str, changes: Mapping[str, Any], *, external_version: int | None = None
    ) -> dict[str, Any]:
        """Change title, category, tags or attributes; photos stay. Raises ``UnknownProductError``,
        ``BadProductError``."""
        clock = StageTimer()
        return self._written(
            product_id, self._writer.one(Patch(product_id, changes, external_version), clock), clock
        )

    def delete(
        self, product_id: str, *, external_version: int | None = None, ticket: bool = False
    ) -> dict[str, Any]:
        """Erase a product with the photos no other product uses. Raises ``UnknownProductError``.

        Versions and databases are rewritten without it within ``erase_within_s``. ``ticket``: what
        to look for then, for ``catalens index verify --erased``.
        """
        clock = StageTimer()
        kept = make_ticket(self.home, self._catalog, product_id) if ticket else None
        written = self._writer.one(Delete(product_id, external_version), clock)
        self._seeing.forget([written])
        answer = self._written(product_id, written, clock)
        return answer if kept is None else {**answer, "ticket": kept}

    def batch(
        self, orders: Sequence[WriteRequest]
    ) -> tuple[list[Written | CatalensError], dict[str, Any]]:
        """What became of each of ``orders``, committed as one and searchable by now, and the answer
        around them."""
        clock = StageTimer()
        written = self._writer.write(orders, clock)
        self._seeing.forget([found for found in written if isinstance(found, Written)])
        return written, self._answer(self._serving.current, clock)

    def thumbnail(self, content_hash: str, width: int) -> bytes:
        """A JPEG, ``width`` (160, 320, 640) px wide at most. Raises ``UnknownPhotoError``."""
        row = self._catalog.photo(content_hash)
        if row is None:
            raise UnknownPhotoError(f"no photo {content_hash}")
        try:
            with self._seeing.decoding:
                return self._photos.thumbnail(row, width)
        except CatalensError as error:  # its message may name a file of this machine
            self.log.warning(
                "photo cannot be shown", hash=content_hash, code=error.code, error=str(error)
            )
            raise UnknownPhotoError(
                f"the file of photo {content_hash} is gone or was changed"
            ) from error

    def has_photo(self, content_hash: str) -> bool:
        """Whether a stored product has this photo."""
        return self._catalog.photo(content_hash) is not None

    # -- versions

    def indexes(self) -> dict[str, Any]:
        """``indexes``: the published versions, oldest first, and which one serves."""
        clock = StageTimer()
        now = self._serving.current
        names = (
            "version",
            "model_version",
            "embedding_id",
            "recipe",
            "counts",
            "last_sequence",
            "recall",
            "created",
        )
        listed = []
        for manifest in Versions(self.home).list():
            fields = asdict(manifest)
            active = now is not None and manifest.version == now.index_version
            listed.append({**{name: fields[name] for name in names}, "active": active})
        blocks = {block.name: block.weight for block in now.bundle.spec.blocks} if now else {}
        return self._answer(now, clock, indexes=listed, blocks=blocks)

    def activate(self, version: str) -> dict[str, Any]:
        """Switch to ``version`` and its model. Raises ``UnknownVersionError``,
        ``DamagedIndexError``, ``IndexMismatchError``."""
        clock = StageTimer()
        check_version_name(version)
        Versions(self.home).activate(version)
        self._serving.refresh()
        return self._answer(self._serving.current, clock, activated=version)

    # -- inside

    def _shown(self, products: Sequence[Product]) -> list[dict[str, Any]]:
        rows = self._catalog.photos_by_id(
            [photo_id for product in products for photo_id in product.photo_ids]
        )
        return [stored(product, rows) for product in products]

    def _written(self, product_id: str, written: Written, clock: StageTimer) -> dict[str, Any]:
        return self._answer(
            self._serving.current,
            clock,
            product_id=product_id,
            outcome=written.outcome,
            sequence=written.sequence,
        )

    @staticmethod
    def _answer(snapshot: Snapshot | None, clock: StageTimer, **content: Any) -> dict[str, Any]:
        return {
            "model_version": snapshot.model_version if snapshot else None,
            "index_version": snapshot.index_version if snapshot else None,
            **content,
            "timings_ms": clock.milliseconds(),
        }


def _spread(products: list[Product], limit: int) -> list[Product]:
    """``limit`` of ``products`` at even distances."""
    places = np.linspace(0, len(products) - 1, num=min(limit, len(products)))
    return [products[round(place)] for place in places]
