"""Which catalog this is and how far its log reaches back: identity, stamps of its states,
compaction, scrubbing."""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from indexer.catalog.transaction import chunks, last_sequence
from indexer.core.errors import BusyError, OutdatedVersionError

if TYPE_CHECKING:
    from indexer.catalog.store import Catalog

# Beside the catalog's first tables; catalogs from before get them with their next write.
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    # One random number for each commit: two copies of a catalog share a state as far back as they
    # share its stamp.
    "CREATE TABLE IF NOT EXISTS stamps (sequence INTEGER PRIMARY KEY, stamp TEXT NOT NULL)",
    # Photos that a commit took from their last product, until their files are deleted: what allows
    # that.
    "CREATE TABLE IF NOT EXISTS orphans (content_hash TEXT PRIMARY KEY) WITHOUT ROWID",
)


class Living(NamedTuple):
    """What a catalog holds, and up to where it ever gave numbers: one consistent snapshot, int64
    sorted.

    A number is given once. One that was given and is not held was deleted; one that was never given
    belongs to a state that this catalog does not know, and says nothing.
    """

    sequence: int  # of the last change
    pids: np.ndarray  # of all products
    photo_ids: np.ndarray  # of all photos
    last_pid: int  # the highest ever given
    last_photo_id: int

    def deleted(self, photo_ids: np.ndarray) -> np.ndarray:
        """Those of ``photo_ids`` that were deleted."""
        return photo_ids[self._gone(photo_ids, self.photo_ids, self.last_photo_id)]

    def dead_rows(self, rows: np.ndarray) -> np.ndarray:
        """bool [N]: which of ``rows`` [N, 2] (pid, photo_id) are of a product or a photo that was
        deleted."""
        pids, photo_ids = rows[:, 0], rows[:, 1]
        return self._gone(pids, self.pids, self.last_pid) | self._gone(
            photo_ids, self.photo_ids, self.last_photo_id
        )

    @staticmethod
    def _gone(numbers: np.ndarray, living: np.ndarray, last: int) -> np.ndarray:
        return (numbers <= last) & ~np.isin(numbers, living)


def ensure_tables(sql: sqlite3.Connection) -> None:
    """Make the tables and the identity of a catalog that has none; inside a write transaction."""
    for statement in _SCHEMA:
        sql.execute(statement)
    sql.execute("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (uuid.uuid4().hex,))


def stamp(sql: sqlite3.Connection, sequence: int) -> None:
    """Stamp the state that the open transaction is about to commit."""
    row = (sequence, os.urandom(8).hex())
    try:
        sql.execute("INSERT OR REPLACE INTO stamps VALUES (?, ?)", row)
    except sqlite3.OperationalError:  # an old catalog; anything else is raised again
        ensure_tables(sql)
        sql.execute("INSERT OR REPLACE INTO stamps VALUES (?, ?)", row)


def note_orphans(sql: sqlite3.Connection, hashes: Iterable[str]) -> None:
    """Record photos that the open transaction took from their last product."""
    rows = [(content_hash,) for content_hash in hashes]
    if rows:
        ensure_tables(sql)
        sql.executemany("INSERT OR IGNORE INTO orphans VALUES (?)", rows)


def require_log_coverage(sql: sqlite3.Connection, after: int) -> None:
    """Raises ``OutdatedVersionError`` where changes above ``after`` were compacted away."""
    begins = int(_meta(sql, "compacted") or 0)
    if after < begins:
        raise OutdatedVersionError(
            f"changes up to {begins} were compacted and this version has only those up to {after}: "
            "it cannot be brought up to date; build a new one"
        )


def _meta(sql: sqlite3.Connection, key: str) -> str | None:
    if not sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        return None
    row = sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def _deleted_since(sql: sqlite3.Connection, sequence: int, through: int = 2**62) -> bool:
    query = "SELECT 1 FROM changes WHERE sequence > ? AND sequence <= ? AND kind = 'delete' LIMIT 1"
    return bool(sql.execute(query, (sequence, through)).fetchone())


class ChangeLog:
    """What versions and erasure ask of a catalog. Cheap to make; failures are
    those of ``Catalog``."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._catalog._reading() as sql:
            yield sql

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._catalog.exclusive():
            yield self._catalog._connection()

    def identity(self) -> str | None:
        """A catalog's own name, the same in every copy of it; None for an old one that was not
        written to since."""
        with self._reading() as sql:
            return _meta(sql, "identity")

    def identify(self) -> str:
        """``identity``, given now where there was none."""
        found = self.identity()
        if found is None:
            with self._writing() as sql:
                ensure_tables(sql)
                found = _meta(sql, "identity")
        return str(found)

    def stamp(self, sequence: int) -> str | None:
        """The stamp of the state that ended with change ``sequence``; None for an old or compacted
        one."""
        with self._reading() as sql:
            if not sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'stamps'").fetchone():
                return None
            row = sql.execute("SELECT stamp FROM stamps WHERE sequence = ?", (sequence,)).fetchone()
            return None if row is None else str(row[0])

    def begins(self) -> int:
        """The log holds the changes above this sequence number."""
        with self._reading() as sql:
            return int(_meta(sql, "compacted") or 0)

    def compact(self, through: int) -> int:
        """Forget the changes up to sequence number ``through``; returns how many. Products stay as
        they are."""
        with self._writing() as sql:
            ensure_tables(sql)
            if _deleted_since(sql, int(_meta(sql, "scrubbed") or 0), through):
                sql.execute("INSERT OR REPLACE INTO meta VALUES ('must_scrub', '1')")
            removed = sql.execute("DELETE FROM changes WHERE sequence <= ?", (through,)).rowcount
            sql.execute(
                "DELETE FROM stamps WHERE sequence < ?", (through,)
            )  # of the oldest version left: stays
            if removed:
                sql.execute("INSERT OR REPLACE INTO meta VALUES ('compacted', ?)", (str(through),))
            return int(removed)

    def living(self) -> Living:
        """All numbers that products and photos have, and how far numbers were given."""
        with self._reading() as sql:
            pids = [row[0] for row in sql.execute("SELECT pid FROM products ORDER BY pid")]
            photos = [
                row[0] for row in sql.execute("SELECT photo_id FROM photos ORDER BY photo_id")
            ]
            given = dict(sql.execute("SELECT name, seq FROM sqlite_sequence"))
            return Living(
                last_sequence(sql),
                np.array(pids, dtype=np.int64),
                np.array(photos, dtype=np.int64),
                int(given.get("products", 0)),
                int(given.get("photos", 0)),
            )

    def orphans(self) -> set[str]:
        """Photos that lost their last product and whose files are still to be deleted."""
        with self._reading() as sql:
            if not sql.execute("SELECT 1 FROM sqlite_master WHERE name = 'orphans'").fetchone():
                return set()
            return {row[0] for row in sql.execute("SELECT content_hash FROM orphans")}

    def settle(self, hashes: Iterable[str]) -> None:
        """Forget orphans whose files are deleted, or used again; inside ``Catalog.exclusive``."""
        for part, marks in chunks(list(hashes)):
            self._catalog._connection().execute(
                f"DELETE FROM orphans WHERE content_hash IN ({marks})", part
            )

    def erased_since(self, sequence: int, newest_pid: int) -> bool:
        """Whether a change above ``sequence`` deleted a product, or photos of one numbered up to
        ``newest_pid``.

        True where the log does not reach back so far.
        """
        with self._reading() as sql:
            if sequence < int(_meta(sql, "compacted") or 0):
                return True
            query = (
                "SELECT 1 FROM changes WHERE sequence > ? AND photos_changed AND pid <= ? LIMIT 1"
            )
            return bool(sql.execute(query, (sequence, newest_pid)).fetchone())

    def must_scrub(self) -> bool:
        """Whether products were deleted since the file was last written anew."""
        with self._reading() as sql:
            return bool(_meta(sql, "must_scrub")) or _deleted_since(
                sql, int(_meta(sql, "scrubbed") or 0)
            )

    def scrub(self, through: int) -> None:
        """Write the file anew without anything deleted, and empty the write-ahead log.

        ``secure_delete`` overwrites deleted rows, but not the copies of them that moving rows
        between pages left. ``through`` is remembered for ``must_scrub``. Raises ``BusyError`` where
        another process keeps the log in use.
        """
        with self._catalog._failures():
            sql = self._catalog._connection()
            sql.execute("VACUUM")
            busy = sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise BusyError(
                f"{self._catalog.path} is being read by another process: its log cannot be emptied "
                "yet"
            )
        with self._writing() as sql:
            ensure_tables(sql)
            sql.execute("INSERT OR REPLACE INTO meta VALUES ('scrubbed', ?)", (str(through),))
            sql.execute("DELETE FROM meta WHERE key = 'must_scrub'")
