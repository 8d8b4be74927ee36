"""Product catalog: read, list, upsert, change and erase products, and show their photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from indexer.catalog.attributes import checked_types
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import Delete, Patch, PhotoRow, Product, Written
from indexer.catalog.store import Catalog
from indexer.catalog.type_conversion import set_types
from indexer.core.actor import doing
from indexer.core.errors import CatalensError, NoMemoryError, UnknownPhotoError
from indexer.core.home import Home
from indexer.core.timer import StageTimer
from indexer.core.vectors import evenly_spaced
from indexer.operations.erasure_audit import ticket as make_ticket
from indexer.operations.sync_source import SyncSources
from service.inference.deadline import Deadline
from service.products.schema import CatalogSchema, read_schema
from service.products.writer import Draft, Upsert, Writer, WriteRequest
from service.query.own_address import image_url
from service.query.photo_embedder import PhotoEmbedder
from service.query.response import OPTIONAL, Envelope, JsonDocument
from service.query.shown_product import PLAIN, Presentation, ShownProduct
from service.state.snapshots import SnapshotManager

PriceValues = dict[str, float | str]
_PRICE = (float, int, str)
TagSource = Literal["merchant", "curated", "machine"]
Outcome = Literal["added", "replaced", "unchanged", "patched", "deleted"]


@dataclass(frozen=True)
class StoredTag:
    """A tag and who gave it."""

    tag: str
    source: TagSource


@dataclass(frozen=True)
class StoredPhoto:
    """A product's photo."""

    hash: str
    format: str
    width: int
    height: int
    image_url: str
    image_src: Annotated[str | None, Field(description="The shop's own address of it.")]


@dataclass(frozen=True, kw_only=True)
class StoredProduct(ShownProduct):
    """A product as stored, its sale price outside its dates too; `image_src` is that of its first
    photo."""

    titles: Annotated[dict[str, str], Field(description="By language.")]
    categories: Annotated[dict[str, list[str]], Field(description="Paths by language.")]
    prices: Annotated[dict[str, PriceValues], Field(description="By market.")]
    tags: list[StoredTag]
    images: list[StoredPhoto]
    sequence: int
    external_version: int | None


@dataclass(frozen=True)
class ProductSample:
    """A few products, and how many there are."""

    products: list[StoredProduct]
    total: int


@dataclass(frozen=True)
class WriteResult:
    """What became of a write."""

    product_id: str
    outcome: Outcome
    sequence: int
    ticket: Annotated[JsonDocument | None, Field(description="Of a DELETE that asked for one.")] = (
        field(default=None, metadata=OPTIONAL)
    )
    warnings: Annotated[
        list[str] | None,
        Field(
            description="What the write changed beside the product; of a DELETE the feeds kept in "
            "step that may bring it back."
        ),
    ] = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True)
class WriteResults:
    """What became of each write of a batch."""

    outcomes: list[Written | CatalensError]


class ProductCatalog:
    """The products of a home; safe to call from many threads."""

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        photos: PhotoStore,
        snapshots: SnapshotManager,
        writer: Writer,
        embedder: PhotoEmbedder,
        *,
        deadline_s: float,
        log: Any,
    ) -> None:
        self._home = home
        self._catalog = catalog
        self._photos = photos
        self._snapshots = snapshots
        self._writer = writer
        self._embedder = embedder
        self._deadline_s = deadline_s
        self._log = log

    def get(
        self, product_id: str, view: Presentation = PLAIN, fields: Sequence[str] = ()
    ) -> Envelope[StoredProduct]:
        """One product as stored; ``fields``: these alone. Raises ``UnknownProductError``."""
        timer = StageTimer()
        (product,) = self._stored([self._catalog.get(product_id)], view)
        return Envelope.around(product, self._snapshots.current, timer).choosing(fields)

    def sample(self, limit: int = 24) -> Envelope[ProductSample]:
        """Products spread evenly over those that can be found: something to begin browsing with.

        Raises ``NoIndexError``.
        """
        timer = StageTimer()
        snapshot = self._snapshots.require()
        pids = snapshot.live.pids()
        # More than are shown: some may have been deleted by another process a moment ago.
        places = evenly_spaced(len(pids), 3 * limit)
        products = list(self._catalog.by_pids(pids[places].tolist()).values())
        shown = [products[place] for place in evenly_spaced(len(products), limit, nearest=True)]
        sample = ProductSample(self._stored(shown), snapshot.live.product_count)
        return Envelope.around(sample, snapshot, timer)

    def put(
        self,
        product_id: str,
        draft: Draft,
        *,
        external_version: int | None = None,
        expected_sequence: int | None = None,
    ) -> Envelope[WriteResult]:
        """Add or replace a product; the next query finds it.

        Acknowledged after the commit. Raises ``BadImageError``, ``BadProductError``,
        ``StaleVersionError``, and ``ChangedError`` where its last change is not the
        ``expected_sequence`` (0: there must be none yet); then nothing is changed.
        """
        return self._write(Upsert(product_id, draft, external_version, expected_sequence))

    def patch(
        self,
        product_id: str,
        changes: Mapping[str, Any],
        *,
        external_version: int | None = None,
        expected_sequence: int | None = None,
    ) -> Envelope[WriteResult]:
        """Change title, category, tags, attributes or fields; photos stay. Raises
        ``UnknownProductError``, ``BadProductError``, ``ChangedError`` as ``put``."""
        return self._write(Patch(product_id, changes, external_version, expected_sequence))

    def delete(
        self,
        product_id: str,
        *,
        external_version: int | None = None,
        expected_sequence: int | None = None,
        ticket: bool = False,
    ) -> Envelope[WriteResult]:
        """Erase a product with the photos no other product uses. Raises ``UnknownProductError``,
        ``ChangedError`` as ``put``.

        Versions and databases are rewritten without it within ``erase_within_s``. ``ticket``: what
        to look for then, for ``catalens index verify --erased``.
        """
        kept = make_ticket(self._home, self._catalog, product_id) if ticket else None
        return self._write(Delete(product_id, external_version, expected_sequence), kept)

    def batch(self, writes: Sequence[WriteRequest]) -> Envelope[WriteResults]:
        """What became of each of ``writes``, committed as one and searchable by now."""
        timer = StageTimer()
        with doing("batch"):
            outcomes = self._writer.write(writes, timer)
        self._embedder.forget([found for found in outcomes if isinstance(found, Written)])
        return Envelope.around(WriteResults(outcomes), self._snapshots.current, timer)

    def schema(self) -> Envelope[CatalogSchema]:
        """Names, types and owners of attributes and fields. Raises ``DeadlineExceededError``."""
        return self._schema(Deadline(self._deadline_s))

    def set_types(self, types: Mapping[str, str]) -> Envelope[CatalogSchema]:
        """Give attributes their types; stored values are converted. Raises ``BadProductError``
        naming a value that does not fit, ``BadDataError``, ``BusyError`` while others do that, and
        ``DeadlineExceededError``: what was converted by then stays so, and the same call goes on
        with the rest."""
        deadline = Deadline(self._deadline_s)
        # Held until the last portion: an undo of it asks for it.
        with self._home.lock("types", wait_s=self._deadline_s), doing("types"):
            set_types(self._catalog, checked_types(types), types, on_step=deadline.check)
        self._snapshots.follow()
        # It is done: whoever asked is told so.
        return self._schema(Deadline(self._deadline_s))

    def thumbnail(self, content_hash: str, width: int) -> bytes:
        """A JPEG, ``width`` (160, 320, 640) px wide at most. Raises ``UnknownPhotoError``,
        ``NoMemoryError`` where others wait for theirs."""
        row = self._catalog.photo(content_hash)
        if row is None:
            raise UnknownPhotoError(f"no photo {content_hash}")
        try:
            made = self._photos.thumbnail(row, width)
        except NoMemoryError:
            raise
        except CatalensError as error:  # its message may name a file of this machine
            self._log.warning(
                "photo cannot be shown", hash=content_hash, code=error.code, error=str(error)
            )
            raise UnknownPhotoError(
                f"the file of photo {content_hash} is gone or was changed"
            ) from error
        if not self.has_photo(content_hash):
            # Erased meanwhile: the erasure may have ended before the file was there.
            self._photos.collect_thumbnails(self._catalog, [content_hash])
            raise UnknownPhotoError(f"no photo {content_hash}")
        return made

    def has_photo(self, content_hash: str) -> bool:
        """Whether a stored product has this photo."""
        return self._catalog.photo(content_hash) is not None

    # -- inside

    def _schema(self, deadline: Deadline) -> Envelope[CatalogSchema]:
        found = read_schema(self._catalog, deadline)
        return Envelope.around(found, self._snapshots.current, deadline.timer)

    def _write(
        self, write: WriteRequest, ticket: JsonDocument | None = None
    ) -> Envelope[WriteResult]:
        timer = StageTimer()
        with doing("write", write.product_id):
            written = self._writer.write_one(write, timer)
        self._embedder.forget([written])
        said = [*written.warnings, *self._feeds(written)] or None
        result = WriteResult(write.product_id, written.outcome, written.sequence, ticket, said)
        return Envelope.around(result, self._snapshots.current, timer)

    def _feeds(self, written: Written) -> list[str]:
        """What may bring the product back that a write deleted."""
        return SyncSources(self._home).returns() if written.outcome == "deleted" else []

    def _stored(
        self, products: Sequence[Product], view: Presentation = PLAIN
    ) -> list[StoredProduct]:
        photo_ids = [photo_id for product in products for photo_id in product.photo_ids]
        rows = self._catalog.photos_by_id(photo_ids)
        stored = []
        for product in products:
            held = [rows[photo_id] for photo_id in product.photo_ids if photo_id in rows]
            categories = product.fields.categories.items()
            stored.append(
                StoredProduct(
                    **view.show(
                        product, product.photos[0] if product.photos else None, as_stored=True
                    ),
                    titles=dict(product.fields.titles),
                    categories={language: list(path) for language, path in categories},
                    prices=_prices(product),
                    tags=[StoredTag(tag.tag, cast(TagSource, tag.source)) for tag in product.tags],
                    images=[_stored_photo(row, product) for row in held],
                    sequence=product.sequence,
                    external_version=product.external_version,
                )
            )
        return stored


def _prices(product: Product) -> dict[str, PriceValues]:
    found: dict[str, PriceValues] = {}
    for market, price in product.fields.prices.items():
        found[market] = {name: value for name, value in price.items() if isinstance(value, _PRICE)}
    return found


def _stored_photo(row: PhotoRow, product: Product) -> StoredPhoto:
    return StoredPhoto(
        row.content_hash,
        row.format,
        row.width,
        row.height,
        image_url(row.content_hash),
        product.sources.get(row.content_hash),
    )
