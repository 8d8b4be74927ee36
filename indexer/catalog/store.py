"""The catalog in one SQLite file: products, tags, attributes, photo rows, change log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import orjson

from indexer.catalog.action_log import ActionLog, Marks, record_changes
from indexer.catalog.attributes import AttributeType, checked_types
from indexer.catalog.change_log import (
    ChangeLog,
    ensure_tables,
    note_orphans,
    require_log_coverage,
    stamp_state,
)
from indexer.catalog.checksums import UNSEAL_TRIGGER, CheckedDatabase
from indexer.catalog.filters import FilterableProduct
from indexer.catalog.presence import check_lineage, has_catalog
from indexer.catalog.product_fields import FIELD_TYPES
from indexer.catalog.product_rows import (
    read_facts,
    read_pids,
    read_products,
    rows_at_once,
    stored_values,
)
from indexer.catalog.records import (
    Change,
    Delete,
    NewPhoto,
    Patch,
    PhotoRow,
    Product,
    ProductInput,
    Put,
    Write,
    Written,
    require_written,
)
from indexer.catalog.schema import APPLICATION_ID, FORMAT, TABLES, bring_up_to_date, is_old
from indexer.catalog.transaction import Transaction, last_sequence, stored_types, used_fields
from indexer.catalog.type_conversion import set_types
from indexer.core.category_path import CategoryPath
from indexer.core.errors import (
    BadHomeError,
    BadProductError,
    CatalensError,
    UnavailableError,
    UnknownProductError,
)
from indexer.core.home import Home
from indexer.core.sqlite import Connection, Schema, chunks

_PORTION = 900
SCHEMA = Schema(
    format=FORMAT,
    tables=tuple(TABLES.split(";\n")),
    application_id=APPLICATION_ID,
    noun="catalog",
    programs=(UNSEAL_TRIGGER,),
)

_PHOTO_COLUMNS = "content_hash, format, bytes, width, height, storage, path, photo_id"


def open_catalog(home: Home) -> Catalog:
    """The catalog of ``home``, made if nothing was ever stored there.

    Raises ``MissingCatalogError`` where something was, ``CatalogBehindError``, and as
    ``Catalog.open``.
    """
    if not has_catalog(home):
        with home.lock("catalog", wait_s=30):
            Catalog.create(home.catalog_file).close()
    catalog = Catalog.open(home.catalog_file, photos=home.photos)
    try:
        check_lineage(home, catalog.database)
    except BaseException:
        catalog.close()
        raise
    return catalog


class Catalog:
    """Safe from several threads (a connection each) and several processes. A write returns after
    its commit.

    Order is that of sequence numbers, never of clocks. Every failure of the disk or the file is a
    ``CatalensError``.
    """

    def __init__(self, path: Path, *, photos: Path | None = None) -> None:
        """Use ``open`` or ``create``. ``photos``: where the copies lie that new rows must have."""
        self.database = CheckedDatabase(path, SCHEMA)
        self.change_log = ChangeLog(self.database)
        self.actions = ActionLog(self.database)
        self._photos = photos
        # Whether ``open`` gave an older file today's format, and whether it could not yet.
        self.migrated = False
        self._old = False

    @classmethod
    def create(cls, path: Path, *, photos: Path | None = None) -> Catalog:
        """Open the catalog at ``path``, made first if absent."""
        catalog = cls(Path(path), photos=photos)
        catalog.database.prepare(ensure_tables)
        catalog._bring_up_to_date()
        return catalog

    @classmethod
    def open(cls, path: Path, *, photos: Path | None = None) -> Catalog:
        """Raises ``BadHomeError`` where there is no catalog or it is damaged, ``NewerFormatError``
        for a newer one.

        An older one is given today's format. Where it cannot be written it is read as it is, and
        its products have no fields.
        """
        path = Path(path)
        if not path.is_file():
            raise BadHomeError(f"there is no catalog at {path}")
        catalog = cls(path, photos=photos)
        catalog.database.check()
        catalog._bring_up_to_date()
        return catalog

    def _bring_up_to_date(self) -> None:
        with self.database.statements() as sql:
            self._old = is_old(sql)
        if not self._old or self.database.read_only:
            return
        try:
            with self.database.transaction() as sql:
                self.migrated = bring_up_to_date(sql)
        except UnavailableError:
            # A full or busy disk keeps no answer back; the next write tries again.
            return
        self._old = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        return self.database.path

    def close(self) -> None:
        """Close the connections of all threads; a later call opens a new one."""
        self.database.close()

    # -- writing

    def put(
        self,
        product: ProductInput,
        *,
        photos: Sequence[NewPhoto] = (),
        external_version: int | None = None,
    ) -> Written:
        """Add or replace a product; identical content is ``unchanged`` and takes no new sequence
        number.

        ``photos`` describes those of its photos that may be new. The merchant's tags are replaced;
        stored tags of other sources stay. Raises ``BadProductError``, ``UnknownPhotoError``,
        ``StaleVersionError``.
        """
        return self._one(Put(product, photos, external_version))

    def patch(
        self, product_id: str, changes: Mapping[str, Any], *, external_version: int | None = None
    ) -> Written:
        """Change fields as ``records.Patch`` says. Raises ``UnknownProductError``,
        ``BadProductError``, ``StaleVersionError``."""
        return self._one(Patch(product_id, changes, external_version))

    def delete(self, product_id: str, *, external_version: int | None = None) -> Written:
        """Erase a product with its id, tags and the photo rows no other product uses. Raises
        ``UnknownProductError``, ``StaleVersionError``."""
        return self._one(Delete(product_id, external_version))

    def apply(
        self,
        writes: Iterable[Write],
        *,
        dry_run: bool = False,
        types: Mapping[str, str] | None = None,
    ) -> list[Written | CatalensError]:
        """All writes in one transaction; a bad one becomes its error and never fails the rest.

        ``dry_run``: say what would happen (as with attribute ``types``, if given) and give the
        transaction up.
        """
        results: list[Written | CatalensError] = []
        writes = list(writes)
        with self.writing(dry_run) as session:
            session.set_types(checked_types(types or {}))
            session.expect([write.product_id for write in writes if isinstance(write, Patch)])
            for write in writes:
                try:
                    results.append(session.write(write))
                except CatalensError as error:  # raised before the item wrote anything
                    results.append(error)
        return results

    def set_types(
        self, types: Mapping[str, str], *, given: Iterable[str] = (), dry_run: bool = False
    ) -> None:
        """Set attribute types; stored values are converted. Those ``given`` by a person no value
        widens. Raises ``BadProductError`` for a value that does not fit."""
        set_types(self, checked_types(types), given, dry_run=dry_run)

    def _one(self, write: Write) -> Written:
        return require_written(self.apply([write])[0])

    @contextmanager
    def writing(self, dry_run: bool = False) -> Iterator[Transaction]:
        """One transaction of writes, all of whoever acts; ``dry_run`` gives it up at its end."""
        with self.database.transaction() as connection:
            before = Marks.read(connection)
            bring_up_to_date(connection)
            # A dry run has written no photo's file either.
            photos = None if dry_run else self._photos
            session = Transaction(connection, photos, self.database.rows)
            yield session
            if dry_run:
                connection.execute("ROLLBACK")
                return
            session.finish()
            note_orphans(connection, session.orphaned)
            now = Marks.read(connection)
            if now.sequence != before.sequence:
                stamp_state(connection, now.sequence)
                record_changes(connection, before, now, session.journal.begin())
        self._old = False

    # -- reading

    def get(self, product_id: str) -> Product:
        """Raises ``UnknownProductError``."""
        with self.database.read():
            found = self._read_products(self.pids([product_id]).values())
        if not found:
            raise UnknownProductError(f"there is no product {product_id!r}")
        return next(iter(found.values()))

    def pid(self, product_id: str) -> int | None:
        """The internal number of a product, None if there is none."""
        return self.pids([product_id]).get(product_id)

    def pids(self, product_ids: Iterable[str]) -> dict[str, int]:
        """The internal numbers of those products that exist, in their order."""
        with self.database.statements() as connection:
            return read_pids(connection, product_ids)

    def by_pids(self, pids: Iterable[int], *, tags: bool = True) -> dict[int, Product]:
        """Those of ``pids`` that exist; without their ``tags`` a third sooner."""
        with self.database.read():
            return self._read_products(pids, tags=tags)

    def voting_tags(self, pids: Iterable[int]) -> dict[int, list[str]]:
        """Of those of ``pids`` that have any: their tags but for the machine's, which would confirm
        themselves."""
        tags: dict[int, list[str]] = {}
        query = (
            "SELECT pid, tag FROM tags WHERE pid IN ({}) AND source <> 'machine' ORDER BY pid, "
            "position"
        )
        with self.database.statements() as connection:
            for pid, tag in rows_at_once(connection, "pid, tag", query, pids):
                tags.setdefault(pid, []).append(tag)
        return tags

    def ids_of(self, pids: Iterable[int]) -> dict[int, str]:
        """The product ids of those of ``pids`` that exist."""
        query = "SELECT pid, product_id FROM products WHERE pid IN ({})"
        with self.database.statements() as connection:
            return {
                pid: product_id
                for pid, product_id in rows_at_once(connection, "pid, product_id", query, pids)
            }

    def product_ids(self) -> set[str]:
        """The ids of all products."""
        with self.database.read() as connection:
            return {row[0] for row in connection.execute("SELECT product_id FROM products")}

    def iterate_ids(self) -> Iterator[str]:
        """The ids of all products by pid, read in portions, as ``iterate``."""
        after = 0
        while True:
            with self.database.read() as connection:
                query = "SELECT pid, product_id FROM products WHERE pid > ? ORDER BY pid LIMIT ?"
                rows = connection.execute(query, (after, 10 * _PORTION)).fetchall()
            yield from (product_id for _, product_id in rows)
            if not rows:
                return
            after = rows[-1][0]

    def iterate(self, after: int = 0) -> Iterator[Product]:
        """All products by pid, read in portions: a write in between may or may not be seen.
        ``after``: those numbered above it alone."""
        while True:
            with self.database.read() as connection:
                query = "SELECT pid FROM products WHERE pid > ? ORDER BY pid LIMIT ?"
                pids = [row[0] for row in connection.execute(query, (after, _PORTION))]
                found = self._read_products(pids)
            yield from found.values()
            if not pids:
                return
            after = pids[-1]

    def __len__(self) -> int:
        """The number of products."""
        with self.database.read() as connection:
            return int(connection.execute("SELECT count(*) FROM products").fetchone()[0])

    def photo_count(self) -> int:
        """The number of different photos."""
        with self.database.read() as connection:
            return int(connection.execute("SELECT count(*) FROM photos").fetchone()[0])

    def last_sequence(self) -> int:
        """The sequence number of the last change ever, 0 before the first."""
        with self.database.read() as connection:
            return last_sequence(connection)

    def changes(self, after: int) -> list[Change]:
        """The log's entries above sequence number ``after``, in order. Raises
        ``OutdatedVersionError``: compacted away."""
        with self.database.read() as connection:
            require_log_coverage(connection, after)
            query = (
                "SELECT sequence, pid, kind, photos_changed FROM changes WHERE sequence > ? ORDER "
                "BY sequence"
            )
            return [
                Change(seq, pid, kind, bool(changed))
                for seq, pid, kind, changed in connection.execute(query, (after,))
            ]

    def entries(self) -> tuple[int, np.ndarray]:
        """(last sequence, int64 [N, 2] of (pid, photo_id) by pid and position): one consistent
        snapshot."""
        with self.database.read() as connection:
            query = "SELECT pid, photo_id FROM product_photos ORDER BY pid, position"
            rows = np.fromiter(connection.execute(query), dtype="i8,i8")
            return last_sequence(connection), rows.view(np.int64).reshape(-1, 2)

    def photo_ids(self, pids: Iterable[int]) -> dict[int, list[int]]:
        """pid -> the ids of its photos in order, of those of ``pids`` that exist: one consistent
        snapshot."""
        held: dict[int, list[int]] = {}
        with self.database.read() as connection:
            for part, marks in chunks(list(pids)):
                query = (
                    f"SELECT pid, photo_id FROM product_photos WHERE pid IN ({marks}) ORDER BY "
                    "pid, position"
                )
                for pid, photo_id in connection.execute(query, part):
                    held.setdefault(pid, []).append(photo_id)
        return held

    def holders(self, photo_ids: Iterable[int]) -> dict[int, list[int]]:
        """photo_id -> the pids of the products that have it, ascending, of those of ``photo_ids``
        that any has."""
        held: dict[int, list[int]] = {}
        with self.database.read() as connection:
            for part, marks in chunks([int(photo_id) for photo_id in photo_ids]):
                query = (
                    "SELECT DISTINCT photo_id, pid FROM product_photos WHERE photo_id IN "
                    f"({marks}) ORDER BY pid"
                )
                for photo_id, pid in connection.execute(query, part):
                    held.setdefault(photo_id, []).append(pid)
        return held

    def facts(self, pids: Iterable[int]) -> dict[int, FilterableProduct]:
        """What filters ask of those of ``pids`` that exist: one snapshot, quicker than whole
        products."""
        with self.database.read() as connection:
            return read_facts(connection, list(pids), old=self._is_old(connection))

    def photo(self, content_hash: str) -> PhotoRow | None:
        """The stored photo with this hash."""
        return self.photos_by_hash([content_hash]).get(content_hash)

    def photos_by_hash(self, hashes: Iterable[str]) -> dict[str, PhotoRow]:
        """Those of ``hashes`` that are stored."""
        return {row.content_hash: row for row in self._photo_rows("content_hash", list(hashes))}

    def photos_by_id(self, ids: Iterable[int]) -> dict[int, PhotoRow]:
        """Those of ``ids`` that are stored."""
        rows = self._photo_rows("photo_id", [int(id_) for id_ in ids])
        return {row.photo_id: row for row in rows}

    def types(self) -> dict[str, AttributeType]:
        """Attribute names and their types, by name."""
        with self.database.read() as connection:
            return stored_types(connection)

    def given_types(self) -> set[str]:
        """The attributes whose type a person gave, so that no value widens it."""
        with self.database.read() as connection:
            if self._is_old(connection):
                return set()
            query = "SELECT name FROM attribute_types WHERE fixed = 1"
            return {row[0] for row in connection.execute(query)}

    def used_fields(self) -> set[str]:
        """The fields that some product has, or had."""
        with self.database.read() as connection:
            return set() if self._is_old(connection) else used_fields(connection)

    def filter_types(self) -> dict[str, AttributeType]:
        """The attributes and fields that conditions can name, and their types: those that some
        product has, or had.

        An attribute with the name of a field keeps its own type until a product has that field.
        """
        with self.database.read():
            types = self.types()
            held = self.used_fields()
        return {**types, **{name: kind for name, kind in FIELD_TYPES.items() if name in held}}

    def values_of(self, name: str) -> Iterator[tuple[str, str]]:
        """(product id, value) of every product that has the field or attribute ``name``, or of
        ``product_id``; values as text."""
        if name == "product_id":
            yield from ((product_id, product_id) for product_id in self.iterate_ids())
            return
        with self.database.read() as connection:
            rows = stored_values(connection, name, old=self._is_old(connection))
        yield from ((product_id, str(value)) for product_id, value in rows)

    def owners(self) -> dict[str, str]:
        """Field or attribute -> who owns it: the name of a feed."""
        with self.database.read() as connection:
            if self._is_old(connection):
                return {}
            return dict(connection.execute("SELECT name, owner FROM field_owners ORDER BY name"))

    def set_owners(self, owners: Mapping[str, str | None]) -> None:
        """Give fields and attributes an owner; None takes it away. Others keep theirs."""
        for name, owner in owners.items():
            if not name.strip() or (owner is not None and not owner.strip()):
                raise BadProductError(f"{name!a} cannot be owned by {owner!a}: a name is empty")
        with self.writing():
            sql = self.database.connection
            for name, owner in owners.items():
                if owner is None:
                    sql.execute("DELETE FROM field_owners WHERE name = ?", (name,))
                else:
                    sql.execute("INSERT OR REPLACE INTO field_owners VALUES (?, ?)", (name, owner))

    def categories(self) -> set[CategoryPath]:
        """The different categories that products have."""
        with self.database.read() as connection:
            query = "SELECT DISTINCT category FROM products WHERE category IS NOT NULL"
            return {tuple(orjson.loads(row[0])) for row in connection.execute(query)}

    def has_given_tags(self) -> bool:
        """Whether a merchant or a curator gave any product a tag."""
        with self.database.statements() as connection:
            query = "SELECT 1 FROM tags WHERE source != 'machine' LIMIT 1"
            return connection.execute(query).fetchone() is not None

    def given_tags(self) -> dict[int, list[str]]:
        """pid -> tags that a merchant or a curator gave, of all products that have any."""
        found: dict[int, list[str]] = {}
        with self.database.read() as connection:
            query = "SELECT DISTINCT pid, tag FROM tags WHERE source != 'machine'"
            for pid, tag in connection.execute(query):
                found.setdefault(pid, []).append(tag)
        return found

    def _photo_rows(self, column: str, keys: list[Any]) -> list[PhotoRow]:
        with self.database.read() as connection:
            found: list[PhotoRow] = []
            for part, marks in chunks(keys):
                query = f"SELECT {_PHOTO_COLUMNS} FROM photos WHERE {column} IN ({marks})"
                found += [PhotoRow(*row) for row in connection.execute(query, part)]
            return found

    def _read_products(self, pids: Iterable[int], *, tags: bool = True) -> dict[int, Product]:
        connection = self.database.connection
        return read_products(connection, pids, tags=tags, old=self._is_old(connection))

    def _is_old(self, connection: Connection) -> bool:
        """Whether the file has an older format; another process may have changed that."""
        if self._old and not self.database.read_only:
            self._old = is_old(connection)
        return self._old
