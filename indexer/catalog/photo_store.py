"""Originals, copied or referenced, and their thumbnails."""

from __future__ import annotations

import io
import math
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from PIL import Image

from indexer.catalog.records import NewPhoto, PhotoRow, photo_file
from indexer.catalog.store import Catalog
from indexer.core.atomic_files import move_file, storage_failure, write_atomic
from indexer.core.errors import BadImageError, BadRequestError, UnknownPhotoError
from indexer.core.home import Home
from indexer.core.memory_budget import MemoryBudget, photo_memory
from indexer.core.regular_files import open_regular
from indexer.imaging.decode import STORED_PHOTO_LIMITS, Photo, decode_photo, hash_content

# Px.
THUMBNAIL_WIDTHS = (160, 320, 640)
# What is kept of a photo that is forgotten.
KEPT_WIDTH = 320
# A thumbnail is at most this many times higher than its width class.
_TALLEST = 4
_QUALITY = 85
# Times its short side that a JPEG is decoded to at least. A photo of 1200 px gives the thumbnail of
# 320 from a half of it: a third of the time, and 48 dB from that of the whole (its own compression:
# 36 dB; medians of 200 photos).
_DECODED = 1.75
# Begins the comment of a thumbnail that holds its checksum.
_SEAL = b"catalens "
# Of the memory of photos, what files take that are read for questions.
_READ_SHARE = 4
# Seconds that a thumbnail waits for it.
_PATIENCE_S = 30.0


class PhotoStore:
    """The photos of one home. Copies are content-addressed and written atomically; safe from
    threads and processes."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._photos = home.photos
        self._thumbnails = home.thumbnails
        self._damaged = home.damaged
        self._reading = MemoryBudget(photo_memory() // _READ_SHARE)

    def add(self, data: bytes, photo: Photo | NewPhoto) -> NewPhoto:
        """Keep a copy of ``data``, the bytes that ``photo`` describes. The catalog learns of it by
        ``put``.

        Raises ``StorageError`` where it cannot be written, and as ``Home.require``.
        """
        path = photo_file(self._photos, photo.content_hash)
        try:
            # One that was damaged since is replaced.
            if self.read_copy(photo.content_hash) is None:
                self._home.make_folder(path.parent)
                write_atomic(path, data)
        except OSError as error:
            raise storage_failure(path, error) from error
        return NewPhoto(
            photo.content_hash, photo.format, len(data), photo.width, photo.height, "copy", None
        )

    def has_copy(self, content_hash: str) -> bool:
        """Whether a copy of this photo lies here."""
        return photo_file(self._photos, content_hash).is_file()

    def read_copy(self, content_hash: str) -> bytes | None:
        """The bytes of a copy, whether the catalog knows it or not; None where it is none."""
        try:
            data = photo_file(self._photos, content_hash).read_bytes()
        except OSError:
            return None
        return data if hash_content(data) == content_hash else None

    def read(self, row: PhotoRow) -> bytes:
        """The photo's bytes. Raises ``UnknownPhotoError`` that names the file if it is gone or was
        changed."""
        path = (
            Path(row.path or "")
            if row.storage == "reference"
            else photo_file(self._photos, row.content_hash)
        )
        try:
            data = _read_sized(path, row.bytes)
        except OSError as error:
            if row.storage == "forget":
                raise UnknownPhotoError(
                    f"photo {row.content_hash}: its bytes were not kept (imported with --photos "
                    "forget); they can be fetched again from its address"
                ) from error
            raise UnknownPhotoError(
                f"photo {row.content_hash}: {path} cannot be read: {error.strerror or error}"
            ) from error
        if data is None or hash_content(data) != row.content_hash:
            raise UnknownPhotoError(
                f"photo {row.content_hash}: {path} was changed since it was imported"
            )
        return data

    @property
    def roomy(self) -> bool:
        """Whether a photo may be ``opened`` by one who holds another."""
        return self._reading.roomy

    @contextmanager
    def opened(self, row: PhotoRow, *, within_s: float | None = None) -> Iterator[bytes]:
        """Inside, the photo's bytes are there, within what all that are opened may take of memory.

        Raises ``NoMemoryError`` where there is no room ``within_s``, before anything is read, and
        as ``read``.
        """
        with self._reading.hold(row.bytes, within_s=within_s):
            yield self.read(row)

    def thumbnail(self, row: PhotoRow, width: int) -> bytes:
        """A JPEG at most ``width`` px wide (160, 320 or 640), never enlarged; kept on disk.

        Of a photo that was forgotten, it is made from the one of ``KEPT_WIDTH``. Raises
        ``BadRequestError`` for another width, ``UnknownPhotoError`` as ``read``, ``NoMemoryError``
        where others that are made take all that they may for long.
        """
        if width not in THUMBNAIL_WIDTHS:
            raise BadRequestError(
                f"thumbnail width {width!r} is none of {', '.join(map(str, THUMBNAIL_WIDTHS))}"
            )
        path = self._thumbnail_file(row.content_hash, width)
        if (kept := _read_sealed(path)) is not None:
            return kept
        original = row.storage != "forget" or self.has_copy(row.content_hash)
        width = width if original else min(width, KEPT_WIDTH)
        scale = min(1.0, width / row.width, _TALLEST * width / row.height)
        size = max(1, round(row.width * scale)), max(1, round(row.height * scale))
        # Twice that is decoded at least.
        half = math.ceil(_DECODED / 2 * min(size))
        with ExitStack() as stack:
            if original:
                data = stack.enter_context(self.opened(row, within_s=_PATIENCE_S))
            else:
                data = self._kept_thumbnail(row)
            pixels = decode_photo(data, limits=STORED_PHOTO_LIMITS, shrink_to=half).pixels
            del data
        if pixels.size != size:
            pixels = pixels.resize(size, Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        pixels.save(stream, "JPEG", quality=_QUALITY)
        data = _sealed(stream.getvalue())
        try:
            self._home.make_folder(path.parent)
            write_atomic(path, data)
        except OSError:
            # Derived: a full disk must not keep an answer back.
            return data
        if row.storage == "copy" and not self.has_copy(row.content_hash):
            # Erased meanwhile.
            path.unlink(missing_ok=True)
        return data

    def _kept_thumbnail(self, row: PhotoRow) -> bytes:
        kept = _read_sealed(self._thumbnail_file(row.content_hash, KEPT_WIDTH), older=True)
        # Reading says how it can be had.
        return self.read(row) if kept is None else kept

    def drop(self, row: PhotoRow) -> None:
        """Delete the bytes of a photo that is forgotten, once its thumbnail is kept."""
        if row.storage == "forget":
            # None can be made of one that is damaged further in than an import looks.
            path = self._thumbnail_file(row.content_hash, KEPT_WIDTH)
            try:
                self.thumbnail(row, KEPT_WIDTH)
            except BadImageError:
                # An empty file says so: no thumbnail was lost.
                self._home.make_folder(path.parent)
                write_atomic(path, b"")
            if not path.is_file():
                return
            photo_file(self._photos, row.content_hash).unlink(missing_ok=True)

    def remove(self, content_hash: str) -> None:
        """Delete the copy and the thumbnails. Only ``collect`` knows that nobody uses them."""
        photo_file(self._photos, content_hash).unlink(missing_ok=True)
        (self._damaged / content_hash).unlink(missing_ok=True)
        self._remove_thumbnails(content_hash)

    def set_aside(self, content_hash: str) -> None:
        """Move a copy that is not what its name says out of the way, so that it can come again."""
        path = photo_file(self._photos, content_hash)
        if path.exists():
            self._home.make_folder(self._damaged)
            move_file(path, self._damaged / content_hash)

    def _remove_thumbnails(self, content_hash: str) -> None:
        for width in THUMBNAIL_WIDTHS:
            self._thumbnail_file(content_hash, width).unlink(missing_ok=True)

    def collect(
        self, catalog: Catalog, hashes: Iterable[str], *, own: Iterable[str] = ()
    ) -> list[str]:
        """Remove those of ``hashes`` that lost their last product by a write; returns them.

        The catalog must have recorded that: that it does not name a photo is no reason, since it
        may be the wrong catalog. ``own``: files that the caller made itself for a write that was
        refused need no record; of a photo that stays referenced, the copy alone goes. Reviews may
        show the photos too: hand what is returned to ``reviews.store.forget_photos``.
        """
        own = set(own)
        hashes = list(dict.fromkeys([*hashes, *own]))
        if not hashes:
            return []
        # No put can come between the look and the removal.
        with catalog.database.transaction():
            used = catalog.photos_by_hash(hashes)
            recorded = catalog.change_log.orphans()
            free = recorded | own
            unused = [
                content_hash
                for content_hash in hashes
                if content_hash not in used and content_hash in free
            ]
            for content_hash in unused:
                self.remove(content_hash)
            for content_hash in own:
                row = used.get(content_hash)
                if row is not None and row.storage == "reference":
                    photo_file(self._photos, content_hash).unlink(missing_ok=True)
            if settled := recorded.intersection(hashes):
                catalog.change_log.settle_orphans(settled)
        return unused

    def collect_thumbnails(self, catalog: Catalog, hashes: Iterable[str]) -> list[str]:
        """Remove the thumbnails of those of ``hashes`` that no product uses and that no original
        here can make anew."""
        hashes = list(hashes)
        with catalog.database.transaction():
            used = catalog.photos_by_hash(hashes)
            unused = [found for found in hashes if found not in used and not self.has_copy(found)]
            for content_hash in unused:
                self._remove_thumbnails(content_hash)
        return unused

    def _thumbnail_file(self, content_hash: str, width: int) -> Path:
        return self._thumbnails / content_hash[:2] / f"{content_hash}-{width}.jpg"


def kept_thumbnail(thumbnails: Path, content_hash: str) -> Path:
    """Where the only picture lies of a photo that was forgotten; empty where none could be made."""
    return thumbnails / content_hash[:2] / f"{content_hash}-{KEPT_WIDTH}.jpg"


def thumbnail_damage(path: Path, *, read: bool = True) -> str | None:
    """What is wrong with a ``kept_thumbnail``; None where nothing is. ``read``: its checksum too.
    Raises ``OSError`` where it cannot be read."""
    try:
        if not path.stat().st_size or not read or _read_sealed(path, older=True) is not None:
            return None
    except FileNotFoundError:
        return f"{path} is missing"
    return f"{path} was changed"


def _read_sized(path: Path, size: int) -> bytes | None:
    """The bytes of a regular file of ``size`` bytes; None for one of another size, of which nothing
    is read: at the place of a photo there may be a disk image now. Raises ``OSError``."""
    with open_regular(path) as file:
        return file.read(size) if os.fstat(file.fileno()).st_size == size else None


def _sealed(jpeg: bytes) -> bytes:
    """A JPEG with a comment that holds a checksum of all the rest."""
    length = (2 + len(_SEAL) + 4).to_bytes(2, "big")
    checksum = zlib.crc32(jpeg).to_bytes(4, "big")
    return jpeg[:2] + b"\xff\xfe" + length + _SEAL + checksum + jpeg[2:]


def _read_sealed(path: Path, *, older: bool = False) -> bytes | None:
    """A thumbnail that is as it was written; None for a damaged one, which is made again.

    ``older``: also one that an older Catalens wrote without a checksum.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return None
    end = 6 + len(_SEAL)
    if data[6:end] != _SEAL:
        return data if older and data else None
    whole = zlib.crc32(data[:2] + data[end + 4 :]).to_bytes(4, "big") == data[end : end + 4]
    return data if whole and data == _sealed(data[:2] + data[end + 4 :]) else None
