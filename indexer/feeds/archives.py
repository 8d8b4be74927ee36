"""Checking and unpacking of zip archives, into one folder and nowhere else."""

from __future__ import annotations

import io
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from indexer.core.atomic_files import MAKE_ROOM, make_folder, storage_failure
from indexer.core.errors import BadDataError, DiskFullError
from indexer.core.progress import OnProgress
from indexer.core.regular_files import held_bytes
from indexer.feeds.text_encoding import looks_chinese

# files and folders
MOST_FILES = 200_000
# Bytes from which the whole must have a plausible ratio to the archive, and that ratio.
_FREE_BYTES = 256 << 20
_MOST_RATIO = 200
# Files with fewer bytes than any photo has, and how many of them a feed may have: each costs as
# much to unpack as a photo.
_LEAST_BYTES = 24
_MOST_TINY = 1000
# Bytes of a name between slashes, as file systems have it.
_MOST_NAME = 255
# Of a whole path; systems take 4096, with the folder that it is unpacked to.
_MOST_PATH = 2048
# Folders in one another.
_MOST_LEVELS = 64
# Bytes of a directory, and how each of its entries begins.
_MOST_DIRECTORY = 128 << 20
_ENTRY = b"PK\1\2"
_CHUNK = 1 << 20
_UTF8 = 0x800


@dataclass(frozen=True)
class _Entry:
    """A file of an archive, and its path as parts are named here."""

    info: zipfile.ZipInfo
    name: str


class _CountedFile(io.BufferedReader):
    """A zip on disk, whose directory is looked at before Python makes an object of each entry."""

    def __init__(self, path: Path, refusal: str) -> None:
        super().__init__(io.FileIO(path))
        self.opening = True
        self._refusal = refusal

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as a file does. Raises ``BadDataError`` for a directory of too many entries."""
        if not self.opening:
            return super().read(size)
        if size is not None and size > _MOST_DIRECTORY:
            raise BadDataError(f"{self._refusal}: its directory has {size} bytes")
        data = super().read(size)
        if data.count(_ENTRY) > MOST_FILES:
            raise BadDataError(f"{self._refusal}: more than {MOST_FILES} files and folders")
        return data


@contextmanager
def open_zip(
    path: Path, refusal: str = "the archive is no readable zip file"
) -> Iterator[zipfile.ZipFile]:
    """Open a zip and read its directory.

    Raises ``BadDataError``, whatever is wrong with it; the message begins with ``refusal``.
    """
    try:
        file = _CountedFile(path, refusal)
    except OSError as error:
        raise BadDataError(f"{refusal}: {error.strerror or error}") from error
    with file:
        try:
            archive = zipfile.ZipFile(file)
        except BadDataError:
            raise
        # Hostile bytes raise whatever they like: IndexError, struct.error, OverflowError...
        except Exception as error:
            raise BadDataError(f"{refusal}: {error}") from error
        file.opening = False
        with archive:
            yield archive


def check_archive(path: Path, *, most_bytes: int) -> int:
    """How many files a zip holds, after its directory was checked. Raises ``BadDataError`` naming
    the entry.

    Refused: names that lead out of the folder (absolute, ``..``, a drive), links and devices,
    encrypted entries, the same name twice, too many files and folders, also such as only names of
    files speak of, many empty ones, more than ``most_bytes`` as the directory declares them, and
    far more than the archive itself has.
    """
    with open_zip(path) as archive:
        return len(_files(archive, most_bytes))


def unpack(
    path: Path,
    folder: Path,
    *,
    most_bytes: int,
    progress: OnProgress | None = None,
) -> int:
    """Unpack a checked zip below ``folder``, which must not exist; how many files. Raises
    ``BadDataError`` naming a damaged entry, ``StorageError``.

    Bytes are counted as they come out, so an archive that lies about its sizes stops at the limit.
    """
    folder.mkdir()
    left = most_bytes
    with open_zip(path) as archive:
        files = _files(archive, most_bytes)
        _check_space(folder, files)
        for number, entry in enumerate(files):
            left -= _unpack_entry(archive, entry, folder, left)
            if left < 0:
                raise BadDataError(
                    f"the archive unpacks to more than the {most_bytes} bytes allowed"
                )
            if progress is not None:
                progress(number + 1, len(files))
    return len(files)


def _unpack_entry(archive: zipfile.ZipFile, entry: _Entry, folder: Path, most: int) -> int:
    """Write an entry below ``folder``; how many bytes, of which ``most`` and one more are read."""
    written = 0
    target = folder / entry.name
    chunks = _chunks(archive, entry, most)
    # Before the file is made, which a damaged entry leaves out.
    chunk = next(chunks, b"")
    try:
        make_folder(target.parent, below=folder)
        with target.open("xb") as out:
            while chunk:
                written += len(chunk)
                out.write(chunk)
                chunk = next(chunks, b"")
    except (FileExistsError, NotADirectoryError) as error:
        raise BadDataError(
            f"archive entry {entry.name[:200]!a} has a name that this disk takes for another's"
        ) from error
    except OSError as error:
        raise storage_failure(target, error) from error
    return written


def _chunks(archive: zipfile.ZipFile, entry: _Entry, most: int) -> Iterator[bytes]:
    """Yield what an entry holds, at most one byte above ``most``. Raises ``BadDataError``."""
    left = most + 1
    try:
        with archive.open(entry.info) as source:
            while left > 0 and (chunk := source.read(min(_CHUNK, left))):
                left -= len(chunk)
                yield chunk
    # Each of the unpackers has errors of its own, and bzip2 those of a disk.
    except Exception as error:
        raise BadDataError(f"archive entry {entry.name[:200]!a} is damaged: {error}") from error


def _check_space(folder: Path, files: list[_Entry]) -> None:
    total = sum(entry.info.file_size for entry in files)
    free = shutil.disk_usage(folder).free
    if total > free:
        raise DiskFullError(
            f"the archive unpacks to {total} bytes; {folder} has room for {free}: {MAKE_ROOM}"
        )


def _files(archive: zipfile.ZipFile, most_bytes: int) -> list[_Entry]:
    infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
    entries = [entry for entry in _named(infos) if not entry.name.endswith("/")]
    if not entries:
        raise BadDataError("the archive is empty")
    seen: set[str] = set()
    for entry in entries:
        _check(entry)
        # "./a.jpg" and "a.jpg" are one.
        name = str(PurePosixPath(entry.name))
        if name in seen:
            raise BadDataError(f"archive entry {entry.name[:200]!a} stands in it twice")
        seen.add(name)
    for name in seen:
        if not seen.isdisjoint(map(str, PurePosixPath(name).parents)):
            raise BadDataError(f"archive entry {name[:200]!a} lies in a file, as in a folder")
    _check_folders(sorted(seen))
    tiny = sum(entry.info.file_size < _LEAST_BYTES for entry in entries)
    if tiny > _MOST_TINY:
        raise BadDataError(
            f"{tiny} files of the archive are empty or nearly so, which no photo is: leave them out"
        )
    total = sum(entry.info.file_size for entry in entries)
    if total > most_bytes:
        raise BadDataError(
            f"the archive unpacks to {total} bytes, more than the {most_bytes} allowed"
        )
    assert archive.fp is not None
    if total > max(_FREE_BYTES, _MOST_RATIO * held_bytes(archive.fp)):
        raise BadDataError(
            f"the archive unpacks to {total} bytes, more than {_MOST_RATIO} times its size, as no "
            "feed with photos does"
        )
    return entries


def _check(entry: _Entry) -> None:
    """Raise ``BadDataError`` for an entry that cannot become a file below a folder."""
    name = entry.name
    parts = PurePosixPath(name).parts
    # The name as it was stored: ZipInfo has cut it at a null byte.
    if not parts:
        raise BadDataError(f"archive entry {entry.info.orig_filename[:200]!a} names no file")
    if name.startswith("/") or "\0" in entry.info.orig_filename or ".." in parts:
        raise BadDataError(
            f"archive entry {entry.info.orig_filename[:200]!a} leads out of the archive's folder"
        )
    if ":" in parts[0]:
        raise BadDataError(f"archive entry {name[:200]!a} names a drive")
    lengths = [len(os.fsencode(part)) for part in parts]
    if max(lengths) > _MOST_NAME or sum(lengths) + len(lengths) > _MOST_PATH:
        raise BadDataError(f"archive entry {name[:200]!a} has too long a name")
    if len(parts) > _MOST_LEVELS + 1:
        raise BadDataError(
            f"archive entry {name[:200]!a} lies in more than {_MOST_LEVELS} folders in one another"
        )
    kind = stat.S_IFMT(entry.info.external_attr >> 16)
    if kind and not stat.S_ISREG(kind):
        raise BadDataError(f"archive entry {name[:200]!a} is no plain file (links are refused)")
    if entry.info.flag_bits & 1:
        raise BadDataError(f"archive entry {name[:200]!a} is encrypted")


def _check_folders(names: list[str]) -> None:
    """Raise ``BadDataError`` for sorted names that lie in more folders than are made."""
    folders = 0
    before: tuple[str, ...] = ()
    for name in names:
        parts = PurePosixPath(name).parts[:-1]
        shared = 0
        while shared < min(len(parts), len(before)) and parts[shared] == before[shared]:
            shared += 1
        folders += len(parts) - shared
        before = parts
    if folders > MOST_FILES:
        raise BadDataError(
            f"the archive's files lie in {folders} folders, more than the {MOST_FILES} allowed"
        )


def _named(infos: list[zipfile.ZipInfo]) -> list[_Entry]:
    """Entries with names as they were meant: a backslash parts folders, as on Windows, and names
    that do not say that they are UTF-8 may be that nevertheless, or Chinese."""
    raw = [
        info.orig_filename.encode("cp437")
        for info in infos
        if not info.flag_bits & _UTF8 and not info.orig_filename.isascii()
    ]
    encoding = _encoding_of(raw)
    entries = []
    for info in infos:
        name = info.filename
        if encoding != "cp437" and not info.flag_bits & _UTF8 and not name.isascii():
            name = name.encode("cp437").decode(encoding, "replace")
        entries.append(_Entry(info, name.replace("\\", "/")))
    return entries


def _encoding_of(names: list[bytes]) -> str:
    joined = b"\n".join(names)
    for encoding, likely in (("utf-8", True), ("gb18030", looks_chinese(joined))):
        if likely:
            try:
                joined.decode(encoding)
            except UnicodeDecodeError:
                continue
            return encoding
    return "cp437"
