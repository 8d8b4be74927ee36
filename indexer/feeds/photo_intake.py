"""Intake of photos: each is found, checked and kept, or named with the reason why not."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import NewPhoto, PhotoRow
from indexer.catalog.store import Catalog
from indexer.catalog.upload_notes import UploadNotes
from indexer.core.atomic_files import sha256_stream
from indexer.core.contained_files import open_contained
from indexer.core.errors import BadImageError, CatalensError, ImageTooLargeError
from indexer.core.home import Home
from indexer.feeds.folder import printable
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import ADDRESS
from indexer.feeds.notice import Notice
from indexer.feeds.photo_files import resolve
from indexer.feeds.product import FeedProduct, PhotoReference
from indexer.imaging.decode import Photo, decode_photo, hash_content

# Px; the smallest decode that still reads the whole file.
_CHECK_SIZE = 64
# Of photos by address that are none, so many are remembered.
_MOST_BAD = 10_000


class PhotoKeeper(Protocol):
    """Decides what is kept of a photo's bytes, once it is known to be one."""

    def keep(self, data: bytes, photo: Photo) -> NewPhoto:
        """Keep what shall be kept, and describe the photo for the catalog."""
        ...


@dataclass(frozen=True)
class PhotoFile:
    """A file as it was when its photo was taken in. ``changed``: in nanoseconds since 1970."""

    path: str
    size: int
    changed: int


@dataclass(frozen=True)
class TakenPhoto:
    """A good photo of a product: described for the catalog, with where it came from."""

    new: NewPhoto
    # The shop's own address of it.
    source: str | None = None
    file: PhotoFile | None = None


@dataclass(frozen=True)
class _Found:
    """A photo's file, and the hash of its content."""

    where: str
    file: PhotoFile
    content_hash: str


class PhotoIntake:
    """Photos of one import. ``made``: hashes of those whose files it wrote since that was cleared;
    ``fetched``: of those by address whose files it wrote and that are not yet in the catalog."""

    def __init__(
        self,
        home: Home,
        catalog: Catalog | None,
        root: Path,
        options: ImportOptions,
        keeper: PhotoKeeper | None,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.store = PhotoStore(home)
        self.made: set[str] = set()
        self.fetched: set[str] = set()
        self._catalog = catalog
        self._root = options.photos_root or root
        self._options = options
        self._keeper = keeper
        self._pool = pool
        self._notes = None if catalog is None else UploadNotes(home, catalog)
        # By content hash, of photos by address: not yet in the catalog; no photos at all, and why.
        self._fresh: dict[str, NewPhoto] = {}
        self._bad: dict[str, str] = {}

    # -- photos of this machine

    def take_files(self, references: Sequence[PhotoReference]) -> list[TakenPhoto | Notice]:
        """Photos that the feed names by path, in that order. Never holds more than one in memory
        for each thread."""
        found = list(self._pool.map(self._find, references))
        hashes = {each.content_hash for each in found if isinstance(each, _Found)}
        known = self.known(hashes)
        # All at once: one note costs what it costs to note one.
        self._note([one for one in hashes if self._is_to_write(known.get(one), one)])
        return list(self._pool.map(partial(self._check, known), found))

    def known(self, hashes: Iterable[str]) -> dict[str, PhotoRow]:
        """Those that the catalog has."""
        return {} if self._catalog is None else self._catalog.photos_by_hash(set(hashes))

    def _find(self, reference: PhotoReference) -> _Found | Notice:
        if reference.is_url:
            reason = f"{reference.source} is an address, which is not fetched: add --fetch"
            return Notice(reference.where, reason, ADDRESS, value=reference.source)
        try:
            within = self._options.photos_within
            path = resolve(self._root, reference.source, within=within)
            refusal = self._refusal(path, reference.source)
            if path is None or refusal:
                reason = refusal or ""
                return Notice(reference.where, reason, "photo-missing", value=reference.source)
            path = path if self._options.photos_within is None else path.resolve()
            state = path.stat()
            if not state.st_size:
                # Not opened twice to find that: an archive may name 70,000 of them.
                raise BadImageError("the image is empty (0 bytes)")
            if state.st_size > self._options.limits.max_bytes:
                raise ImageTooLargeError(
                    f"the file has {state.st_size:,} bytes, more than the limit of "
                    f"{self._options.limits.max_bytes:,} (CATALENS_MAX_IMAGE_BYTES raises it)"
                )
            address = str(path.absolute())
            if self._options.photos == "reference" and printable(address) != address:
                raise BadImageError(
                    "its path is no UTF-8, so it cannot be referred to: rename the file or its "
                    "folder, or keep a copy (--photos copy)"
                )
            file = PhotoFile(address, state.st_size, state.st_mtime_ns)
            with self._open(path) as stream:
                return _Found(reference.where, file, sha256_stream(stream))
        except (OSError, BadImageError) as error:
            return _bad_photo(reference.where, path or reference.source, error)

    def _open(self, path: Path) -> IO[bytes]:
        """A photo's file; of a feed that somebody else sent, only below the folder it may name."""
        within = self._options.photos_within
        return path.open("rb") if within is None else open_contained(within, path)

    def _refusal(self, path: Path | None, source: str) -> str | None:
        """Why this is no photo's file, or none that may be read; None where it is one."""
        if path is not None:
            return bad_file(path)
        if self._options.photos_within is None:
            return missing_file(self._root, source)
        # Whoever may read only so far must not learn what else there is: one answer for all.
        return f"there is no file {printable(source.strip())} among those that may be read here"

    def _check(self, known: Mapping[str, PhotoRow], found: _Found | Notice) -> TakenPhoto | Notice:
        """Decode what is new, and keep its bytes."""
        if isinstance(found, Notice):
            return found
        stored = known.get(found.content_hash)
        if stored is not None and (self._options.dry_run or not self._must_copy(stored)):
            path = found.file.path if stored.storage == "reference" else None
            return TakenPhoto(replace(as_new(stored), path=path), file=found.file)
        try:
            with self._open(Path(found.file.path)) as stream:
                # It may have grown since it was looked at.
                data = stream.read(self._options.limits.max_bytes + 1)
            photo = decode_photo(data, limits=self._options.limits, shrink_to=_CHECK_SIZE)
        except (OSError, CatalensError) as error:
            return _bad_photo(found.where, found.file.path, error)
        if self._is_referred(stored):
            size = (len(data), photo.width, photo.height)
            new = NewPhoto(photo.content_hash, photo.format, *size, "reference", found.file.path)
            return TakenPhoto(new, file=found.file)
        return TakenPhoto(self._keep(data, photo), file=found.file)

    def _must_copy(self, stored: PhotoRow) -> bool:
        """A reference that is to become a copy, or a copy whose file is gone."""
        if stored.storage == "copy":
            return not self.store.has_copy(stored.content_hash)
        return stored.storage == "reference" and self._options.photos == "copy"

    def _is_referred(self, stored: PhotoRow | None) -> bool:
        return self._options.photos == "reference" and (
            stored is None or stored.storage == "reference"
        )

    def _is_to_write(self, stored: PhotoRow | None, content_hash: str) -> bool:
        """Whether a photo's file is to be written, as far as that is known before it is read."""
        if self._is_referred(stored) or (stored is not None and not self._must_copy(stored)):
            return False
        return self._is_own(content_hash)

    # -- keeping

    def stop(self) -> None:
        """Take in nothing more, and wait for what is just written: ``made`` names it all then."""
        self._pool.shutdown(cancel_futures=True)

    def settle(self) -> None:
        """All files that were written have a product now or are gone, but those of ``fetched``."""
        if self._notes is not None:
            self._notes.settle(self._notes.pending - self.fetched)

    def settle_fetched(self) -> None:
        """The files of ``fetched`` are gone, or have a product."""
        if self._notes is not None:
            self._notes.settle(self.fetched)

    def close(self) -> None:
        """``stop``; what was not settled is left to whoever clears the home next."""
        self.stop()
        if self._notes is not None:
            self._notes.close()

    def _is_own(self, content_hash: str) -> bool:
        """Whether a photo's file is this import's to write, or one of a killed one."""
        left = self._notes is not None and self._notes.is_left(content_hash)
        return left or not self.store.has_copy(content_hash)

    def _note(self, hashes: Sequence[str]) -> None:
        """Note files that are about to be written, for the case that this process is killed."""
        if self._notes is not None and not self._options.dry_run:
            self._notes.add(hashes)

    def take_bytes(self, data: bytes, where: str, source: str) -> TakenPhoto | Notice:
        """A photo that came from an address."""
        try:
            photo = decode_photo(data, limits=self._options.limits, shrink_to=_CHECK_SIZE)
        except CatalensError as error:
            reason = f"{source}: {error}"
            if len(self._bad) < _MOST_BAD:
                self._bad[hash_content(data)] = str(error)
            return Notice(where, reason, "bad-photo", value=source)
        if not self._options.dry_run and self._is_own(photo.content_hash):
            self.fetched.add(photo.content_hash)
        new = self._keep(data, photo)
        self._fresh[new.content_hash] = new
        return TakenPhoto(new, source)

    def take_held(self, content_hash: str, where: str, source: str) -> TakenPhoto | Notice:
        """A photo whose bytes did not come again, since they came before."""
        new: NewPhoto | None = self._fresh.get(content_hash)
        if new is None and content_hash not in self._bad:
            row = self.known([content_hash]).get(content_hash)
            # A kill came between the copy and the commit.
            data = self.store.read_copy(content_hash) if row is None else None
            if data is not None:
                return self.take_bytes(data, where, source)
            new = None if row is None else as_new(row)
        if new is not None:
            return TakenPhoto(new, source)
        why = self._bad.get(content_hash, "was fetched before, and is no longer in the catalog")
        return Notice(where, f"{source}: {why}", "bad-photo", value=source)

    def forget_fresh(self, hashes: Iterable[str]) -> None:
        """Photos that came by address are in the catalog now."""
        for content_hash in hashes:
            self._fresh.pop(content_hash, None)
            self.fetched.discard(content_hash)

    def _keep(self, data: bytes, photo: Photo) -> NewPhoto:
        if self._options.dry_run:
            size = (len(data), photo.width, photo.height)
            return NewPhoto(photo.content_hash, photo.format, *size, "copy", None)
        if self._is_own(photo.content_hash):
            self._note([photo.content_hash])
            self.made.add(photo.content_hash)
        if self._keeper is not None:
            return self._keeper.keep(data, photo)
        return self.store.add(data, photo)


def as_new(row: NewPhoto) -> NewPhoto:
    """A stored photo as it would be given to the catalog again."""
    return NewPhoto(**{column.name: getattr(row, column.name) for column in fields(NewPhoto)})


def missing_file(root: Path, source: str) -> str:
    """Why nothing was found for ``source`` below ``root``: it may be there and be no file."""
    path = root / source.strip()
    return bad_file(path) or f"there is no file {printable(str(path))}"


def nameless(product: FeedProduct) -> Notice:
    """Of a product that names no photo at all."""
    return Notice(product.where, "names no image", "no-photo", value=product.product_id)


def bad_file(path: Path) -> str | None:
    """Why ``path`` is no readable photo file, or None. Never opens it: it could be a pipe."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"there is no file {printable(str(path))}"
    except (OSError, ValueError) as error:
        return f"{printable(str(path))} cannot be read: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISDIR(mode):
        return f"{printable(str(path))} is a folder, not a photo"
    if not stat.S_ISREG(mode):
        return f"{printable(str(path))} is not a regular file"
    return None


def _bad_photo(where: str, path: Path | str, error: Exception) -> Notice:
    why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
    return Notice(where, printable(f"{path}: {why}"), "bad-photo", value=printable(str(path)))
