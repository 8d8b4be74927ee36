"""Store of photo embeddings on disk: derived, re-creatable, one file per ``embedding_id``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from indexer.catalog.photo_keys import KEYS_TABLE, PhotoKeys, checksum_of
from indexer.catalog.store import Catalog
from indexer.core.atomic_files import make_folder
from indexer.core.errors import BadVectorsError, CatalensError, ReadOnlyError
from indexer.core.sqlite import (
    META_TABLE,
    Database,
    Schema,
    chunks,
    has_table,
    read_meta,
    write_meta,
)
from indexer.core.vectors import check_unit

FORMAT = 1
_SCHEMA = Schema(
    format=FORMAT,
    tables=(
        META_TABLE,
        "CREATE TABLE IF NOT EXISTS vectors (photo_id INTEGER PRIMARY KEY, vector BLOB NOT NULL)",
        KEYS_TABLE,
    ),
    # Losing the last chunk to a power cut is cheaper than a flush for each.
    remedy="it is made again: catalens index build --activate",
    in_memory="absent",
)
# Above this, a scan of the whole table is cheaper than one look-up for each id.
_MANY = 5000
_NAMED = 5


class MissingEmbeddingsError(CatalensError):
    """Photos without a stored embedding; the first of them are named."""

    code = "missing-embeddings"


class EmbeddingStore:
    """``photo_id`` -> unit vector, stored as float16 [D] (a SQLite row). Safe across threads and
    processes.

    ``catalog``: whose photos the numbers are; vectors that were made of others are moved to the
    number that theirs has now, or forgotten. A vector that does not match its checksum counts as
    missing, and a damaged file as an empty one: vectors are made again. On a read-only disk new
    vectors are held in memory only. Raises ``BadVectorsError`` where the file holds another
    dimension, ``NewerFormatError`` for a newer file, ``StorageError`` naming the file where the
    disk is full.
    """

    def __init__(
        self, folder: Path, embedding_id: str, dim: int, *, catalog: Catalog | None = None
    ) -> None:
        self.path = folder / f"{embedding_id}.sqlite3"
        self.embedding_id = embedding_id
        self.dim = dim
        self.database = Database(self.path, _SCHEMA)
        # Vectors that cannot be written.
        self._held: dict[int, bytes] | None = {} if self.database.read_only else None
        self._keys = (
            None if catalog is None else PhotoKeys(self.database, "vectors", "vector", catalog)
        )
        # Of a home, which must be there itself.
        with suppress(OSError, ReadOnlyError):
            make_folder(folder, below=folder.parent)
        self.database.prepare_again(lambda sql: write_meta(sql, "dim", str(dim)))
        if not self.database.read_only:
            with self.database.transaction() as sql:
                sql.execute(KEYS_TABLE)
        with self.database.read() as sql:
            found = read_meta(sql, "dim")
            self._checked = has_table(sql, "photo_keys")
        if self._keys is not None:
            self._keys.fit()
        if found is not None and found != str(dim):
            raise BadVectorsError(
                f"{self.path} holds vectors of D={found}, the model has D={dim}: use the model "
                "that made them"
            )

    @staticmethod
    def dim_of(path: Path) -> int | None:
        """The dimensions of the vectors in a file; None where it does not say."""
        with Database(path, _SCHEMA) as database, database.read() as sql:
            dim = read_meta(sql, "dim")
        return int(dim) if dim is not None and dim.isdecimal() else None

    def close(self) -> None:
        """Close all connections; a later call opens a new one."""
        self.database.close()

    def __len__(self) -> int:
        with self.database.read() as sql:
            return int(sql.execute("SELECT count(*) FROM vectors").fetchone()[0])

    def missing(self, photo_ids: np.ndarray) -> np.ndarray:
        """Those of ``photo_ids`` that have no vector yet: int64, sorted, each once."""
        wanted = np.unique(np.asarray(photo_ids, dtype=np.int64))
        if self._held:
            wanted = np.setdiff1d(wanted, np.array(list(self._held), dtype=np.int64))
        there = np.zeros(len(wanted), bool)
        for place, _ in self._blobs(wanted):
            there[place] = True
        return wanted[~there]

    def put(self, photo_ids: np.ndarray, vectors: np.ndarray) -> None:
        """Store unit ``vectors`` [N, D] in one transaction, replacing older ones. Raises
        ``BadVectorsError``."""
        check_unit(vectors, self.dim)
        if len(photo_ids) != len(vectors):
            raise BadVectorsError(f"{len(photo_ids)} photo ids for {len(vectors)} vectors")
        halves = vectors.astype(np.float16)
        rows = [(int(i), half.tobytes()) for i, half in zip(photo_ids, halves, strict=True)]
        if self._held is not None:
            self._held.update(rows)
            return
        with self.database.transaction() as sql:
            if self._keys is not None:
                rows = self._keys.keep(sql, rows)
            else:
                part = [(photo_id,) for photo_id, _ in rows]
                sql.executemany("DELETE FROM photo_keys WHERE photo_id = ?", part)
            sql.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)

    def get(self, photo_ids: np.ndarray) -> np.ndarray:
        """float16 [N, D] in the order asked for; ids may repeat. Raises ``MissingEmbeddingsError``
        naming the absent ids."""
        unique, place = np.unique(np.asarray(photo_ids, dtype=np.int64), return_inverse=True)
        vectors, seen = self._read(unique)
        if not seen.all():
            absent = unique[~seen]
            named = ", ".join(str(i) for i in absent[:_NAMED].tolist())
            more = ", ..." if len(absent) > _NAMED else ""
            raise MissingEmbeddingsError(
                f"{len(absent)} photos have no embedding under {self.embedding_id}: {named}{more}"
            )
        return vectors if np.array_equal(place, np.arange(len(unique))) else vectors[place]

    def find(self, photo_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those of ``photo_ids`` that have a vector, int64 [N], sorted, each once, and the vectors,
        float16 [N, D]; in one look: of what ``missing`` does not name, another process may erase
        some before ``get``."""
        unique = np.unique(np.asarray(photo_ids, dtype=np.int64))
        vectors, seen = self._read(unique)
        return (unique, vectors) if seen.all() else (unique[seen], vectors[seen])

    def _read(self, unique: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of ``unique``, and which are there."""
        vectors = np.empty((len(unique), self.dim), dtype=np.float16)
        seen = np.zeros(len(unique), dtype=bool)
        for row, blob in self._blobs(unique):
            vectors[row] = np.frombuffer(blob, dtype=np.float16)
            seen[row] = True
        return vectors, seen

    def _blobs(self, unique: np.ndarray) -> Iterator[tuple[int, bytes]]:
        """(place among ``unique``, sorted; stored bytes) of those that are stored whole, or
        held."""
        keys = "LEFT JOIN photo_keys USING (photo_id)" if self._checked else ""
        checksum = "checksum" if self._checked else "NULL"
        select = f"SELECT photo_id, vector, {checksum} FROM vectors {keys}"
        with self.database.read() as sql:
            if len(unique) > _MANY:
                for photo_id, blob, known in sql.execute(f"{select} ORDER BY photo_id"):
                    place = int(np.searchsorted(unique, photo_id))
                    wanted = place < len(unique) and unique[place] == photo_id
                    if wanted and self._is_whole(blob, known):
                        yield place, blob
            else:
                for part, marks in chunks(unique.tolist()):
                    query = f"{select} WHERE photo_id IN ({marks})"
                    for photo_id, blob, known in sql.execute(query, part):
                        if self._is_whole(blob, known):
                            yield int(np.searchsorted(unique, photo_id)), blob
        for place, photo_id in enumerate(unique.tolist() if self._held else ()):
            if (blob := (self._held or {}).get(photo_id)) is not None:
                yield place, blob

    def _is_whole(self, blob: bytes, known: int | None) -> bool:
        return len(blob) == 2 * self.dim and known in (None, checksum_of(blob))

    def damaged(self) -> np.ndarray:
        """The photos whose vector does not match its checksum: int64, sorted."""
        with self.database.read():
            ids = self.ids()
            return np.setdiff1d(ids, np.setdiff1d(ids, self.missing(ids), assume_unique=True))

    def rate(self) -> float | None:
        """Photos embedded per second by the last longer run; None before one."""
        with self.database.read() as sql:
            found = read_meta(sql, "photos_per_s")
        return None if found is None else float(found)

    def set_rate(self, photos_per_s: float) -> None:
        """Remember a measured rate, for estimates."""
        with self.database.transaction() as sql:
            write_meta(sql, "photos_per_s", f"{photos_per_s:.6g}")

    def delete(self, photo_ids: np.ndarray) -> None:
        """Forget these photos' vectors; unknown ids are ignored."""
        rows = [(int(photo_id),) for photo_id in photo_ids]
        with self.database.transaction() as sql:
            sql.executemany("DELETE FROM vectors WHERE photo_id = ?", rows)
            sql.executemany("DELETE FROM photo_keys WHERE photo_id = ?", rows)

    def ids(self) -> np.ndarray:
        """The photos that have a vector here: int64, sorted."""
        with self.database.read() as sql:
            rows = sql.execute("SELECT photo_id FROM vectors ORDER BY photo_id").fetchall()
        return np.array([row[0] for row in rows], dtype=np.int64)

    def scrub(self) -> None:
        """Write the file anew without any byte of what was deleted, and empty its log.

        Raises ``BusyError`` where another process reads it.
        """
        self.database.scrub()


def stored_embeddings(folder: Path) -> Iterator[EmbeddingStore]:
    """Every store below ``folder``, one after another, each closed again. Raises as
    ``EmbeddingStore``."""
    for path in sorted(folder.glob("*.sqlite3")):
        if (dim := EmbeddingStore.dim_of(path)) is not None:
            with closing(EmbeddingStore(folder, path.stem, dim)) as store:
                yield store
