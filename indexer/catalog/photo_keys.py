"""Keys that hold a derived row to the photo it was made of, whatever numbers a catalog gives."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from indexer.catalog.change_log import CatalogState
from indexer.core.sqlite import Connection, Database, chunks, read_meta, write_meta

if TYPE_CHECKING:
    from indexer.catalog.store import Catalog

# Beside a table of rows by photo_id: the content that each was made of, and a checksum of the row.
# Rows that an older Catalens wrote have none until the store is next opened with its catalog.
KEYS_TABLE = (
    "CREATE TABLE IF NOT EXISTS photo_keys (photo_id INTEGER PRIMARY KEY, key INTEGER NOT NULL, "
    "checksum INTEGER NOT NULL)"
)
_STATE = "catalog_state"
# Characters of a content hash that make a key: 63 bits and a sign.
_DIGITS = 16


def checksum_of(value: bytes) -> int:
    """Checksum of a stored row."""
    return zlib.crc32(value)


def known_state(database: Database) -> CatalogState | None:
    """The last state of the catalog that a store saw; None where it says none."""
    with database.read() as sql:
        return _state(read_meta(sql, _STATE))


def _state(text: str | None) -> CatalogState | None:
    try:
        identity, sequence, stamp = json.loads(text or "")
        return CatalogState(identity, int(sequence), stamp)
    except (ValueError, TypeError):
        return None


class PhotoKeys:
    """The keys of one table of a derived database, and the catalog whose numbers they go by.

    A number is given once by one catalog. A catalog that was put back from a backup, or made
    again, gives the same numbers to other photos: ``fit`` then moves each row to the number that
    its photo has now, and drops what no photo of this catalog was made into.
    """

    def __init__(self, database: Database, table: str, value: str, catalog: Catalog) -> None:
        self._database = database
        self._table = table
        self._value = value
        self._catalog = catalog

    def fit(self) -> int:
        """Make all rows those of the catalog's photos; returns how many were moved or dropped.

        Cheap where the catalog still has the state that was last seen.
        """
        if self._database.read_only:
            return 0
        with self._database.transaction() as sql:
            sql.execute(KEYS_TABLE)
            known = read_meta(sql, _STATE)
            if known is not None and self._is_past(known):
                return 0
            changed = self._reconcile(sql)
            self._note(sql)
            return changed

    def keep(self, sql: Connection, rows: Sequence[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """Note the keys of rows about to be stored; those whose photo is in the catalog.

        Inside the transaction that stores them.
        """
        found = self._catalog.photos_by_id([photo_id for photo_id, _ in rows])
        kept = [(photo_id, value) for photo_id, value in rows if photo_id in found]
        sql.executemany(
            "INSERT OR REPLACE INTO photo_keys VALUES (?, ?, ?)",
            [
                (photo_id, key_of(found[photo_id].content_hash), checksum_of(value))
                for photo_id, value in kept
            ],
        )
        self._note(sql)
        return kept

    def _is_past(self, known: str) -> bool:
        """Whether the catalog went through the state that is named."""
        seen = _state(known)
        return seen is not None and self._catalog.change_log.had(seen)

    def _note(self, sql: Connection) -> None:
        write_meta(sql, _STATE, json.dumps(self._catalog.change_log.state()))

    def _reconcile(self, sql: Connection) -> int:
        ids, keys, last = _catalog_keys(self._catalog)
        rows = sql.execute(
            f"SELECT photo_id, key FROM {self._table} LEFT JOIN photo_keys USING (photo_id)"
        ).fetchall()
        now = dict(zip(ids.tolist(), keys.tolist(), strict=True))
        self._adopt(sql, {held: now[held] for held, key in rows if key is None and held in now})
        fitting = {held for held, key in rows if held in now and key in (None, now[held])}
        # A number that was given and is not held was deleted: its row is the erasure's.
        odd = {held: key for held, key in rows if held not in fitting and held > last}
        odd |= {held: key for held, key in rows if held in now and held not in fitting}
        if not odd:
            return 0
        place = dict(zip(keys.tolist(), ids.tolist(), strict=True))
        moves: dict[int, int] = {}
        for held, key in odd.items():
            new = place.get(key)
            if new is not None and new not in fitting:
                moves[held] = new
                fitting.add(new)
        self._move(sql, {old: -new for old, new in moves.items()})
        self._drop(sql, [held for held in odd if held not in moves])
        self._move(sql, {-new: new for new in moves.values()})
        return len(odd)

    def _move(self, sql: Connection, numbers: dict[int, int]) -> None:
        """Renumber rows; by way of negative numbers, so that they meet no other."""
        for table in (self._table, "photo_keys"):
            sql.executemany(
                f"UPDATE {table} SET photo_id = ? WHERE photo_id = ?",
                [(new, old) for old, new in numbers.items()],
            )

    def _drop(self, sql: Connection, photo_ids: Iterable[int]) -> None:
        for part, marks in chunks(list(photo_ids)):
            for table in (self._table, "photo_keys"):
                sql.execute(f"DELETE FROM {table} WHERE photo_id IN ({marks})", part)

    def _adopt(self, sql: Connection, keys: dict[int, int]) -> None:
        """Give rows of an older Catalens the keys that their numbers have now."""
        query = f"SELECT {self._value} FROM {self._table} WHERE photo_id = ?"
        for photo_id, key in keys.items():
            value = sql.execute(query, (photo_id,)).fetchone()[0]
            row = (photo_id, key, checksum_of(value))
            sql.execute("INSERT OR REPLACE INTO photo_keys VALUES (?, ?, ?)", row)


def key_of(content_hash: str) -> int:
    """The key of a photo, a signed integer of 64 bits."""
    return int(np.uint64(int(content_hash[:_DIGITS], 16)).astype(np.int64))


def _catalog_keys(catalog: Catalog) -> tuple[np.ndarray, np.ndarray, int]:
    """(photo ids int64 [N] ascending, their keys int64 [N], the highest id ever given)."""
    with catalog.database.read() as sql:
        query = f"SELECT photo_id, substr(content_hash, 1, {_DIGITS}) FROM photos ORDER BY photo_id"
        rows = sql.execute(query).fetchall()
        last = sql.execute("SELECT seq FROM sqlite_sequence WHERE name = 'photos'").fetchone()
    ids = np.array([row[0] for row in rows], np.int64)
    keys = np.array([int(row[1], 16) for row in rows], np.uint64).astype(np.int64)
    return ids, keys, 0 if last is None else int(last[0])
