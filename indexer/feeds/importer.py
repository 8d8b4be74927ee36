"""Importer of a dataset into the catalog, with a reason for every row left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

from indexer.catalog.attributes import AttributeType, AttributeValue, read
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.presence import has_catalog
from indexer.catalog.records import (
    Delete,
    NewPhoto,
    PhotoRow,
    ProductInput,
    Put,
    Tag,
    Write,
    Written,
)
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.atomic_files import sha256_file
from indexer.core.container import usable_cores
from indexer.core.errors import (
    BadDataError,
    BadProductError,
    CatalensError,
    ImageTooLargeError,
    SyncRefusedError,
    UnknownPhotoError,
)
from indexer.core.home import Home
from indexer.feeds.dataset import Dataset, DatasetRow, read_dataset
from indexer.feeds.notice import Notice
from indexer.imaging.decode import ImageLimits, decode_photo, file_limits
from indexer.imaging.parallel import decoding_threads

# Products per commit.
_BATCH = 256
# Px; the smallest decode that still reads the whole file.
_CHECK_SIZE = 64
# Share of the catalog that --sync may delete unasked.
_FREE_DELETES = 0.10
_TRIES = 3

Storage = Literal["copy", "reference"]


def read_feed(home: Path, data: Path, *, types: Mapping[str, str] | None = None) -> Dataset:
    """``read_dataset`` with the attribute types that the catalog of ``home`` has, if there is one
    yet."""
    stored: dict[str, AttributeType] = {}
    if (home / "home.json").exists() and has_catalog(Home(home)):
        with open_catalog(Home(home)) as catalog:
            stored = catalog.types()
    return read_dataset(data, types=types, stored=stored)


@dataclass
class ImportReport:
    """What an import did, or with ``dry_run`` would do: numbers of products, and the
    rows left out."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    deleted: int = 0
    skipped: list[Notice] = field(default_factory=list)
    # Rows kept, but not all they say.
    warnings: list[Notice] = field(default_factory=list)
    dry_run: bool = False


def import_dataset(
    home: Home,
    dataset: Dataset,
    *,
    photos: Storage = "copy",
    sync: bool = False,
    allow_deletes: int | None = None,
    dry_run: bool = False,
    limits: ImageLimits | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_removed: Callable[[list[str]], object] | None = None,
) -> ImportReport:
    """Bring the catalog to what ``dataset`` says. Run again, it changes nothing; killed, it goes on
    where it was.

    ``photos``: keep copies, or refer to the files where they are. ``sync`` deletes products that
    the dataset does not mention: unasked up to a tenth of the catalog, none where it cannot be told
    what some of its lines mention. A photo that is no readable image is skipped, and a product
    without any good photo is left as it was. ``progress(done, total)`` counts products; batches are
    committed before they are counted. ``on_removed`` gets the content hashes of photos whose files
    were removed, since no product has them any more (``reviews.store.forget_photos``).

    Raises ``SyncRefusedError`` (before anything is written) where ``sync`` would delete more than
    that and more than ``allow_deletes``; ``BadDataError`` where a fixed type contradicts stored
    values; ``BusyError`` while another import runs; ``StorageError``.
    """
    if photos == "reference" and dataset.source is not None and dataset.source.unpacked is not None:
        raise BadDataError("photos of an archive are copied: reference needs a folder")
    with ExitStack() as stack:
        catalog = None
        if not dry_run:
            stack.enter_context(home.lock("import"))
            catalog = stack.enter_context(open_catalog(home))
        elif has_catalog(home):
            catalog = stack.enter_context(open_catalog(home))
        pool = stack.enter_context(ThreadPoolExecutor(decoding_threads(min(8, usable_cores() + 1))))
        run = _Import(home, catalog, pool, photos, limits or file_limits(), dry_run)
        run.on_removed = on_removed
        run.report.skipped += dataset.skipped
        run.report.warnings += dataset.warnings
        doomed = run.doomed(dataset, allow_deletes) if sync else []
        run.fix_types(dataset)
        products = dataset.by_product()
        done = 0
        for batch in _batches(products):
            run.put_batch(batch)
            done += len(batch)
            if progress is not None:
                progress(done, len(products))
        run.delete(doomed)
        return run.report


def _batches(products: dict[str, list[DatasetRow]]) -> Iterator[dict[str, list[DatasetRow]]]:
    items = iter(products.items())
    while batch := dict(islice(items, _BATCH)):
        yield batch


class _Import:
    """One run. Without a catalog (a dry run into an empty home) every product is new."""

    def __init__(
        self,
        home: Home,
        catalog: Catalog | None,
        pool: ThreadPoolExecutor,
        storage: Storage,
        limits: ImageLimits,
        dry_run: bool,
    ) -> None:
        self.catalog = catalog
        self.store = PhotoStore(home)
        self.pool = pool
        self.storage = storage
        self.limits = limits
        self.dry_run = dry_run
        self.types: dict[str, AttributeType] = catalog.types() if catalog is not None else {}
        self.report = ImportReport(dry_run=dry_run)
        # Photos whose files this batch wrote.
        self.made: set[str] = set()
        self.on_removed: Callable[[list[str]], object] | None = None

    def doomed(self, dataset: Dataset, allow_deletes: int | None) -> list[str]:
        """The products that ``sync`` deletes. Raises ``SyncRefusedError``."""
        stored = self.catalog.product_ids() if self.catalog is not None else set()
        doomed = sorted(stored - dataset.mentioned)
        lost = len(dataset.unnamed)
        allowed = max(0 if lost else int(len(stored) * _FREE_DELETES), allow_deletes or 0)
        if len(doomed) > allowed:
            why = f"more than the {allowed} allowed"
            if lost:
                lines = f"{lost} lines" if lost > 1 else "1 line"
                why = (
                    f"but {lines} of the feed may name some of them and cannot be read (first: "
                    f"{dataset.unnamed[0]})"
                )
            raise SyncRefusedError(
                f"sync would delete {len(doomed)} of {len(stored)} products, {why}; "
                f"if that is meant, allow {len(doomed)} deletes (--allow-deletes {len(doomed)})"
            )
        return doomed

    def fix_types(self, dataset: Dataset) -> None:
        """Types given by the caller win over stored ones, stored ones over inferred ones."""
        given = {
            name: type_ for name, type_ in dataset.types.items() if name in dataset.given_types
        }
        self.types = {**dataset.types, **self.types, **given}
        if self.catalog is not None:
            try:
                self.catalog.set_types(self.types, dry_run=self.dry_run)
            except BadProductError as error:
                raise BadDataError(f"the types given do not fit what is stored: {error}") from error

    # --- one batch
    # ----------------------------------------------------------------------------------------------

    def put_batch(self, batch: dict[str, list[DatasetRow]]) -> None:
        """Check, keep and commit a batch of products."""
        batch = {
            product_id: fitted
            for product_id, rows in batch.items()
            if (fitted := self._fit_types(rows))
        }
        refused: set[str] = set()
        self.made.clear()
        for tries_left in reversed(range(_TRIES)):
            puts, skipped = self._prepare(batch)
            results = self._apply(puts)
            # A delete elsewhere may have removed a photo's row or file between our look and our
            # write: look again.
            again = {
                put.product_id
                for put, result in zip(puts, results, strict=True)
                if isinstance(result, UnknownPhotoError) and tries_left
            }
            for put, result in zip(puts, results, strict=True):
                if isinstance(result, Written):
                    setattr(self.report, result.outcome, getattr(self.report, result.outcome) + 1)
                elif put.product_id not in again:
                    self.report.skipped += [
                        Notice(row.where, str(result)) for row in batch[put.product_id]
                    ]
                    refused.update(photo.content_hash for photo in put.photos)
            for product_id, reasons in skipped.items():
                if product_id not in again:
                    self.report.skipped += reasons
            batch = {product_id: batch[product_id] for product_id in again}
            if not batch:
                break
        self.collect((), own=refused & self.made)

    def collect(self, orphaned: Sequence[str], *, own: Iterable[str] = ()) -> None:
        """Remove the files of photos that no product has any more, as ``PhotoStore.collect``."""
        if self.catalog is None:
            return
        removed = self.store.collect(self.catalog, orphaned, own=own)
        if removed and self.on_removed is not None:
            self.on_removed(removed)

    def _apply(self, writes: Sequence[Write]) -> list[Written | CatalensError]:
        # A dry run into an empty home.
        if self.catalog is None:
            return [Written(0, 0, "added") for _ in writes]
        # Types were fixed at the start; only a dry run has given them up again.
        results = self.catalog.apply(
            writes, dry_run=self.dry_run, types=self.types if self.dry_run else None
        )
        if not self.dry_run:
            orphaned = [
                found
                for result in results
                if isinstance(result, Written)
                for found in result.orphaned
            ]
            self.collect(orphaned)
        return results

    def _fit_types(self, rows: list[DatasetRow]) -> list[DatasetRow]:
        """The rows with attribute values as the catalog's types ask, or none and a reason."""
        values: dict[str, AttributeValue] = {}
        for name, value in rows[0].attributes.items():
            try:
                values[name] = read(value, self.types[name]) if name in self.types else value
            except ValueError as error:
                reason = f"column {name!r}: {error} (the type is stored in the catalog)"
                self.report.skipped += [Notice(row.where, reason) for row in rows]
                return []
        held: dict[str, AttributeValue] = {
            name: value for name, value in values.items() if value is not None
        }
        return [replace(row, attributes=held) for row in rows]

    def _prepare(
        self, batch: dict[str, list[DatasetRow]]
    ) -> tuple[list[Put], dict[str, list[Notice]]]:
        """Products with at least one good photo as writes; the rows left out, by product."""
        rows = [row for product in batch.values() for row in product]
        hashes = list(self.pool.map(self._hash, rows))
        known: dict[str, PhotoRow] = {}
        if self.catalog is not None:
            known = self.catalog.photos_by_hash(
                {found for found in hashes if isinstance(found, str)}
            )
        good: dict[str, dict[str, NewPhoto]] = {}
        skipped: dict[str, list[Notice]] = {}
        for row, found in zip(
            rows, self.pool.map(partial(self._check, known), rows, hashes), strict=True
        ):
            if isinstance(found, Notice):
                skipped.setdefault(row.product_id, []).append(found)
            else:
                good.setdefault(row.product_id, {}).setdefault(found.content_hash, found)
        puts = []
        for product_id, found_photos in good.items():
            first = batch[product_id][0]
            tags = tuple(Tag(tag, "merchant") for tag in first.tags)
            content = (first.title, first.category, tags, first.attributes)
            puts.append(
                Put(
                    ProductInput(product_id, *content, tuple(found_photos)),
                    tuple(found_photos.values()),
                )
            )
        return puts, skipped

    def _hash(self, row: DatasetRow) -> str | Notice:
        try:
            size = row.image.stat().st_size
            if size > self.limits.max_bytes:
                raise ImageTooLargeError(
                    f"the file has {size:,} bytes, more than the limit of "
                    f"{self.limits.max_bytes:,} (CATALENS_MAX_IMAGE_BYTES raises it)"
                )
            return sha256_file(row.image)
        except (OSError, ImageTooLargeError) as error:
            return Notice(row.where, _reason(row.image, error))

    def _check(
        self, known: dict[str, PhotoRow], row: DatasetRow, found: str | Notice
    ) -> NewPhoto | Notice:
        """Decode what is new, and keep its bytes. Never holds more than one photo per thread."""
        if isinstance(found, Notice):
            return found
        path = str(row.image.absolute())
        stored = known.get(found)
        if stored is not None and (self.dry_run or not self._must_copy(stored)):
            kept = stored.storage == "copy"
            return replace(_as_new(stored), path=None if kept else path)
        try:
            data = row.image.read_bytes()
            photo = decode_photo(data, limits=self.limits, shrink_to=_CHECK_SIZE)
        except (OSError, CatalensError) as error:
            return Notice(row.where, _reason(row.image, error))
        reference = self.storage == "reference" and (
            stored is None or stored.storage == "reference"
        )
        if self.dry_run or reference:
            storage: Storage = "reference" if reference else "copy"
            size = (len(data), photo.width, photo.height)
            return NewPhoto(
                photo.content_hash, photo.format, *size, storage, path if reference else None
            )
        if not self.store.has_copy(photo.content_hash):
            self.made.add(photo.content_hash)
        return self.store.add(data, photo)

    def _must_copy(self, stored: PhotoRow) -> bool:
        """A reference that is to become a copy, or a copy whose file is gone."""
        if stored.storage == "copy":
            return not self.store.has_copy(stored.content_hash)
        return self.storage == "copy"

    def delete(self, doomed: list[str]) -> None:
        """Erase products, photos that nobody else uses included."""
        for start in range(0, len(doomed), _BATCH):
            results = self._apply(
                [Delete(product_id) for product_id in doomed[start : start + _BATCH]]
            )
            self.report.deleted += sum(isinstance(result, Written) for result in results)
        if doomed and self.catalog is not None and not self.dry_run:
            self.catalog.database.checkpoint()


def _as_new(row: PhotoRow) -> NewPhoto:
    return NewPhoto(**{column.name: getattr(row, column.name) for column in fields(NewPhoto)})


def _reason(path: Path, error: Exception) -> str:
    why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return f"{path}: {why}".encode("utf-8", "backslashreplace").decode()
