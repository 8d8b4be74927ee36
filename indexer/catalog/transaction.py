"""Write transaction of the catalog: each write is checked before it changes a row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from indexer.catalog import deletions
from indexer.catalog.attribute_types import ReadAttributes, StoredTypes, widening
from indexer.catalog.attributes import AttributeType
from indexer.catalog.limits import check_stored_attributes
from indexer.catalog.preconditions import refuse_changed, refuse_stale
from indexer.catalog.product_checks import (
    check_product,
    checked_field,
    checked_fields,
    checked_title,
)
from indexer.catalog.product_photos import PhotoAssignment
from indexer.catalog.product_rows import (
    ROW_COLUMNS,
    StoredContent,
    StoredRow,
    dump_some,
    kept_values,
    loses_text,
    merged_values,
)
from indexer.catalog.records import (
    PATCHABLE,
    Delete,
    Patch,
    ProductInput,
    Put,
    Write,
    Written,
    category_path,
    check_text,
    checked_tags,
    dump,
)
from indexer.catalog.schema import forget_orders
from indexer.catalog.undo_journal import (
    KeptType,
    Part,
    Parts,
    UndoJournal,
    content_parts,
    with_parts,
)
from indexer.core.errors import (
    BadProductError,
    UnknownProductError,
)
from indexer.core.sqlite import Connection, chunks

_INT64 = 2**63
# One statement per changed product: prices and stocks are patched by the thousand.
_CHANGE = """
UPDATE products SET title = ?, category = ?, attributes = ?, fields = ?, spellings = ?,
    external_version = coalesce(?, external_version), sequence = ?
WHERE pid = ?
"""


class _Photos(NamedTuple):
    """The photos of a product in order, and the shop's address of each."""

    hashes: list[str]
    sources: list[str | None]


def last_sequence(connection: Connection) -> int:
    """From the counter, not the log, which may have been compacted."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
    return 0 if row is None else int(row[0])


def stored_types(connection: Connection) -> dict[str, AttributeType]:
    return dict(connection.execute("SELECT name, type FROM attribute_types ORDER BY name"))


def used_fields(connection: Connection) -> set[str]:
    """The fields that some product ever had."""
    return {row[0] for row in connection.execute("SELECT name FROM used_fields")}


class Transaction:
    """Writes inside one open IMMEDIATE transaction. A write that raises has changed nothing."""

    def __init__(self, connection: Connection, photos: Path | None) -> None:
        self._sql = connection
        self._photos = PhotoAssignment(connection, photos)
        self._types = StoredTypes(connection)
        # By product id: rows read ahead, as they are now.
        self._rows: dict[str, StoredRow] = {}
        # Fields that some product ever had.
        self._used = used_fields(connection)
        self.journal = UndoJournal(connection)
        # The last change that took a text from a product that stays.
        self._text_removed = 0

    def finish(self) -> None:
        """Write what is kept until the transaction ends."""
        self.journal.flush()
        if self._text_removed:
            deletions.record_removed_text(self._sql, self._text_removed)

    @property
    def orphaned(self) -> list[str]:
        """Photos that lost their last product."""
        return self._photos.orphaned

    def expect(self, product_ids: Sequence[str]) -> None:
        """Read the rows of products that are about to be patched, many at a time."""
        wanted = [i for i in dict.fromkeys(product_ids) if isinstance(i, str) and i.isprintable()]
        for part, marks in chunks(wanted if len(wanted) > 1 else []):
            query = f"SELECT product_id, {ROW_COLUMNS} FROM products WHERE product_id IN ({marks})"
            for product_id, *row in self._sql.execute(query, part):
                self._rows[product_id] = StoredRow.of(row)

    def write(self, write: Write) -> Written:
        """Raises ``BadProductError``, ``UnknownProductError``, ``UnknownPhotoError``,
        ``StaleVersionError``, ``ChangedError``."""
        version = write.external_version
        if version is not None and (type(version) is not int or not -_INT64 <= version < _INT64):
            raise BadProductError(
                f"external_version must be an integer of 64 bits, got {version!a}"
            )
        if isinstance(write, Put):
            self._rows.pop(write.product.product_id, None)
            return self._put(write)
        check_text("product_id", write.product_id)
        if isinstance(write, Patch):
            return self._patch(write)
        return self._delete(write)

    def _delete(self, write: Delete) -> Written:
        product_id = write.product_id
        try:
            stored = self._known(write)
        except UnknownProductError:
            if write.external_version is not None:
                # Its put may come after it.
                deletions.set_tombstone(self._sql, product_id, write.external_version)
            raise
        pid = stored.pid
        self._rows.pop(product_id, None)
        tags = [tag for tag, _ in self._tags(pid)]
        version = write.external_version
        version = stored.external_version if version is None else version
        sequence = self._log(pid, "delete", True)
        self._sql.execute("DELETE FROM products WHERE pid = ?", (pid,))
        self._sql.execute("DELETE FROM tags WHERE pid = ?", (pid,))
        forget_orders(self._sql, pid)
        self.journal.erase(pid)
        orphaned = self._photos.set(pid, [], [])
        deletions.record_deletion(self._sql, pid, product_id, stored.content, tags, version)
        return Written(sequence, pid, "deleted", *orphaned, photos_changed=True)

    # -- put

    def _put(self, put: Put) -> Written:
        product = put.product
        check_product(product, needs_photo="photos" not in put.keep)
        stored = self._row(product.product_id)
        refuse_changed(put, stored)
        if stored is None:
            deletions.refuse_late(self._sql, product.product_id, put.external_version)
        else:
            refuse_stale(product.product_id, stored.external_version, put.external_version)
        content, read = self._content(product, stored, put.keep)
        merchant = checked_tags(product.tags)
        photos = self._photos_of(product, stored, put.keep)
        offered = {photo.content_hash: photo for photo in put.photos}
        self._photos.check(product.product_id, photos.hashes, offered)
        # All checks are done; from here on rows change.
        warnings = self._widen(read)
        if warnings:
            stored = self._row(product.product_id)
            content, read = self._content(product, stored, put.keep)
        photo_ids = [
            self._photos.photo_id(content_hash, offered.get(content_hash))
            for content_hash in photos.hashes
        ]
        self._set_types(read.new_types)
        self._use_fields(content.fields)
        if stored is None:
            added = self._added(put, content, merchant, photo_ids, photos.sources)
            return replace(added, warnings=warnings)
        pid = stored.pid
        old_tags = self._tags(pid)
        tags = old_tags if "tags" in put.keep else _with_others(merchant, old_tags)
        held = self._photos.rows(pid)
        photos_changed = [photo_id for photo_id, _ in held] != photo_ids
        addresses_changed = photos_changed or [source for _, source in held] != photos.sources
        if stored.content == content and old_tags == tags and not addresses_changed:
            self._keep_version(pid, put.external_version)
            return Written(stored.sequence, pid, "unchanged", warnings=warnings)
        replaced_parts: dict[str, tuple[Part, Part]] = {"tags": (_listed(old_tags), _listed(tags))}
        if addresses_changed:
            new = zip(photos.hashes, photos.sources, strict=True)
            replaced_parts["photos"] = (self._photos.addresses(pid), _listed(new))
        self.journal.change(pid, stored.content, content, replaced_parts)
        orphaned = (
            self._photos.set(pid, photo_ids, photos.sources) if addresses_changed else ((), ())
        )
        self._set_tags(pid, tags)
        sequence = self._log(pid, "put", photos_changed)
        self._sql.execute(_CHANGE, (*content, put.external_version, sequence, pid))
        if addresses_changed or tags != old_tags or loses_text(stored.content, content):
            self._text_removed = sequence
        replaced = Written(sequence, pid, "replaced", *orphaned, photos_changed=photos_changed)
        return replace(replaced, warnings=warnings)

    def _added(
        self,
        put: Put,
        content: StoredContent,
        tags: list[tuple[str, str]],
        photo_ids: list[int],
        sources: list[str | None],
    ) -> Written:
        query = (
            "INSERT INTO products (product_id, title, category, attributes, fields, spellings, "
            "external_version, sequence) VALUES (?, ?, ?, ?, ?, ?, ?, 0)"
        )
        pid = self._insert(query, (put.product_id, *content, put.external_version))
        self._photos.set(pid, photo_ids, sources)
        self._set_tags(pid, tags)
        sequence = self._log(pid, "put", True)
        self._sql.execute("UPDATE products SET sequence = ? WHERE pid = ?", (sequence, pid))
        return Written(sequence, pid, "added", photos_changed=True)

    def _content(
        self, product: ProductInput, stored: StoredRow | None, keep: frozenset[str]
    ) -> tuple[StoredContent, ReadAttributes]:
        """The row's content, with the values that stay, and what its attributes change."""
        if stored is None:
            keep = frozenset()
        given = product.attributes
        if keep:
            given = {name: value for name, value in given.items() if name not in keep}
        read = self._types.read(given)
        attributes = read.values
        spellings = read.spellings
        fields = checked_fields(product.fields)
        path = category_path(product.category)
        title = product.title
        category = None if path is None else dump(path)
        if stored is not None and keep:
            old = stored.content
            title = old.title if "title" in keep else title
            category = old.category if "category" in keep else category
            attributes = {**attributes, **kept_values(old.attributes, keep)}
            spellings = {**spellings, **kept_values(old.spellings, keep)}
            fields = {name: value for name, value in fields.items() if name not in keep}
            fields |= kept_values(old.fields, keep)
        spelled = dump_some(spellings)
        stored_as = dump(attributes)
        check_stored_attributes(attributes, stored_as)
        return StoredContent(title, category, stored_as, dump_some(fields), spelled), read

    def _photos_of(
        self, product: ProductInput, stored: StoredRow | None, keep: frozenset[str]
    ) -> _Photos:
        """The photos that the product will have. Raises ``BadProductError`` for none."""
        hashes = list(dict.fromkeys(product.photos))
        given = dict(product.sources)
        if stored is not None and keep & {"photos", "sources"}:
            query = (
                "SELECT content_hash, source FROM product_photos JOIN photos USING (photo_id) "
                "WHERE pid = ? ORDER BY position"
            )
            held = dict(self._sql.execute(query, (stored.pid,)))
            if "photos" in keep:
                hashes = list(held)
            given = {**given, **held} if "photos" in keep else {**held, **given}
        if not hashes:
            raise BadProductError(f"product {product.product_id!r} has no photo")
        return _Photos(hashes, [given.get(content_hash) or None for content_hash in hashes])

    # -- patch

    def _patch(self, patch: Patch) -> Written:
        changes = patch.changes
        unknown = sorted(set(changes) - set(PATCHABLE))
        if unknown:
            raise BadProductError(f"{unknown[0]!a} cannot be patched (only {', '.join(PATCHABLE)})")
        stored = self._known(patch)
        pid = stored.pid
        content, read = self._patched(stored.content, changes)
        tags = old_tags = None
        if "tags" in changes:
            merchant = checked_tags(() if changes["tags"] is None else changes["tags"])
            old_tags = self._tags(pid)
            tags = _with_others(merchant, old_tags)
        warnings = self._widen(read)
        if warnings:
            stored = self._row(patch.product_id) or stored
            content, read = self._patched(stored.content, changes)
        if content == stored.content and tags == old_tags:
            self._keep_version(pid, patch.external_version)
            self._rows.pop(patch.product_id, None)
            return Written(stored.sequence, pid, "unchanged", warnings=warnings)
        self._set_types(read.new_types)
        self._use_fields(content.fields)
        others: dict[str, tuple[Part, Part]] = {}
        if tags is not None and old_tags is not None:
            others["tags"] = (_listed(old_tags), _listed(tags))
            self._set_tags(pid, tags)
        self.journal.change(pid, stored.content, content, others)
        sequence = self._log(pid, "patch", False)
        self._sql.execute(_CHANGE, (*content, patch.external_version, sequence, pid))
        if tags != old_tags or loses_text(stored.content, content):
            self._text_removed = sequence
        if patch.product_id in self._rows:
            version = patch.external_version
            version = stored.external_version if version is None else version
            self._rows[patch.product_id] = StoredRow(pid, content, version, sequence)
        return Written(sequence, pid, "patched", warnings=warnings)

    def _patched(
        self, old: StoredContent, changes: Mapping[str, Any]
    ) -> tuple[StoredContent, ReadAttributes]:
        title = old.title
        category = old.category
        attributes = old.attributes
        fields = old.fields
        spellings = old.spellings
        read = ReadAttributes()
        if "title" in changes:
            title = None if changes["title"] is None else checked_title(changes["title"])
        if "category" in changes:
            path = category_path(changes["category"])
            category = None if path is None else dump(path)
        if "attributes" in changes:
            given = changes["attributes"]
            read = self._types.read(given)
            merged = merged_values(json.loads(old.attributes), given, read.values)
            attributes = dump(merged)
            check_stored_attributes(merged, attributes)
            before = json.loads(old.spellings) if old.spellings else {}
            written = {name: text for name, text in before.items() if name not in given}
            spellings = dump_some({**written, **read.spellings})
        if "fields" in changes:
            if not isinstance(changes["fields"], Mapping):
                raise BadProductError(f"fields must be an object, got {changes['fields']!a}")
            given = {name: checked_field(name, value) for name, value in changes["fields"].items()}
            fields = dump_some(merged_values(json.loads(old.fields or "{}"), given, given))
        return StoredContent(title, category, attributes, fields, spellings), read

    def set_types(self, wanted: dict[str, AttributeType], given: Iterable[str] = ()) -> None:
        """Convert stored values of attributes whose type changes; ``given``: types that a person
        chose, which no value widens. Raises ``BadProductError`` naming product and value."""
        self._types.check_room(wanted)
        for row in list(self._types.converted(wanted)):
            before = self._content_of(row.pid)
            after = before._replace(attributes=row.attributes, spellings=row.spellings)
            self.journal.change(row.pid, before, after)
            query = "UPDATE products SET attributes = ?, spellings = ?, sequence = ? WHERE pid = ?"
            sequence = self._log(row.pid, "patch", False)
            self._sql.execute(query, (row.attributes, row.spellings, sequence, row.pid))
        self._rows.clear()
        self._set_types(wanted, given)

    def _set_types(self, types: Mapping[str, AttributeType], given: Iterable[str] = ()) -> None:
        self.journal.change_types(self._types.set(types, given=given))

    # -- undo

    def parts_of(self, pid: int) -> Parts:
        """All that can be undone of a product, as it is now."""
        parts = content_parts(self._content_of(pid))
        return {**parts, "tags": _listed(self._tags(pid)), "photos": self._photos.addresses(pid)}

    def restore(self, pid: int, parts: Parts) -> list[str]:
        """Give a product parts that it had before; those that cannot be given any more.

        Photos come back as far as they are still stored, attributes in the types that they have
        now.
        """
        before = self._content_of(pid)
        wanted = dict(parts)
        refused = self._types.misfits(wanted)
        photos = wanted.get("photos")
        photo_ids = None if photos is None else self._photos.ids([found for found, _ in photos])
        if photos is not None and photo_ids is None:
            refused.append("photos")
        for part in refused:
            wanted.pop(part, None)
        if not wanted:
            return refused
        self._set_types(self._types.lacking(wanted))
        others: dict[str, tuple[Part, Part]] = {}
        if "tags" in wanted:
            others["tags"] = (_listed(self._tags(pid)), wanted["tags"])
            self._set_tags(pid, [(tag, source) for tag, source in wanted["tags"]])
        if photos is not None and photo_ids is not None:
            others["photos"] = (self._photos.addresses(pid), photos)
            self._photos.set(pid, photo_ids, [source for _, source in photos])
        content = with_parts(before, wanted)
        self.journal.change(pid, before, content, others)
        sequence = self._log(pid, "put" if "photos" in wanted else "patch", "photos" in wanted)
        self._sql.execute(_CHANGE, (*content, None, sequence, pid))
        self._rows.clear()
        return refused

    def restore_type(self, kept: KeptType) -> bool:
        """Give an attribute the type it had; False where values or the type are others by now."""
        if self._types.kinds.get(kept.name) != kept.after:
            return False
        if kept.before is None:
            query = "SELECT 1 FROM products WHERE instr(attributes, ?) LIMIT 1"
            if self._sql.execute(query, (f"{dump(kept.name)}:",)).fetchone() is not None:
                return False
        else:
            try:
                list(self._types.converted({kept.name: cast(AttributeType, kept.before)}))
            except BadProductError:
                return False
            self.set_types({kept.name: cast(AttributeType, kept.before)})
        self._types.restore(kept)
        return True

    def _content_of(self, pid: int) -> StoredContent:
        query = "SELECT title, category, attributes, fields, spellings FROM products WHERE pid = ?"
        return StoredContent(*self._sql.execute(query, (pid,)).fetchone())

    def _widen(self, read: ReadAttributes) -> tuple[str, ...]:
        """Make text of attributes that met text; what is said of it."""
        if not read.widened:
            return ()
        self.set_types(dict.fromkeys(read.widened, "string"))
        return tuple(widening(name, kind, read.values[name]) for name, kind in read.widened.items())

    # -- parts

    def _known(self, write: Write) -> StoredRow:
        stored = self._rows.get(write.product_id) or self._row(write.product_id)
        refuse_changed(write, stored)
        if stored is None:
            raise UnknownProductError(f"there is no product {write.product_id!r}")
        refuse_stale(write.product_id, stored.external_version, write.external_version)
        return stored

    def _row(self, product_id: str) -> StoredRow | None:
        query = f"SELECT {ROW_COLUMNS} FROM products WHERE product_id = ?"
        found: Sequence[Any] | None = self._sql.execute(query, (product_id,)).fetchone()
        return None if found is None else StoredRow.of(found)

    def _log(self, pid: int, kind: str, photos_changed: bool) -> int:
        """The change's sequence number, which the product's row still has to take."""
        query = "INSERT INTO changes (pid, kind, photos_changed) VALUES (?, ?, ?)"
        return self._insert(query, (pid, kind, photos_changed))

    def _insert(self, query: str, values: Sequence[Any]) -> int:
        return int(self._sql.execute(query, values).lastrowid or 0)

    def _keep_version(self, pid: int, version: int | None) -> None:
        if version is not None:
            query = (
                "UPDATE products SET external_version = ?1 WHERE pid = ?2 AND external_version IS "
                "NOT ?1"
            )
            self._sql.execute(query, (version, pid))

    def _tags(self, pid: int) -> list[tuple[str, str]]:
        return self._sql.execute(
            "SELECT tag, source FROM tags WHERE pid = ? ORDER BY position", (pid,)
        ).fetchall()

    def _set_tags(self, pid: int, tags: list[tuple[str, str]]) -> None:
        self._sql.execute("DELETE FROM tags WHERE pid = ?", (pid,))
        rows = [(pid, tag, source, position) for position, (tag, source) in enumerate(tags)]
        self._sql.executemany(
            "INSERT INTO tags (pid, tag, source, position) VALUES (?, ?, ?, ?)", rows
        )

    def _use_fields(self, fields: str | None) -> None:
        fresh = json.loads(fields).keys() - self._used if fields else set()
        if fresh:
            query = "INSERT OR IGNORE INTO used_fields (name) VALUES (?)"
            self._sql.executemany(query, [(name,) for name in sorted(fresh)])
            self._used |= fresh


def _listed(pairs: Iterable[tuple[str, str | None]]) -> list[list[str | None]]:
    """Pairs as JSON has them."""
    return [list(pair) for pair in pairs]


def _with_others(
    merchant: list[tuple[str, str]], stored: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """The merchant's tags, then the stored ones of other sources."""
    return merchant + [pair for pair in stored if pair[1] != "merchant" and pair not in merchant]
