"""Store and in-memory index of photo signatures, by which duplicates are found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np

from indexer.catalog.photo_keys import KEYS_TABLE, PhotoKeys, checksum_of
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import PhotoRow, SkippedPhoto
from indexer.catalog.store import Catalog
from indexer.core.errors import (
    CatalensError,
    ReadOnlyError,
)
from indexer.core.home import Home
from indexer.core.native import THREADS
from indexer.core.progress import OnProgress
from indexer.core.sqlite import (
    META_TABLE,
    Database,
    Schema,
    chunks,
    has_table,
    read_meta,
    write_meta,
)
from indexer.duplicates.alignment import SIDE
from indexer.duplicates.perceptual_hash import (
    coarse_thumbnails,
    is_uniform,
    perceptual_codes,
    thumbnail,
)
from indexer.imaging.decode import STORED_PHOTO_LIMITS, decode_photo
from indexer.imaging.parallel import decoding_threads, in_order

FORMAT = 1
# How thumbnails are made; those of another way are forgotten and made again.
_METHOD = f"box-{SIDE}-thing"
_SCHEMA = Schema(
    format=FORMAT,
    tables=(
        META_TABLE,
        "CREATE TABLE IF NOT EXISTS signatures (photo_id INTEGER PRIMARY KEY, thumb BLOB NOT NULL)",
        KEYS_TABLE,
    ),
    remedy="it is made again when the service starts next, or by catalens duplicates",
    shared=True,
    in_memory="absent",
)
_BYTES = SIDE * SIDE * 3
_SHRINK_TO = 2 * SIDE  # a JPEG is decoded at the smallest scale that keeps twice this
_CHUNK = 256
_PORTION = 4096
# Above so many, all ids are read at once.
_MANY = 20_000
# Signatures that there is room for at first.
_ROOM = 1024


class SignatureStore:
    """``photo_id`` -> thumbnail uint8 [32, 32, 3], from which codes follow. Safe across processes;
    one call at a time.

    ``catalog``: whose photos the ids are; signatures that were made of others are moved to the id
    that theirs has now, or forgotten. A damaged file counts as an empty one, and a damaged row is
    forgotten when it is read. Raises ``NewerFormatError``, ``StorageError`` naming the file;
    ``ReadOnlyError`` where something is to be written and cannot.
    """

    def __init__(self, home: Home, catalog: Catalog | None = None) -> None:
        self.path = home.signatures_file
        self._database = Database(self.path, _SCHEMA)
        home.require()
        self._database.prepare_again()
        self._keys = (
            None if catalog is None else PhotoKeys(self._database, "signatures", "thumb", catalog)
        )
        if not self._database.read_only:
            self._forget_other_methods()
            with self._database.transaction() as sql:
                sql.execute(KEYS_TABLE)
            if self._keys is not None:
                self._keys.fit()
        with self._database.read() as sql:
            self._checked = has_table(sql, "photo_keys")

    def _forget_other_methods(self) -> None:
        with self._database.read() as sql:
            if read_meta(sql, "method") == _METHOD:
                return
        with self._database.transaction() as sql:
            if read_meta(sql, "method") not in (None, _METHOD):
                sql.execute("DELETE FROM signatures")
            write_meta(sql, "method", _METHOD)

    def close(self) -> None:
        self._database.close()

    def ids(self) -> np.ndarray:
        """Return the photos that have a signature: int64, sorted."""
        with self._database.read() as sql:
            rows = sql.execute("SELECT photo_id FROM signatures ORDER BY photo_id").fetchall()
        return np.array([row[0] for row in rows], dtype=np.int64)

    def missing(self, photo_ids: np.ndarray) -> np.ndarray:
        """Return those of ``photo_ids`` that have none: int64, sorted, each once."""
        wanted = np.unique(np.asarray(photo_ids, np.int64))
        # All ids are read where most are asked for: rows are large, and a few are found sooner.
        if len(wanted) > _MANY:
            return np.setdiff1d(wanted, self.ids(), assume_unique=True)
        held: list[int] = []
        with self._database.read() as sql:
            for part, marks in chunks(wanted.tolist()):
                query = f"SELECT photo_id FROM signatures WHERE photo_id IN ({marks})"
                held += [row[0] for row in sql.execute(query, part)]
        return np.setdiff1d(wanted, np.array(held, np.int64), assume_unique=True)

    def put(self, photo_ids: Sequence[int] | np.ndarray, thumbs: np.ndarray) -> None:
        """Store thumbnails [N, 32, 32, 3] in one transaction."""
        if self._database.read_only:
            raise ReadOnlyError(
                f"{self.path} is read-only: signatures of new photos cannot be kept"
            )
        rows = [
            (int(photo_id), thumb.tobytes())
            for photo_id, thumb in zip(photo_ids, thumbs, strict=True)
        ]
        with self._database.transaction() as sql:
            if self._keys is not None:
                rows = self._keys.keep(sql, rows)
            else:
                part = [(photo_id,) for photo_id, _ in rows]
                sql.executemany("DELETE FROM photo_keys WHERE photo_id = ?", part)
            sql.executemany("INSERT OR REPLACE INTO signatures VALUES (?, ?)", rows)

    def get(self, photo_ids: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (bool [N]: is it there, thumbnails uint8 [N, 32, 32, 3]), in the order asked for.

        Absent ones are zero.
        """
        wanted = [int(photo_id) for photo_id in photo_ids]
        found = np.zeros(len(wanted), bool)
        thumbs = np.zeros((len(wanted), SIDE, SIDE, 3), np.uint8)
        held: dict[int, bytes] = {}
        with self._database.read() as sql:
            for part, marks in chunks(list(dict.fromkeys(wanted))):
                rows = sql.execute(f"{self._select} WHERE photo_id IN ({marks})", part)
                held.update({row[0]: row[1] for row in rows if _is_whole(row[1], row[2])})
        for at, photo_id in enumerate(wanted):
            if photo_id in held:
                found[at] = True
                thumbs[at] = np.frombuffer(held[photo_id], np.uint8).reshape(SIDE, SIDE, 3)
        return found, thumbs

    def portions(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield all signatures by id: (photo ids int64 [n], thumbnails [n, 32, 32, 3]).

        Damaged ones are left out and forgotten.
        """
        after = -1
        while True:
            with self._database.read() as sql:
                query = f"{self._select} WHERE photo_id > ? ORDER BY photo_id LIMIT ?"
                read = sql.execute(query, (after, _PORTION)).fetchall()
            if not read:
                return
            after = read[-1][0]
            rows = [row for row in read if _is_whole(row[1], row[2])]
            if len(rows) < len(read) and not self._database.read_only:
                whole = [row[0] for row in rows]
                self.delete(np.setdiff1d([row[0] for row in read], whole))
            ids = np.array([row[0] for row in rows], np.int64)
            yield (
                ids,
                np.frombuffer(b"".join(row[1] for row in rows), np.uint8).reshape(
                    -1, SIDE, SIDE, 3
                ),
            )

    @property
    def _select(self) -> str:
        if not self._checked:
            return "SELECT photo_id, thumb, NULL FROM signatures"
        return (
            "SELECT photo_id, thumb, checksum FROM signatures LEFT JOIN photo_keys USING (photo_id)"
        )

    def delete(self, photo_ids: np.ndarray) -> None:
        """Forget these photos; unknown ids are ignored."""
        if len(photo_ids):
            rows = [(int(photo_id),) for photo_id in photo_ids]
            with self._database.transaction() as sql:
                sql.executemany("DELETE FROM signatures WHERE photo_id = ?", rows)
                sql.executemany("DELETE FROM photo_keys WHERE photo_id = ?", rows)

    def scrub(self) -> None:
        """Write the file anew without any byte of what was deleted. Raises ``BusyError`` where
        another process reads it."""
        self._database.scrub()


def _is_whole(thumb: bytes, known: int | None) -> bool:
    return len(thumb) == _BYTES and known in (None, checksum_of(thumb))


@contextmanager
def stored_signatures(home: Home) -> Iterator[SignatureStore | None]:
    """The home's store where there is one; None makes none."""
    if not home.signatures_file.exists():
        yield None
        return
    with closing(SignatureStore(home)) as store:
        yield store


def sign_photos(
    catalog: Catalog,
    photos: PhotoStore,
    store: SignatureStore,
    photo_ids: np.ndarray,
    *,
    progress: OnProgress | None = None,
    in_threads: bool = True,
) -> list[SkippedPhoto]:
    """Sign those of ``photo_ids`` that have no signature; returns the photos that cannot be read.

    Committed every 256 photos, so a run that was killed goes on where it stopped. Reading and
    decoding run in threads, or ``in_threads=False`` in the calling one, with its priority.
    """
    missing = store.missing(photo_ids)
    skipped: list[SkippedPhoto] = []

    def rows() -> Iterator[PhotoRow]:
        for start in range(0, len(missing), 1024):
            part = missing[start : start + 1024].tolist()
            found = catalog.photos_by_id(part)
            # The others were deleted meanwhile.
            yield from (found[photo_id] for photo_id in part if photo_id in found)

    def sign(row: PhotoRow) -> np.ndarray:
        photo = decode_photo(photos.read(row), limits=STORED_PHOTO_LIMITS, shrink_to=_SHRINK_TO)
        return thumbnail(photo.pixels)

    ids: list[int] = []
    thumbs: list[np.ndarray] = []

    def flush() -> None:
        if ids:
            store.put(ids, np.stack(thumbs))
        ids.clear()
        thumbs.clear()

    workers = decoding_threads(min(4, THREADS)) if in_threads else 0
    signed = in_order(rows(), sign, workers=workers, ahead=64)
    for done, (row, made) in enumerate(signed, 1):
        if isinstance(made, CatalensError):
            skipped.append(SkippedPhoto(row.photo_id, row.content_hash, str(made)))
        else:
            ids.append(row.photo_id)
            thumbs.append(made)
        if len(ids) == _CHUNK:
            flush()
            if progress is not None:
                progress(done, len(missing))
    flush()
    if progress is not None:
        progress(len(missing), len(missing))
    return skipped


@dataclass(frozen=True)
class Signatures:
    """Codes of N photos that the search compares, about 260 bytes each; uniform ones left out."""

    # int64 [N], ascending
    ids: np.ndarray
    # uint8 [N, 32]
    codes: np.ndarray
    # uint8 [N, 32], of the mirrored photo
    mirrored: np.ndarray
    # uint8 [N, 8, 8, 3]
    coarse: np.ndarray

    @classmethod
    def compute(cls, photo_ids: np.ndarray, thumbs: np.ndarray) -> Signatures:
        """Compute the codes of thumbnails [N, 32, 32, 3], by photo id."""
        kept = ~is_uniform(thumbs)
        thumbs = thumbs[kept]
        return cls(
            np.asarray(photo_ids, np.int64)[kept],
            perceptual_codes(thumbs),
            perceptual_codes(thumbs[:, :, ::-1]),
            coarse_thumbnails(thumbs),
        )

    def __add__(self, other: Signatures) -> Signatures:
        """Merge both; ``other`` holds photos that are not in this one."""
        ids = np.concatenate([self.ids, other.ids])
        order = np.argsort(ids, kind="stable")
        return Signatures(
            ids[order],
            np.concatenate([self.codes, other.codes])[order],
            np.concatenate([self.mirrored, other.mirrored])[order],
            np.concatenate([self.coarse, other.coarse])[order],
        )

    @property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.ids, self.codes, self.mirrored, self.coarse

    def with_room(self, count: int) -> Signatures:
        """Copy into arrays of ``count`` photos, of which those behind these are undefined."""
        copies = [np.empty((count, *part.shape[1:]), part.dtype) for part in self._arrays]
        room = Signatures(*copies)
        room.write(self, 0)
        return room

    def write(self, other: Signatures, at: int) -> None:
        """Write ``other`` over the photos from place ``at`` on."""
        for mine, theirs in zip(self._arrays, other._arrays, strict=True):
            mine[at : at + len(theirs)] = theirs

    def first(self, count: int) -> Signatures:
        """The first ``count`` photos, without a copy."""
        return Signatures(*(part[:count] for part in self._arrays))

    def only(self, photo_ids: np.ndarray) -> Signatures:
        """Select those of ``photo_ids``."""
        kept = np.isin(self.ids, photo_ids)
        return Signatures(self.ids[kept], self.codes[kept], self.mirrored[kept], self.coarse[kept])

    def near(self, thumb: np.ndarray, radius: int) -> tuple[np.ndarray, np.ndarray]:
        """Find photos within ``radius`` of ``thumb`` [32, 32, 3], by their code or mirrored code.

        Returns (their places, their distances), int64, nearest first.
        """
        asked = Signatures.compute(np.zeros(1, np.int64), thumb[None])
        if not len(asked.ids):  # a uniform photo
            return np.empty(0, np.int64), np.empty(0, np.int64)
        distance = np.minimum(
            _distances(self.codes, asked.codes), _distances(self.codes, asked.mirrored)
        )
        places = np.flatnonzero(distance <= radius)
        places = places[np.argsort(distance[places], kind="stable")]
        return places, distance[places]


def load_signatures(store: SignatureStore) -> Signatures:
    """Load all that ``store`` holds: 15,000 photos and more a second."""
    parts = [Signatures.compute(ids, thumbs) for ids, thumbs in store.portions()]
    if not parts:
        return _NOTHING
    return Signatures(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.codes for part in parts]),
        np.concatenate([part.mirrored for part in parts]),
        np.concatenate([part.coarse for part in parts]),
    )


_NOTHING = Signatures.compute(np.empty(0, np.int64), np.empty((0, SIDE, SIDE, 3), np.uint8))


class SignatureIndex:
    """Signatures in memory, searched without a lock while one thread adds to them.

    Photos of deleted products stay in until the next start and do no harm: nobody holds them any
    more. ``sequence``: the change of the catalog up to which photos are known.
    """

    def __init__(self, signatures: Signatures, sequence: int) -> None:
        self._state = signatures
        # Has room behind what ``_state`` shows of it.
        self._room = signatures
        self.sequence = sequence

    @classmethod
    def empty(cls, sequence: int = 0) -> SignatureIndex:
        """Know no photo yet."""
        return cls(_NOTHING, sequence)

    @classmethod
    def open(
        cls,
        catalog: Catalog,
        photos: PhotoStore,
        store: SignatureStore,
        *,
        progress: OnProgress | None = None,
    ) -> SignatureIndex:
        """Index the whole catalog; what has no signature yet is signed first."""
        sequence, rows = catalog.entries()
        sign_photos(catalog, photos, store, rows[:, 1], progress=progress)
        return cls(load_signatures(store).only(rows[:, 1]), sequence)

    @property
    def signatures(self) -> Signatures:
        return self._state

    def holds(self, photo_ids: np.ndarray) -> np.ndarray:
        """Mark the photos that are known, bool [n]; uniform ones never are."""
        known = self._state.ids
        places = np.searchsorted(known, photo_ids)
        inside = places < len(known)
        inside[inside] = known[places[inside]] == photo_ids[inside]
        return inside

    def add(self, new: Signatures) -> None:
        """Add photos that are not known yet. Newer ones, by their ids, cost no more than they
        are."""
        old = self._state
        if not len(new.ids):
            return
        if len(old.ids) and new.ids[0] <= old.ids[-1]:
            self._state = self._room = old + new
            return
        count = len(old.ids) + len(new.ids)
        if count > len(self._room.ids):
            self._room = old.with_room(max(2 * len(old.ids), count, _ROOM))
        # Nobody reads what lies behind the state.
        self._room.write(new, len(old.ids))
        self._state = self._room.first(count)


def _distances(codes: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Return the Hamming distances int64 [N] of codes uint8 [N, 32] to one [1, 32]."""
    distance = np.zeros(len(codes), np.int64)
    # Word by word, since sums over four are slow.
    for words, word in zip(codes.view(np.uint64).T, code.view(np.uint64)[0], strict=True):
        distance += np.bitwise_count(words ^ word)
    return distance
