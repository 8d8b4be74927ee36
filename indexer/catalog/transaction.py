"""Write transaction of the catalog: each write is checked before it changes a row."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

from indexer.catalog.attribute_types import ConvertedRow, ReadAttributes, StoredTypes, widening
from indexer.catalog.attributes import AttributeType
from indexer.catalog.checksums import TouchedRows
from indexer.catalog.deletions import DeletionWriter, product_texts, record_removed_text
from indexer.catalog.preconditions import refuse_changed, refuse_stale
from indexer.catalog.product_checks import check_product
from indexer.catalog.product_content import patched_content, put_content
from indexer.catalog.product_photos import PhotoAssignment
from indexer.catalog.product_rows import StoredContent, StoredRow
from indexer.catalog.records import (
    PATCHABLE,
    Delete,
    Patch,
    ProductInput,
    Put,
    Write,
    Written,
    check_text,
    checked_tags,
    dump,
    load,
)
from indexer.catalog.row_writer import RowWriter
from indexer.catalog.schema import forget_orders, has_orders
from indexer.catalog.undo_journal import (
    KeptType,
    Parts,
    UndoJournal,
    changed_parts,
    content_parts,
    differences,
    loses_text,
    with_parts,
)
from indexer.core.errors import (
    BadProductError,
    UnknownProductError,
)
from indexer.core.sqlite import Connection

_INT64 = 2**63


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

    def __init__(self, connection: Connection, photos: Path | None, rows: TouchedRows) -> None:
        """``rows`` takes the checksums of what is written."""
        self._sql = connection
        self._table = RowWriter(connection, rows)
        self._touched = rows
        self._photos = PhotoAssignment(connection, photos)
        self._deletions = DeletionWriter(connection)
        self._types = StoredTypes(connection)
        # By product id: rows read ahead, as they are now.
        self._rows: dict[str, StoredRow] = {}
        # Fields that some product ever had.
        self._used = used_fields(connection)
        self.journal = UndoJournal(connection)
        # Called before each product that follows a changed type; may raise.
        self.on_step: Callable[[], object] = lambda: None
        # The last change that took a text from a product that stays.
        self._text_removed = 0
        # Whether orders were ever imported; None before it is asked for.
        self._has_orders: bool | None = None

    def finish(self) -> None:
        """Write what is kept until the transaction ends."""
        self.journal.flush()
        if self._text_removed:
            record_removed_text(self._sql, self._text_removed)

    @property
    def orphaned(self) -> list[str]:
        """Photos that lost their last product."""
        return self._photos.orphaned

    def expect(self, product_ids: Sequence[str]) -> None:
        """Read the rows of products that are about to be patched, many at a time."""
        wanted = [i for i in dict.fromkeys(product_ids) if isinstance(i, str) and i.isprintable()]
        if len(wanted) > 1:
            self._rows.update(self._table.read_many(wanted))

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
                self._deletions.set_tombstone(product_id, write.external_version)
            raise
        pid = stored.pid
        self._rows.pop(product_id, None)
        tags = [tag for tag, _ in self._table.tags(pid)]
        version = write.external_version
        version = stored.external_version if version is None else version
        sequence = self._table.log(pid, "delete", True)
        self._table.remove(pid)
        if self._has_orders is None:
            self._has_orders = has_orders(self._sql)
        if self._has_orders:
            forget_orders(self._sql, pid)
        kept = self.journal.erase(pid)
        texts = product_texts(stored.content, tags, kept.texts)
        names = dict.fromkeys([*load(stored.content.attributes), *kept.names])
        orphaned = self._photos.set(pid, [], [])
        self._deletions.record(pid, product_id, texts, names, version)
        return Written(sequence, pid, "deleted", *orphaned, photos_changed=True)

    # -- put

    def _put(self, put: Put) -> Written:
        product = put.product
        checked = check_product(product, needs_photo="photos" not in put.keep)
        stored = self._table.read(product.product_id)
        refuse_changed(put, stored)
        old = None
        if stored is None:
            self._deletions.refuse_late(product.product_id, put.external_version)
        else:
            old = stored.content
            refuse_stale(product.product_id, stored.external_version, put.external_version)
        content, read = put_content(self._types, product, checked, old, put.keep)
        photos = self._photos_of(product, stored, put.keep)
        offered = {photo.content_hash: photo for photo in put.photos}
        self._photos.check(product.product_id, photos.hashes, offered)
        # All checks are done; from here on rows change.
        warnings = self._widen(read)
        if warnings:
            stored = self._table.read(product.product_id)
            old = None if stored is None else stored.content
            content, read = put_content(self._types, product, checked, old, put.keep)
        photo_ids = [
            self._photos.photo_id(content_hash, offered.get(content_hash))
            for content_hash in photos.hashes
        ]
        self._set_types(read.new_types)
        self._use_fields(checked.fields)
        if stored is None:
            added = self._table.add(product.product_id, content, put.external_version)
            self._photos.add(added.pid, photo_ids, photos.sources)
            self._table.add_tags(added.pid, checked.tags)
            sources = zip(photo_ids, photos.sources, strict=True)
            self._touched.know_parts(added.pid, checked.tags, sources)
            return Written(
                added.sequence, added.pid, "added", photos_changed=True, warnings=warnings
            )
        written = self._replaced(put, stored, content, checked.tags, photos, photo_ids)
        return replace(written, warnings=warnings) if warnings else written

    def _replaced(
        self,
        put: Put,
        stored: StoredRow,
        content: StoredContent,
        merchant: list[tuple[str, str]],
        photos: _Photos,
        photo_ids: list[int],
    ) -> Written:
        pid = stored.pid
        old_tags = self._table.tags(pid)
        tags = old_tags if "tags" in put.keep else _with_others(merchant, old_tags)
        held = self._photos.rows(pid)
        photos_changed = [photo_id for photo_id, _ in held] != photo_ids
        addresses_changed = photos_changed or [source for _, source in held] != photos.sources
        if stored.content == content and old_tags == tags and not addresses_changed:
            self._keep_version(put, stored)
            return Written(stored.sequence, pid, "unchanged")
        parts = changed_parts(stored.content, content)
        differences(parts, "tags", _listed(old_tags), _listed(tags))
        if addresses_changed:
            new = _listed(zip(photos.hashes, photos.sources, strict=True))
            differences(parts, "photos", self._photos.addresses(pid), new)
        self.journal.change(pid, parts)
        orphaned: tuple[tuple[str, ...], tuple[int, ...]] = ((), ())
        if addresses_changed:
            orphaned = self._photos.set(pid, photo_ids, photos.sources)
        if tags != old_tags:
            self._table.set_tags(pid, tags)
        sequence = self._table.log(pid, "put", photos_changed)
        self._change(put, stored, content, sequence)
        if loses_text(parts, content):
            self._text_removed = sequence
        return Written(sequence, pid, "replaced", *orphaned, photos_changed=photos_changed)

    def _change(
        self, write: Put | Patch, stored: StoredRow, content: StoredContent, sequence: int
    ) -> StoredRow:
        version = write.external_version
        version = stored.external_version if version is None else version
        self._table.change(write.product_id, stored.pid, content, version, sequence)
        return StoredRow(stored.pid, content, version, sequence)

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
        if unknown := sorted(set(changes).difference(PATCHABLE)):
            raise BadProductError(f"{unknown[0]!a} cannot be patched (only {', '.join(PATCHABLE)})")
        stored = self._known(patch)
        pid = stored.pid
        patched = patched_content(self._types, stored.content, changes)
        tags = old_tags = None
        if "tags" in changes:
            merchant = checked_tags(() if changes["tags"] is None else changes["tags"])
            old_tags = self._table.tags(pid)
            tags = _with_others(merchant, old_tags)
        warnings = self._widen(patched.read)
        if warnings:
            stored = self._table.read(patch.product_id) or stored
            patched = patched_content(self._types, stored.content, changes)
        if patched.content == stored.content and tags == old_tags:
            self._keep_version(patch, stored)
            self._rows.pop(patch.product_id, None)
            return Written(stored.sequence, pid, "unchanged", warnings=warnings)
        self._set_types(patched.read.new_types)
        self._use_fields(patched.fields)
        if tags is not None and old_tags is not None and tags != old_tags:
            differences(patched.parts, "tags", _listed(old_tags), _listed(tags))
            self._table.set_tags(pid, tags)
        self.journal.change(pid, patched.parts)
        sequence = self._table.log(pid, "patch", False)
        row = self._change(patch, stored, patched.content, sequence)
        if loses_text(patched.parts, patched.content):
            self._text_removed = sequence
        if patch.product_id in self._rows:
            self._rows[patch.product_id] = row
        return Written(sequence, pid, "patched", warnings=warnings)

    def set_types(
        self,
        wanted: dict[str, AttributeType],
        given: Iterable[str] = (),
        pids: Sequence[int] | None = None,
        *,
        later: Collection[str] = (),
    ) -> None:
        """Convert stored values of attributes whose type changes, of all products or those that are
        left; ``given``: types that a person chose, which no value widens; ``later``: attributes
        whose values are only checked, for ``read_from_text``. Raises ``BadProductError`` naming
        product and value."""
        self._types.check_room(wanted)
        for _ in self._types.converted({name: wanted[name] for name in later}, pids):
            self.on_step()
        self.convert({name: wanted[name] for name in wanted if name not in later}, pids)
        self._set_types(wanted, given)

    def convert(
        self, wanted: Mapping[str, AttributeType], pids: Sequence[int] | None = None
    ) -> None:
        """Convert stored values to types that are not set yet. Raises ``BadProductError``."""
        self._rewrite(list(self._types.converted(wanted, pids)))

    def read_from_text(self, wanted: Mapping[str, AttributeType], pids: Sequence[int]) -> None:
        """Convert text to those of the types that are set. Raises ``BadProductError``."""
        self._rewrite(list(self._types.read_from_text(wanted, pids)))

    def _rewrite(self, rows: Sequence[ConvertedRow]) -> None:
        for row in rows:
            self.on_step()
            product_id, stored = self._table.read_at(row.pid)
            content = stored.content._replace(attributes=row.attributes, spellings=row.spellings)
            self.journal.change(row.pid, changed_parts(stored.content, content))
            sequence = self._table.log(row.pid, "patch", False)
            self._table.change(product_id, row.pid, content, stored.external_version, sequence)
        self._rows.clear()

    def _set_types(self, types: Mapping[str, AttributeType], given: Iterable[str] = ()) -> None:
        if types:
            self.journal.change_types(self._types.set(types, given=given))

    # -- undo

    def parts_of(self, pid: int) -> Parts:
        """All that can be undone of a product, as it is now."""
        parts = content_parts(self._table.read_at(pid)[1].content)
        tags = _listed(self._table.tags(pid))
        return {**parts, "tags": tags, "photos": self._photos.addresses(pid)}

    def restore(self, pid: int, parts: Parts) -> list[str]:
        """Give a product parts that it had before; those that cannot be given any more.

        Photos come back as far as they are still stored, attributes in the types that they have
        now.
        """
        product_id, stored = self._table.read_at(pid)
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
        content = with_parts(stored.content, wanted)
        replaced = changed_parts(stored.content, content)
        if "tags" in wanted:
            differences(replaced, "tags", _listed(self._table.tags(pid)), wanted["tags"])
            self._table.set_tags(pid, [(tag, source) for tag, source in wanted["tags"]])
        if photos is not None and photo_ids is not None:
            differences(replaced, "photos", self._photos.addresses(pid), photos)
            self._photos.set(pid, photo_ids, [source for _, source in photos])
        self.journal.change(pid, replaced)
        kind = "put" if "photos" in wanted else "patch"
        sequence = self._table.log(pid, kind, "photos" in wanted)
        self._table.change(product_id, pid, content, stored.external_version, sequence)
        self._rows.clear()
        return refused

    def restore_type(
        self,
        kept: KeptType,
        pids: Sequence[int] | None = None,
        *,
        later: Collection[str] = (),
    ) -> bool:
        """Give an attribute the type it had, as ``set_types`` does; False where values or the type
        are others by now."""
        if self._types.kinds.get(kept.name) != kept.after:
            return self._types.kinds.get(kept.name) == kept.before
        if kept.before is None:
            query = "SELECT 1 FROM products WHERE instr(attributes, ?) LIMIT 1"
            if self._sql.execute(query, (f"{dump(kept.name)}:",)).fetchone() is not None:
                return False
        else:
            before = {kept.name: cast(AttributeType, kept.before)}
            try:
                for _ in self._types.converted(before, pids):
                    pass
            except BadProductError:
                return False
            self.set_types(before, (), pids, later=later)
        self._types.restore(kept)
        return True

    def _widen(self, read: ReadAttributes) -> tuple[str, ...]:
        """Make text of attributes that met text; what is said of it."""
        if not read.widened:
            return ()
        self.set_types(dict.fromkeys(read.widened, "string"))
        return tuple(widening(name, kind, read.values[name]) for name, kind in read.widened.items())

    # -- parts

    def _known(self, write: Write) -> StoredRow:
        stored = self._rows.get(write.product_id) or self._table.read(write.product_id)
        refuse_changed(write, stored)
        if stored is None:
            raise UnknownProductError(f"there is no product {write.product_id!r}")
        refuse_stale(write.product_id, stored.external_version, write.external_version)
        return stored

    def _keep_version(self, write: Put | Patch, stored: StoredRow) -> None:
        if write.external_version is not None:
            self._table.set_version(stored, write.external_version)

    def _use_fields(self, names: Iterable[str]) -> None:
        if not self._used.issuperset(names):
            fresh = set(names) - self._used
            query = "INSERT OR IGNORE INTO used_fields (name) VALUES (?)"
            self._sql.executemany(query, [(name,) for name in sorted(fresh)])
            self._used |= fresh


def _listed(pairs: Iterable[tuple[str, str | None]]) -> list[list[str | None]]:
    """Pairs as JSON has them."""
    return [list(pair) for pair in pairs]


def _with_others(
    merchant: list[tuple[str, str]], stored: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """The merchant's tags, then the stored ones of other sources; as stored where the merchant's
    are the same."""
    stored = [*stored]
    if merchant == [pair for pair in stored if pair[1] == "merchant"]:
        return stored
    return merchant + [pair for pair in stored if pair[1] != "merchant" and pair not in merchant]
