"""Record of deletions: tombstones of ids, and what erasure looks for in other files."""

from __future__ import annotations

import hmac
import json
import os
import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from indexer.catalog.product_rows import ROW_COLUMNS, StoredContent, StoredRow, texts_in
from indexer.catalog.undo_journal import kept_texts
from indexer.core.atomic_files import seal_of
from indexer.core.errors import BadHomeError, StaleVersionError
from indexer.core.home_clock import latest_time
from indexer.core.sqlite import (
    META_TABLE,
    Connection,
    Database,
    chunks,
    folder_of,
    has_table,
    read_meta,
    write_meta,
)

# How long a deletion is remembered: a delivery of the product that comes later is no longer told
# from a new product, and caches outside the home are no longer searched for its photos.
TOMBSTONE_DAYS = 30
_DAY_S = 86_400.0
_DIGEST = 16
_SALT = "tombstone_salt"
_SALT_CHECK = "tombstone_salt_check"
# The last change that took a text from a product that stays.
TEXT_REMOVED = "text_removed"
# The kind of the names of a product's attributes, which are looked for among names alone.
NAME = "name"
# Ids and texts stand here as salted digests: enough to know them where they are met, and no text.
_SCHEMA = (
    META_TABLE,
    "CREATE TABLE IF NOT EXISTS tombstones (digest BLOB PRIMARY KEY, external_version INTEGER, "
    "until REAL NOT NULL) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS tombstones_by_end ON tombstones (until)",
    # Of each deleted product; ``marks``: JSON of [kind, length, digest], until an erasure has been
    # through the home.
    "CREATE TABLE IF NOT EXISTS deletions (pid INTEGER PRIMARY KEY, marks TEXT NOT NULL)",
    # Photos that lost their last product.
    "CREATE TABLE IF NOT EXISTS erased_photos (digest BLOB PRIMARY KEY, until REAL NOT NULL) "
    "WITHOUT ROWID",
)
# Photos that were given for a class after they were erased: the class may keep them, and nothing
# else. A catalog of an older release has none.
_GIVEN_TABLE = (
    "CREATE TABLE IF NOT EXISTS given_photos (digest BLOB NOT NULL, class_id INTEGER NOT NULL, "
    "until REAL NOT NULL, PRIMARY KEY (digest, class_id)) WITHOUT ROWID"
)
_SET_TOMBSTONE = (
    "INSERT INTO tombstones VALUES (?, ?, ?) ON CONFLICT (digest) DO UPDATE SET "
    "external_version = CASE WHEN external_version IS NULL THEN excluded.external_version "
    "WHEN excluded.external_version IS NULL THEN external_version "
    "ELSE max(external_version, excluded.external_version) END, until = excluded.until"
)
# Texts whose marks are kept at hand: products of one shop share most of theirs.
_REMEMBERED = 10_000
_SHORT = 100


class Mark(NamedTuple):
    """A text of a deleted product, without it. ``kind``: id, text, or name for that of an
    attribute; ``length``: characters."""

    kind: str
    length: int
    check: int
    digest: str


@dataclass(frozen=True)
class DeletedProduct:
    """What was deleted and may still be named in other files."""

    pid: int
    marks: tuple[Mark, ...]


class Salted:
    """Digests of texts under the salt of one catalog."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._seed = int.from_bytes(salt[:4], "big")
        self._marks: dict[str, Mark] = {}

    def check(self, text: str) -> int:
        """A quick 16 bits: texts that differ in them are different."""
        return zlib.crc32(_bytes(text), self._seed) & 0xFFFF

    def digest(self, text: str) -> bytes:
        return hmac.digest(self._salt, _bytes(text), "sha256")[:_DIGEST]

    def mark(self, kind: str, text: str) -> Mark:
        known = self._marks.get(text)
        if known is None:
            known = Mark(kind, len(text), self.check(text), self.digest(text).hex())
            if len(self._marks) < _REMEMBERED and len(text) <= _SHORT:
                self._marks[text] = known
        return known if known.kind == kind else known._replace(kind=kind)


def record_removed_text(sql: Connection, sequence: int) -> None:
    """Record that a change took a text from a product that stays: copies of it may lie in pages
    that nothing uses; inside a write transaction."""
    sql.execute(META_TABLE)
    write_meta(sql, TEXT_REMOVED, str(sequence))


def record_photos(sql: Connection, hashes: Iterable[str]) -> None:
    """Record photos that lost their last product; inside a write transaction."""
    hashes = list(hashes)
    if hashes:
        salted = salted_digests(sql)
        end = _end(sql)
        rows = [(salted.digest(content_hash), end) for content_hash in hashes]
        sql.executemany("INSERT OR REPLACE INTO erased_photos VALUES (?, ?)", rows)
        if has_table(sql, "given_photos"):
            # Erased once more, since somebody gave them.
            digests = [(digest,) for digest, _ in rows]
            sql.executemany("DELETE FROM given_photos WHERE digest = ?", digests)


class DeletionWriter:
    """Records deletions inside one open transaction, which reads the salt once."""

    def __init__(self, connection: Connection) -> None:
        self._sql = connection
        self._salt: Salted | None = None
        self._end: float | None = None

    def _tombstone_end(self) -> float:
        if self._end is None:
            self._end = _end(self._sql)
        return self._end

    def _salted(self) -> Salted:
        if self._salt is None:
            self._salt = salted_digests(self._sql)
        return self._salt

    def record(
        self,
        pid: int,
        product_id: str,
        texts: Iterable[str],
        names: Iterable[str],
        external_version: int | None,
    ) -> None:
        """Record a deleted product, with the texts and the names of attributes that it has and
        had, and set its tombstone."""
        salted = self._salted()
        marks = [salted.mark("id", product_id)]
        marks += [salted.mark("text", text) for text in texts]
        marks += [salted.mark(NAME, name) for name in names]
        values = (pid, orjson.dumps([tuple(mark) for mark in marks]).decode())
        self._sql.execute("INSERT OR REPLACE INTO deletions VALUES (?, ?)", values)
        self._set_tombstone(bytes.fromhex(marks[0].digest), external_version)

    def set_tombstone(self, product_id: str, external_version: int | None) -> None:
        """Remember a deleted id with the highest version seen of it."""
        self._set_tombstone(self._salted().digest(product_id), external_version)

    def _set_tombstone(self, digest: bytes, external_version: int | None) -> None:
        self._sql.execute(_SET_TOMBSTONE, (digest, external_version, self._tombstone_end()))

    def refuse_late(self, product_id: str, external_version: int | None) -> None:
        """Raise ``StaleVersionError`` for a write that is older than the deletion of its
        product."""
        if external_version is None or (
            self._salt is None and not has_table(self._sql, "tombstones")
        ):
            return
        # Whatever the clock says: one that came to its end goes with the next clean-up, which asks
        # whether the clock is right.
        query = "SELECT external_version FROM tombstones WHERE digest = ?"
        row = self._sql.execute(query, (self._salted().digest(product_id),)).fetchone()
        if row is not None and row[0] is not None and external_version < row[0]:
            raise StaleVersionError(
                f"product {product_id!r} was deleted at external_version {row[0]}, "
                f"{external_version} is older"
            )


class Deletions:
    """What erasure asks of a catalog's database. Cheap to make."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def salted(self) -> Salted | None:
        """The digests of this catalog; None where nothing was ever deleted."""
        with self._database.read() as sql:
            salt = read_meta(sql, _SALT)
            if salt is None and has_table(sql, "tombstones"):
                _require_no_digests(sql)
            return None if salt is None else _checked_salt(sql, salt)

    def pending(self) -> list[DeletedProduct]:
        """Products that may still be named in other files."""
        with self._database.read() as sql:
            if not has_table(sql, "deletions"):
                return []
            rows = sql.execute("SELECT pid, marks FROM deletions ORDER BY pid")
            return [
                DeletedProduct(pid, tuple(map(Mark._make, json.loads(marks))))
                for pid, marks in rows
            ]

    def photos(self) -> set[bytes]:
        """Digests of the content hashes of photos that were erased lately."""
        with self._database.read() as sql:
            if not has_table(sql, "erased_photos"):
                return set()
            return {row[0] for row in sql.execute("SELECT digest FROM erased_photos")}

    def erased_among(self, hashes: Iterable[str]) -> frozenset[str]:
        """Those of these photos that were erased lately."""
        salted, erased = self.salted(), self.photos()
        if salted is None or not erased:
            return frozenset()
        return frozenset(found for found in hashes if salted.digest(found) in erased)

    def given_among(self, hashes: Iterable[str], class_id: int) -> frozenset[str]:
        """Those of these photos that were given for this class after they were erased."""
        salted = self.salted()
        with self._database.read() as sql:
            if salted is None or not has_table(sql, "given_photos"):
                return frozenset()
            query = "SELECT digest FROM given_photos WHERE class_id = ?"
            given = {row[0] for row in sql.execute(query, (class_id,))}
        return frozenset(found for found in hashes if salted.digest(found) in given)

    def note_given(self, hashes: Collection[str], class_id: int) -> None:
        """Note that erased photos were given again for this class, which may keep them."""
        if not hashes:
            return
        with self._database.transaction() as sql:
            sql.execute(_GIVEN_TABLE)
            salted = salted_digests(sql)
            end = _end(sql)
            rows = [(salted.digest(content_hash), class_id, end) for content_hash in hashes]
            sql.executemany("INSERT OR REPLACE INTO given_photos VALUES (?, ?, ?)", rows)

    def is_pending(self) -> bool:
        """Whether an erasure has something to look for."""
        with self._database.read() as sql:
            query = "SELECT 1 FROM deletions LIMIT 1"
            return has_table(sql, "deletions") and sql.execute(query).fetchone() is not None

    def has_ended(self) -> bool:
        """Whether a tombstone came to its end."""
        with self._database.read() as sql:
            if not has_table(sql, "tombstones"):
                return False
            query = "SELECT 1 FROM tombstones WHERE until < ? LIMIT 1"
            return sql.execute(query, (time.time(),)).fetchone() is not None

    def settle(self, pids: Sequence[int]) -> None:
        """Forget products that were erased everywhere."""
        with self._database.transaction() as sql:
            if not has_table(sql, "deletions"):
                return
            for part, marks in chunks(pids):
                sql.execute(f"DELETE FROM deletions WHERE pid IN ({marks})", part)

    def end(self) -> None:
        """Forget tombstones that came to their end."""
        with self._database.transaction() as sql:
            if not has_table(sql, "tombstones"):
                return
            for table in ("tombstones", "erased_photos", "given_photos"):
                if has_table(sql, table):
                    sql.execute(f"DELETE FROM {table} WHERE until < ?", (time.time(),))

    def was_deleted(self, product_id: str) -> bool:
        """Whether a product of this id was deleted lately; it may be there again."""
        salted = self.salted()
        if salted is None:
            return False
        with self._database.read() as sql:
            query = "SELECT 1 FROM tombstones WHERE digest = ?"
            return sql.execute(query, (salted.digest(product_id),)).fetchone() is not None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _end(sql: Connection) -> float:
    return latest_time(folder_of(sql)) + TOMBSTONE_DAYS * _DAY_S


def salted_digests(sql: Connection) -> Salted:
    """The digests of the catalog, whose salt and tables are made where there are none."""
    salt = read_meta(sql, _SALT)
    if salt is None:
        for statement in _SCHEMA:
            sql.execute(statement)
        _require_no_digests(sql)
        salt = os.urandom(32).hex()
        write_meta(sql, _SALT, salt)
        write_meta(sql, _SALT_CHECK, seal_of(salt))
    return _checked_salt(sql, salt)


def _checked_salt(sql: Connection, salt: str) -> Salted:
    """Those of a salt that is as it was written; of releases before it has no checksum."""
    check = read_meta(sql, _SALT_CHECK)
    if check is not None and check != seal_of(salt):
        raise _lost_salt()
    try:
        return Salted(bytes.fromhex(salt))
    except ValueError as error:
        raise _lost_salt() from error


def _require_no_digests(sql: Connection) -> None:
    """Raise ``BadHomeError`` where digests stand there whose salt is lost: a new one would know no
    deleted product again."""
    queries = [f"SELECT 1 FROM {table}" for table in ("tombstones", "deletions", "erased_photos")]
    if "salted" in {row[1] for row in sql.execute("PRAGMA table_info(orders)")}:
        queries.append("SELECT 1 FROM orders WHERE salted")
    if any(sql.execute(f"{query} LIMIT 1").fetchone() is not None for query in queries):
        raise _lost_salt()


def _lost_salt() -> BadHomeError:
    return BadHomeError(
        "catalog.sqlite3 has lost the salt of its deletions, so no deleted product is known again: "
        "restore a backup (catalens restore FROM)"
    )


def erasable_texts(sql: Connection, pid: int) -> list[str]:
    """The texts that an erasure of a product looks for elsewhere: those that it has, and those that
    it had as far as they are kept."""
    query = f"SELECT {ROW_COLUMNS} FROM products WHERE pid = ?"
    row = sql.execute(query, (pid,)).fetchone()
    if row is None:
        return []
    content = StoredRow.of(row).content
    tags = [row[0] for row in sql.execute("SELECT tag FROM tags WHERE pid = ?", (pid,))]
    return list(product_texts(content, tags, kept_texts(sql, pid).texts))


def product_texts(
    content: StoredContent, tags: Iterable[str], earlier: Iterable[str]
) -> Iterator[str]:
    """The texts of a product that may name it elsewhere, those that it had ``earlier`` too, each
    once."""
    stored = [*sorted(texts_in(content.attributes)), *sorted(texts_in(content.fields))]
    yield from dict.fromkeys(filter(None, [content.title, *tags, *stored, *earlier]))
