"""Write transaction of the catalog: each write is checked before it changes a row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from indexer.catalog.attributes import AttributeType, read
from indexer.catalog.records import (
    PATCHABLE,
    NewPhoto,
    Patch,
    Put,
    Write,
    Written,
    category_path,
    check_product,
    check_text,
    checked_attributes,
    checked_tags,
    dump,
    photo_file,
)
from indexer.catalog.schema import forget_orders
from indexer.core.errors import (
    BadProductError,
    StaleVersionError,
    UnknownPhotoError,
    UnknownProductError,
)
from indexer.core.sqlite import Connection, chunks

_INT64 = 2**63
_ROW = "pid, title, category, attributes, external_version, sequence"
# One statement per changed product: prices and stocks are patched by the thousand.
_CHANGE = """
UPDATE products SET title = ?, category = ?, attributes = ?,
    external_version = coalesce(?, external_version), sequence = ?
WHERE pid = ?
"""


def last_sequence(connection: Connection) -> int:
    """From the counter, not the log, which may have been compacted."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
    return 0 if row is None else int(row[0])


def stored_types(connection: Connection) -> dict[str, AttributeType]:
    return dict(connection.execute("SELECT name, type FROM attribute_types ORDER BY name"))


class Transaction:
    """Writes inside one open IMMEDIATE transaction. A write that raises has changed nothing."""

    def __init__(self, connection: Connection, photos: Path | None) -> None:
        self._sql = connection
        self._photos = photos
        self._types = stored_types(connection)
        # By product id: rows read ahead, as they are now.
        self._rows: dict[str, Sequence[Any]] = {}
        # Photos that lost their last product.
        self.orphaned: list[str] = []

    def expect(self, product_ids: Sequence[str]) -> None:
        """Read the rows of products that are about to be patched, many at a time."""
        wanted = [i for i in dict.fromkeys(product_ids) if isinstance(i, str) and i.isprintable()]
        for part, marks in chunks(wanted if len(wanted) > 1 else []):
            query = f"SELECT product_id, {_ROW} FROM products WHERE product_id IN ({marks})"
            self._rows.update((row[0], row[1:]) for row in self._sql.execute(query, part))

    def write(self, write: Write) -> Written:
        """Raises ``BadProductError``, ``UnknownProductError``, ``UnknownPhotoError``,
        ``StaleVersionError``."""
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
        pid, _ = self._known(write.product_id, version)
        self._rows.pop(write.product_id, None)
        sequence = self._log(pid, "delete", True)
        self._sql.execute("DELETE FROM products WHERE pid = ?", (pid,))
        self._sql.execute("DELETE FROM tags WHERE pid = ?", (pid,))
        forget_orders(self._sql, pid)
        return Written(sequence, pid, "deleted", *self._set_photos(pid, []), photos_changed=True)

    # -- put

    def _put(self, put: Put) -> Written:
        product = put.product
        check_product(product)
        category = category_path(product.category)
        attributes, new_types = checked_attributes(product.attributes, self._types)
        merchant = checked_tags(product.tags)
        stored = self._row(product.product_id)
        if stored is not None:
            _refuse_stale(product.product_id, stored[4], put.external_version)
        hashes = list(dict.fromkeys(product.photos))
        offered = {photo.content_hash: photo for photo in put.photos}
        self._check_photos(product.product_id, hashes, offered)
        # All checks are done; from here on rows change.
        photo_ids = [
            self._photo_id(content_hash, offered.get(content_hash)) for content_hash in hashes
        ]
        self._add_types(new_types)
        row = (product.title, None if category is None else dump(category), dump(attributes))
        if stored is None:
            query = (
                "INSERT INTO products (product_id, title, category, attributes, external_version, "
                "sequence) "
                "VALUES (?, ?, ?, ?, ?, 0)"
            )
            pid = self._insert(query, (product.product_id, *row, put.external_version))
            tags = merchant
            photos_changed = True
        else:
            pid = int(stored[0])
            old_tags = self._tags(pid)
            tags = merchant + [
                pair for pair in old_tags if pair[1] != "merchant" and pair not in merchant
            ]
            photos_changed = self._photo_ids(pid) != photo_ids
            if tuple(stored[1:4]) == row and old_tags == tags and not photos_changed:
                self._keep_version(pid, put.external_version)
                return Written(stored[5], pid, "unchanged")
        orphaned = self._set_photos(pid, photo_ids) if photos_changed else ((), ())
        self._set_tags(pid, tags)
        sequence = self._log(pid, "put", photos_changed)
        self._sql.execute(_CHANGE, (*row, put.external_version, sequence, pid))
        outcome: Literal["added", "replaced"] = "added" if stored is None else "replaced"
        return Written(sequence, pid, outcome, *orphaned, photos_changed=photos_changed)

    def _check_photos(
        self, product_id: str, hashes: list[str], offered: dict[str, NewPhoto]
    ) -> None:
        known: dict[str, str] = {}
        for part, marks in chunks(hashes):
            query = f"SELECT content_hash, storage FROM photos WHERE content_hash IN ({marks})"
            known.update(self._sql.execute(query, part))
        for content_hash in hashes:
            new = offered.get(content_hash)
            if new is None and content_hash not in known:
                raise UnknownPhotoError(
                    f"product {product_id!r}: there is no stored photo {content_hash!a}"
                )
            # The file was written before this transaction and a delete may have removed it since.
            becomes_copy = (
                new is not None and new.storage == "copy" and known.get(content_hash) != "copy"
            )
            if (
                becomes_copy
                and self._photos is not None
                and not photo_file(self._photos, content_hash).is_file()
            ):
                raise UnknownPhotoError(
                    f"product {product_id!r}: the file of photo {content_hash} is gone, send it "
                    "again"
                )

    def _photo_id(self, content_hash: str, new: NewPhoto | None) -> int:
        query = "SELECT photo_id, storage, path FROM photos WHERE content_hash = ?"
        found = self._sql.execute(query, (content_hash,)).fetchone()
        if found is None and new is not None:
            query = (
                "INSERT INTO photos (content_hash, format, bytes, width, height, storage, path) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)"
            )
            values = (
                content_hash,
                new.format,
                new.bytes,
                new.width,
                new.height,
                new.storage,
                new.path,
            )
            return self._insert(query, values)
        # A copy replaces a reference, never the other way; a reference follows its file.
        if (
            new is not None
            and found[1] == "reference"
            and (new.storage, new.path) != (found[1], found[2])
        ):
            query = "UPDATE photos SET storage = ?, path = ? WHERE photo_id = ?"
            self._sql.execute(query, (new.storage, new.path, found[0]))
        return int(found[0])

    def _photo_ids(self, pid: int) -> list[int]:
        query = "SELECT photo_id FROM product_photos WHERE pid = ? ORDER BY position"
        return [row[0] for row in self._sql.execute(query, (pid,))]

    def _set_photos(
        self, pid: int, photo_ids: list[int]
    ) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Replace a product's photos; rows nobody uses any more are removed, their hashes and ids
        returned."""
        old = self._photo_ids(pid)
        self._sql.execute("DELETE FROM product_photos WHERE pid = ?", (pid,))
        rows = [(pid, position, photo_id) for position, photo_id in enumerate(photo_ids)]
        self._sql.executemany(
            "INSERT INTO product_photos (pid, position, photo_id) VALUES (?, ?, ?)", rows
        )
        orphaned: list[tuple[str, int]] = []
        for photo_id in set(old) - set(photo_ids):
            query = (
                "DELETE FROM photos WHERE photo_id = ?1 "
                "AND NOT EXISTS (SELECT 1 FROM product_photos WHERE photo_id = ?1) RETURNING "
                "content_hash, photo_id"
            )
            orphaned += self._sql.execute(query, (photo_id,)).fetchall()
        orphaned.sort()
        self.orphaned += [content_hash for content_hash, _ in orphaned]
        return tuple(content_hash for content_hash, _ in orphaned), tuple(
            photo_id for _, photo_id in orphaned
        )

    # -- patch

    def _patch(self, patch: Patch) -> Written:
        changes = patch.changes
        unknown = sorted(set(changes) - set(PATCHABLE))
        if unknown:
            raise BadProductError(f"{unknown[0]!a} cannot be patched (only {', '.join(PATCHABLE)})")
        pid, stored = self._known(patch.product_id, patch.external_version)
        title, category, attributes = old = (stored[1], stored[2], stored[3])
        if "title" in changes:
            title = None if changes["title"] is None else check_text("title", changes["title"])
        if "category" in changes:
            path = category_path(changes["category"])
            category = None if path is None else dump(path)
        new_types: dict[str, AttributeType] = {}
        if "attributes" in changes:
            given, new_types = checked_attributes(changes["attributes"], self._types)
            merged = {**json.loads(attributes), **given}
            for name, value in changes["attributes"].items():
                if value is None:
                    merged.pop(name, None)
            attributes = dump(merged)
        tags = old_tags = None
        if "tags" in changes:
            merchant = checked_tags(() if changes["tags"] is None else changes["tags"])
            old_tags = self._tags(pid)
            tags = merchant + [
                pair for pair in old_tags if pair[1] != "merchant" and pair not in merchant
            ]
        if (title, category, attributes) == old and tags == old_tags:
            self._keep_version(pid, patch.external_version)
            self._rows.pop(patch.product_id, None)
            return Written(stored[5], pid, "unchanged")
        self._add_types(new_types)
        if tags is not None:
            self._set_tags(pid, tags)
        sequence = self._log(pid, "patch", False)
        self._sql.execute(
            _CHANGE, (title, category, attributes, patch.external_version, sequence, pid)
        )
        if patch.product_id in self._rows:
            version = stored[4] if patch.external_version is None else patch.external_version
            self._rows[patch.product_id] = (pid, title, category, attributes, version, sequence)
        return Written(sequence, pid, "patched")

    def set_types(self, wanted: dict[str, AttributeType]) -> None:
        """Convert stored values of attributes whose type changes. Raises ``BadProductError`` naming
        product and value."""
        changed = {
            name: type_ for name, type_ in wanted.items() if self._types.get(name, type_) != type_
        }
        converted: list[tuple[int, str]] = []
        if changed:
            for pid, product_id, text in self._sql.execute(
                "SELECT pid, product_id, attributes FROM products"
            ):
                values = json.loads(text)
                for name in changed.keys() & values.keys():
                    try:
                        values[name] = read(values[name], changed[name])
                    except ValueError as error:
                        raise BadProductError(
                            f"product {product_id!r}, attribute {name!a}: {error}"
                        ) from error
                kept = dump({name: value for name, value in values.items() if value is not None})
                if kept != text:
                    converted.append((pid, kept))
        for pid, text in converted:
            query = "UPDATE products SET attributes = ?, sequence = ? WHERE pid = ?"
            self._sql.execute(query, (text, self._log(pid, "patch", False), pid))
        self._add_types(wanted)

    # -- parts

    def _known(self, product_id: str, version: int | None) -> tuple[int, Sequence[Any]]:
        stored = self._rows.get(product_id) or self._row(product_id)
        if stored is None:
            raise UnknownProductError(f"there is no product {product_id!r}")
        _refuse_stale(product_id, stored[4], version)
        return int(stored[0]), stored

    def _row(self, product_id: str) -> Sequence[Any] | None:
        query = f"SELECT {_ROW} FROM products WHERE product_id = ?"
        found: Sequence[Any] | None = self._sql.execute(query, (product_id,)).fetchone()
        return found

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

    def _add_types(self, types: dict[str, AttributeType]) -> None:
        fresh = {name: type_ for name, type_ in types.items() if self._types.get(name) != type_}
        if fresh:
            self._sql.executemany(
                "INSERT OR REPLACE INTO attribute_types (name, type) VALUES (?, ?)", fresh.items()
            )
            self._types.update(fresh)


def _refuse_stale(product_id: str, stored: int | None, given: int | None) -> None:
    if stored is not None and given is not None and given < stored:
        raise StaleVersionError(
            f"product {product_id!r} has external_version {stored}, {given} is older"
        )
