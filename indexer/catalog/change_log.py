"""Change log of a catalog: its identity, stamps of states, compaction, scrubbing."""

from __future__ import annotations

import os
import time
import uuid
from array import array
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from indexer.catalog.deletions import TEXT_REMOVED, record_photos
from indexer.catalog.portions import pause_since
from indexer.catalog.records import Change
from indexer.catalog.transaction import last_sequence
from indexer.core.errors import OutdatedVersionError
from indexer.core.sqlite import (
    META_TABLE,
    Connection,
    Database,
    OperationalError,
    chunks,
    has_table,
    read_meta,
    write_meta,
)

# Changes that one transaction forgets: some tenth of a second.
_PORTION = 20_000
# Beside the catalog's first tables; catalogs from before get them with their next write.
_SCHEMA = (
    META_TABLE,
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

    # Of the last change.
    sequence: int
    # Of all products.
    pids: np.ndarray
    # Of all photos.
    photo_ids: np.ndarray
    # The highest ever given.
    last_pid: int
    last_photo_id: int

    def deleted(self, photo_ids: np.ndarray) -> np.ndarray:
        """Those of ``photo_ids`` that were deleted."""
        return photo_ids[self._gone(photo_ids, self.photo_ids, self.last_photo_id)]

    def dead_rows(self, rows: np.ndarray) -> np.ndarray:
        """bool [N]: which of ``rows`` [N, 2] (pid, photo_id) are of a product or a photo that was
        deleted."""
        gone = self._gone(rows[:, 0], self.pids, self.last_pid)
        return gone | self._gone(rows[:, 1], self.photo_ids, self.last_photo_id)

    @staticmethod
    def _gone(numbers: np.ndarray, living: np.ndarray, last: int) -> np.ndarray:
        return (numbers <= last) & ~np.isin(numbers, living)


class CatalogState(NamedTuple):
    """A state of a catalog: its identity, its last change, and that state's stamp."""

    identity: str | None
    sequence: int
    stamp: str | None


class ChangesSince(NamedTuple):
    """Changes above a sequence number: int64 [N] in their order. ``deleted``: some product was."""

    sequences: np.ndarray
    pids: np.ndarray
    deleted: bool


def ensure_tables(sql: Connection) -> None:
    """Make the tables and the identity of a catalog that has none; inside a write transaction."""
    for statement in _SCHEMA:
        sql.execute(statement)
    sql.execute("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (uuid.uuid4().hex,))


def stamp_state(sql: Connection, sequence: int) -> None:
    """Stamp the state that the open transaction is about to commit."""
    row = (sequence, os.urandom(8).hex())
    try:
        sql.execute("INSERT OR REPLACE INTO stamps VALUES (?, ?)", row)
    except OperationalError:  # an old catalog; anything else is raised again
        ensure_tables(sql)
        sql.execute("INSERT OR REPLACE INTO stamps VALUES (?, ?)", row)


def note_orphans(sql: Connection, hashes: Iterable[str]) -> None:
    """Record photos that the open transaction took from their last product."""
    rows = [(content_hash,) for content_hash in hashes]
    if rows:
        ensure_tables(sql)
        sql.executemany("INSERT OR IGNORE INTO orphans VALUES (?)", rows)
        record_photos(sql, [content_hash for (content_hash,) in rows])


def require_log_coverage(sql: Connection, after: int) -> None:
    """Raises ``OutdatedVersionError`` where changes above ``after`` were compacted away."""
    begins = int(read_meta(sql, "compacted") or 0)
    if after < begins:
        raise OutdatedVersionError(
            f"changes up to {begins} were compacted and this version has only those up to {after}: "
            "it cannot be brought up to date; build a new one"
        )


def _deleted_since(sql: Connection, sequence: int, through: int = 2**62) -> bool:
    query = "SELECT 1 FROM changes WHERE sequence > ? AND sequence <= ? AND kind = 'delete' LIMIT 1"
    return bool(sql.execute(query, (sequence, through)).fetchone())


class ChangeLog:
    """What versions and erasure ask of a catalog's database. Cheap to make."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def identity(self) -> str | None:
        """A catalog's own name, the same in every copy of it; None for an old one that was not
        written to since."""
        with self._database.read() as sql:
            return read_meta(sql, "identity")

    def identify(self) -> str:
        """``identity``, given now where there was none."""
        found = self.identity()
        if found is None:
            with self._database.transaction() as sql:
                ensure_tables(sql)
                found = read_meta(sql, "identity")
        return str(found)

    def stamp(self, sequence: int) -> str | None:
        """The stamp of the state that ended with change ``sequence``; None for an old or compacted
        one."""
        with self._database.read() as sql:
            if not has_table(sql, "stamps"):
                return None
            row = sql.execute("SELECT stamp FROM stamps WHERE sequence = ?", (sequence,)).fetchone()
            return None if row is None else str(row[0])

    def state(self) -> CatalogState:
        """The state as it is now."""
        with self._database.read() as sql:
            sequence = last_sequence(sql)
            return CatalogState(self.identity(), sequence, self.stamp(sequence))

    def had(self, state: CatalogState) -> bool:
        """Whether the catalog went through ``state``; False where its stamp was compacted away."""
        return (
            state.identity is not None
            and self.identity() == state.identity
            and self.stamp(state.sequence) == state.stamp
        )

    def since(self, sequence: int) -> ChangesSince:
        """The changes above ``sequence``, in little memory. Raises ``OutdatedVersionError``."""
        numbers = array("q")
        deleted = False
        with self._database.read() as sql:
            require_log_coverage(sql, sequence)
            query = "SELECT sequence, pid, kind FROM changes WHERE sequence > ? ORDER BY sequence"
            for number, pid, kind in sql.execute(query, (sequence,)):
                numbers.append(number)
                numbers.append(pid)
                deleted |= kind == "delete"
        pairs = np.frombuffer(numbers, np.int64).reshape(-1, 2)
        return ChangesSince(pairs[:, 0], pairs[:, 1], deleted)

    def step(self, sequence: int, limit: int) -> list[Change]:
        """The next ``limit`` changes above ``sequence``, in order, with the rest of the commit that
        the last of them belongs to. Raises ``OutdatedVersionError``."""
        with self._database.read() as sql:
            require_log_coverage(sql, sequence)
            query = "SELECT sequence FROM changes WHERE sequence > ? ORDER BY sequence LIMIT 1 "
            row = sql.execute(f"{query} OFFSET ?", (sequence, limit - 1)).fetchone()
            last = last_sequence(sql) if row is None else int(row[0])
            if row is not None and has_table(sql, "stamps"):
                query = "SELECT min(sequence) FROM stamps WHERE sequence >= ?"
                last = int(sql.execute(query, (last,)).fetchone()[0] or last)
            query = (
                "SELECT sequence, pid, kind, photos_changed FROM changes WHERE sequence > ? AND "
                "sequence <= ? ORDER BY sequence"
            )
            rows = sql.execute(query, (sequence, last))
            return [Change(number, pid, kind, bool(photos)) for number, pid, kind, photos in rows]

    def pids_with(self, sequence: int) -> set[int]:
        """The products that a change was about, and those before it in the same action: a batch is
        known by its last. Empty for one that is to come, or was compacted."""
        with self._database.read() as sql:
            ranges = [(sequence, sequence)]
            if has_table(sql, "action_changes"):
                query = (
                    "SELECT first, min(last, ?) FROM action_changes WHERE first <= ? AND action_no "
                    "= (SELECT action_no FROM action_changes WHERE last >= ? ORDER BY last LIMIT 1)"
                )
                ranges += sql.execute(query, (sequence, sequence, sequence)).fetchall()
            query = "SELECT DISTINCT pid FROM changes WHERE sequence BETWEEN ? AND ?"
            found = [sql.execute(query, part).fetchall() for part in ranges]
        return {int(pid) for (pid,) in chain.from_iterable(found)}

    def sequences_of(self, product_ids: Sequence[str]) -> dict[str, int]:
        """The last change of those of ``product_ids`` that exist."""
        found: dict[str, int] = {}
        with self._database.read() as sql:
            for part, marks in chunks(product_ids):
                query = f"SELECT product_id, sequence FROM products WHERE product_id IN ({marks})"
                found.update(sql.execute(query, part))
        return found

    def begins(self) -> int:
        """The log holds the changes above this sequence number."""
        with self._database.read() as sql:
            return int(read_meta(sql, "compacted") or 0)

    def compact(self, through: int) -> int:
        """Forget the changes up to sequence number ``through``, in portions between which others
        write; returns how many. Products stay as they are."""
        removed = 0
        while True:
            began = time.monotonic()
            with self._database.transaction() as sql:
                ensure_tables(sql)
                upto = self._portion(sql, through)
                if _deleted_since(sql, int(read_meta(sql, "scrubbed") or 0), upto):
                    write_meta(sql, "must_scrub", "1")
                gone = sql.execute("DELETE FROM changes WHERE sequence <= ?", (upto,)).rowcount
                # That of the oldest version left stays.
                sql.execute("DELETE FROM stamps WHERE sequence < ?", (upto,))
                if gone:
                    write_meta(sql, "compacted", str(upto))
            removed += int(gone)
            if upto >= through:
                return removed
            pause_since(began)

    def _portion(self, sql: Connection, through: int) -> int:
        """How far one transaction compacts."""
        query = (
            "SELECT sequence FROM changes WHERE sequence <= ? ORDER BY sequence LIMIT 1 OFFSET ?"
        )
        row = sql.execute(query, (through, _PORTION - 1)).fetchone()
        return through if row is None else int(row[0])

    def living(self) -> Living:
        """All numbers that products and photos have, and how far numbers were given."""
        with self._database.read() as sql:
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
        with self._database.read() as sql:
            if not has_table(sql, "orphans"):
                return set()
            return {row[0] for row in sql.execute("SELECT content_hash FROM orphans")}

    def settle_orphans(self, hashes: Iterable[str]) -> None:
        """Forget orphans whose files are deleted, or used again; inside a transaction."""
        for part, marks in chunks(list(hashes)):
            query = f"DELETE FROM orphans WHERE content_hash IN ({marks})"
            self._database.connection.execute(query, part)

    def erased_since(self, sequence: int, newest_pid: int) -> bool:
        """Whether a change above ``sequence`` deleted a product, or photos of one numbered up to
        ``newest_pid``.

        True where the log does not reach back so far.
        """
        with self._database.read() as sql:
            if sequence < int(read_meta(sql, "compacted") or 0):
                return True
            query = (
                "SELECT 1 FROM changes WHERE sequence > ? AND photos_changed AND pid <= ? LIMIT 1"
            )
            return bool(sql.execute(query, (sequence, newest_pid)).fetchone())

    def must_scrub(self) -> bool:
        """Whether products were deleted, or texts of products replaced, since the file was last
        written anew."""
        with self._database.read() as sql:
            scrubbed = int(read_meta(sql, "scrubbed") or 0)
            if read_meta(sql, "must_scrub") or int(read_meta(sql, TEXT_REMOVED) or 0) > scrubbed:
                return True
            return _deleted_since(sql, scrubbed)

    def require_scrub(self) -> None:
        """Have the next erasure look at everything, whether products were deleted or not."""
        with self._database.transaction() as sql:
            ensure_tables(sql)
            write_meta(sql, "must_scrub", "1")

    def scrub(self, through: int) -> None:
        """Write the file anew without anything deleted, and empty the write-ahead log.

        ``through`` is remembered for ``must_scrub``. Raises ``BusyError`` where another process
        keeps the log in use.
        """
        self._database.scrub()
        with self._database.transaction() as sql:
            ensure_tables(sql)
            write_meta(sql, "scrubbed", str(through))
            sql.execute("DELETE FROM meta WHERE key = 'must_scrub'")
