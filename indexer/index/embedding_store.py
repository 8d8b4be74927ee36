"""Photo embeddings on disk, one file for each ``embedding_id``: derived, re-creatable, compact."""

from __future__ import annotations

import functools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from indexer.core.atomic_files import storage_failure
from indexer.core.errors import (
    BadVectorsError,
    BusyError,
    CatalensError,
    NewerFormatError,
    StorageError,
)
from indexer.core.sqlite import connect, is_read_only
from indexer.core.vectors import check_unit

FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (photo_id INTEGER PRIMARY KEY, vector BLOB NOT NULL)
"""
_MANY = 5000  # above this a scan of the whole table is cheaper than one look-up for each id


class MissingEmbeddingsError(CatalensError):
    """Photos without a stored embedding; the first of them are named."""

    code = "missing-embeddings"


ReadMethod = TypeVar("ReadMethod", bound=Callable[..., Any])


def _names_the_file(method: ReadMethod) -> ReadMethod:
    """SQLite's failures inside ``method`` as ``StorageError`` that names the file and
    what to do."""

    @functools.wraps(method)
    def guarded(self: EmbeddingStore, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        except sqlite3.OperationalError as error:
            raise storage_failure(self.path, error) from error
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"{self.path} is damaged: {error}; delete it and build the index again (embeddings "
                "are re-created)"
            ) from error

    return guarded  # type: ignore[return-value]


class EmbeddingStore:
    """``photo_id`` -> unit vector, stored as float16 [D] (a SQLite row). Safe across threads and
    processes.

    On a read-only disk new vectors are held in memory only. Raises ``BadVectorsError`` where the
    file holds another dimension, ``NewerFormatError`` for a newer file, ``StorageError`` naming the
    file where it is damaged or the disk full.
    """

    @_names_the_file
    def __init__(self, folder: Path, embedding_id: str, dim: int) -> None:
        self.path = folder / f"{embedding_id}.sqlite3"
        self.embedding_id = embedding_id
        self.dim = dim
        self._local = threading.local()
        self._held: dict[int, bytes] | None = None  # vectors that cannot be written
        existing = next(path for path in (self.path, folder, *folder.parents) if path.exists())
        if is_read_only(existing if existing == self.path else existing / "new"):
            self._held = {}
            self._refuse_other()
            return
        folder.mkdir(parents=True, exist_ok=True)
        connection = self._connection()
        self._refuse_newer(connection)
        with connection:
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('dim', ?)", (str(dim),))
            connection.execute(f"PRAGMA user_version = {FORMAT}")
        self._refuse_other()

    def _refuse_newer(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > FORMAT:
            raise NewerFormatError(
                f"{self.path} has format {found}, this Catalens knows up to {FORMAT}: upgrade it"
            )

    def _refuse_other(self) -> None:
        connection = self._connection()
        self._refuse_newer(connection)
        row = connection.execute("SELECT value FROM meta WHERE key = 'dim'").fetchone()
        if row is not None and int(row[0]) != self.dim:
            raise BadVectorsError(
                f"{self.path} holds vectors of D={row[0]}, the model has D={self.dim}"
            )

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            if self._held is not None:
                self._local.connection = self._read_only()
                return self._local.connection
            connection = connect(self.path, timeout=30.0)
            connection.execute("PRAGMA journal_mode = WAL")
            # Embeddings can be made again: losing the last chunk to a power cut is cheaper than a
            # flush for each.
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(
                "PRAGMA secure_delete = ON"
            )  # a deleted vector leaves no bytes behind
            self._local.connection = connection
        return connection

    def _read_only(self) -> sqlite3.Connection:
        if self.path.exists():
            return connect(self.path)
        connection = sqlite3.connect(":memory:")
        connection.executescript(_TABLES)
        return connection

    def close(self) -> None:
        """Close the calling thread's connection; a later call opens a new one."""
        connection: sqlite3.Connection | None = self._local.__dict__.pop("connection", None)
        if connection is not None:
            connection.close()

    @_names_the_file
    def __len__(self) -> int:
        return int(self._connection().execute("SELECT count(*) FROM vectors").fetchone()[0])

    @_names_the_file
    def missing(self, photo_ids: np.ndarray) -> np.ndarray:
        """Those of ``photo_ids`` that have no vector yet: int64, sorted, each once."""
        wanted = np.unique(np.asarray(photo_ids, dtype=np.int64))
        connection = self._connection()
        if self._held:
            wanted = np.setdiff1d(wanted, np.array(list(self._held), dtype=np.int64))
        if len(wanted) > _MANY:
            stored = [row[0] for row in connection.execute("SELECT photo_id FROM vectors")]
        else:
            query = "SELECT 1 FROM vectors WHERE photo_id = ?"
            stored = [i for i in wanted.tolist() if connection.execute(query, (i,)).fetchone()]
        return np.setdiff1d(wanted, np.array(stored, dtype=np.int64), assume_unique=True)

    @_names_the_file
    def put(self, photo_ids: np.ndarray, vectors: np.ndarray) -> None:
        """Store unit ``vectors`` [N, D] in one transaction, replacing older ones. Raises
        ``BadVectorsError``."""
        check_unit(vectors, self.dim)
        if len(photo_ids) != len(vectors):
            raise BadVectorsError(f"{len(photo_ids)} photo ids for {len(vectors)} vectors")
        halves = vectors.astype(np.float16)
        if self._held is not None:
            self._held.update(
                {int(i): half.tobytes() for i, half in zip(photo_ids, halves, strict=True)}
            )
            return
        connection = self._connection()
        with connection:
            connection.executemany(
                "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
                ((int(i), half.tobytes()) for i, half in zip(photo_ids, halves, strict=True)),
            )

    @_names_the_file
    def get(self, photo_ids: np.ndarray) -> np.ndarray:
        """float16 [N, D] in the order asked for; ids may repeat. Raises ``MissingEmbeddingsError``
        naming the absent ids."""
        unique, place = np.unique(np.asarray(photo_ids, dtype=np.int64), return_inverse=True)
        vectors = np.empty((len(unique), self.dim), dtype=np.float16)
        seen = np.zeros(len(unique), dtype=bool)
        connection = self._connection()
        if len(unique) > _MANY:
            for photo_id, blob in connection.execute(
                "SELECT photo_id, vector FROM vectors ORDER BY photo_id"
            ):
                at = int(np.searchsorted(unique, photo_id))
                if at < len(unique) and unique[at] == photo_id:
                    vectors[at] = np.frombuffer(blob, dtype=np.float16)
                    seen[at] = True
        else:
            for at, photo_id in enumerate(unique.tolist()):
                row = connection.execute(
                    "SELECT vector FROM vectors WHERE photo_id = ?", (photo_id,)
                ).fetchone()
                if row is not None:
                    vectors[at] = np.frombuffer(row[0], dtype=np.float16)
                    seen[at] = True
        for at in np.flatnonzero(~seen).tolist() if self._held else ():
            if int(unique[at]) in (self._held or {}):
                vectors[at], seen[at] = (
                    np.frombuffer((self._held or {})[int(unique[at])], dtype=np.float16),
                    True,
                )
        if not seen.all():
            absent = unique[~seen]
            named = ", ".join(str(i) for i in absent[:5].tolist()) + (
                ", ..." if len(absent) > 5 else ""
            )
            raise MissingEmbeddingsError(
                f"{len(absent)} photos have no embedding under {self.embedding_id}: {named}"
            )
        return vectors if np.array_equal(place, np.arange(len(unique))) else vectors[place]

    @_names_the_file
    def rate(self) -> float | None:
        """Photos embedded per second by the last longer run; None before one."""
        row = (
            self._connection()
            .execute("SELECT value FROM meta WHERE key = 'photos_per_s'")
            .fetchone()
        )
        return None if row is None else float(row[0])

    @_names_the_file
    def set_rate(self, photos_per_s: float) -> None:
        """Remember a measured rate, for estimates."""
        connection = self._connection()
        with connection:
            connection.execute(
                "INSERT OR REPLACE INTO meta VALUES ('photos_per_s', ?)", (f"{photos_per_s:.6g}",)
            )

    @_names_the_file
    def delete(self, photo_ids: np.ndarray) -> None:
        """Forget these photos' vectors; unknown ids are ignored."""
        connection = self._connection()
        with connection:
            connection.executemany(
                "DELETE FROM vectors WHERE photo_id = ?", ((int(i),) for i in photo_ids)
            )

    @_names_the_file
    def ids(self) -> np.ndarray:
        """The photos that have a vector here: int64, sorted."""
        rows = (
            self._connection().execute("SELECT photo_id FROM vectors ORDER BY photo_id").fetchall()
        )
        return np.array([row[0] for row in rows], dtype=np.int64)

    @_names_the_file
    def scrub(self) -> None:
        """Write the file anew without any byte of what was deleted, and empty
        its write-ahead log."""
        self._connection().execute("VACUUM")
        self.checkpoint()

    @_names_the_file
    def checkpoint(self) -> None:
        """Fold the write-ahead log in and empty it. Raises ``BusyError`` where another process
        reads it."""
        connection = self._connection()
        busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise BusyError(
                f"{self.path} is being read by another process: its log cannot be emptied yet"
            )


def stored_embeddings(folder: Path) -> Iterator[EmbeddingStore]:
    """Every store below ``folder``, one after another, each closed again. Raises as
    ``EmbeddingStore``."""
    for path in sorted(folder.glob("*.sqlite3")):
        try:
            with closing(sqlite3.connect(path)) as connection:
                row = connection.execute("SELECT value FROM meta WHERE key = 'dim'").fetchone()
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"{path} is damaged: {error}; delete it (embeddings are re-created)"
            ) from error
        if row is not None:
            with closing(
                EmbeddingStore(folder, path.name.removesuffix(".sqlite3"), int(row[0]))
            ) as store:
                yield store
