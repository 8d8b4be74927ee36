"""Checking and unpacking of zip archives, into one folder and nowhere else."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from indexer.core.errors import BadDataError
from indexer.core.progress import OnProgress
from indexer.feeds.text_encoding import looks_chinese

MOST_FILES = 200_000
# Bytes from which the whole must have a plausible ratio to the archive, and that ratio.
_FREE_BYTES = 256 << 20
_MOST_RATIO = 200
# Bytes of a name between slashes, as file systems have it.
_MOST_NAME = 255
# Of a whole path; systems take 4096, with the folder that it is unpacked to.
_MOST_PATH = 2048
_CHUNK = 1 << 20
_UTF8 = 0x800


@dataclass(frozen=True)
class _Entry:
    """A file of an archive, and its path as parts are named here."""

    info: zipfile.ZipInfo
    name: str


def check_archive(path: Path, *, most_bytes: int) -> int:
    """How many files a zip holds, after its directory was checked. Raises ``BadDataError`` naming
    the entry.

    Refused: names that lead out of the folder (absolute, ``..``, a drive), links and devices,
    encrypted entries, the same name twice, too many files, more than ``most_bytes`` as the
    directory declares them, and far more than the archive itself has.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return len(_files(archive, path, most_bytes))
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        raise BadDataError(f"the archive is no readable zip file: {error}") from error


def unpack(
    path: Path,
    folder: Path,
    *,
    most_bytes: int,
    progress: OnProgress | None = None,
) -> int:
    """Unpack a checked zip below ``folder``, which must not exist; how many files. Raises
    ``BadDataError``.

    Bytes are counted as they come out, so an archive that lies about its sizes stops at the limit.
    """
    folder.mkdir(parents=True)
    left = most_bytes
    try:
        with zipfile.ZipFile(path) as archive:
            files = _files(archive, path, most_bytes)
            _check_space(folder, files)
            for number, entry in enumerate(files):
                target = folder / entry.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry.info) as source, target.open("xb") as out:
                    while chunk := source.read(min(_CHUNK, left + 1)):
                        left -= len(chunk)
                        if left < 0:
                            raise BadDataError(
                                f"the archive unpacks to more than the {most_bytes} bytes allowed"
                            )
                        out.write(chunk)
                if progress is not None:
                    progress(number + 1, len(files))
    except (
        zipfile.BadZipFile,
        zlib.error,
        NotImplementedError,
        EOFError,
        FileExistsError,
        NotADirectoryError,
    ) as error:
        raise BadDataError(f"the archive is damaged: {error}") from error
    return len(files)


def _check_space(folder: Path, files: list[_Entry]) -> None:
    total = sum(entry.info.file_size for entry in files)
    free = shutil.disk_usage(folder).free
    if total > free:
        raise BadDataError(f"the archive unpacks to {total} bytes; {folder} has room for {free}")


def _files(archive: zipfile.ZipFile, path: Path, most_bytes: int) -> list[_Entry]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MOST_FILES:
        raise BadDataError(f"the archive holds {len(infos)} files, more than {MOST_FILES}")
    entries = [entry for entry in _named(infos) if not entry.name.endswith("/")]
    if not entries:
        raise BadDataError("the archive is empty")
    seen: set[str] = set()
    for entry in entries:
        _check(entry)
        if entry.name in seen:
            raise BadDataError(f"archive entry {entry.name[:200]!a} stands in it twice")
        seen.add(entry.name)
    total = sum(entry.info.file_size for entry in entries)
    if total > most_bytes:
        raise BadDataError(
            f"the archive unpacks to {total} bytes, more than the {most_bytes} allowed"
        )
    if total > max(_FREE_BYTES, _MOST_RATIO * os.path.getsize(path)):
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
    if name.startswith("/") or "\0" in entry.info.orig_filename or ".." in parts or not parts:
        raise BadDataError(
            f"archive entry {entry.info.orig_filename[:200]!a} leads out of the archive's folder"
        )
    if ":" in parts[0]:
        raise BadDataError(f"archive entry {name[:200]!a} names a drive")
    lengths = [len(os.fsencode(part)) for part in parts]
    if max(lengths) > _MOST_NAME or sum(lengths) + len(lengths) > _MOST_PATH:
        raise BadDataError(f"archive entry {name[:200]!a} has too long a name")
    kind = stat.S_IFMT(entry.info.external_attr >> 16)
    if kind and not stat.S_ISREG(kind):
        raise BadDataError(f"archive entry {name[:200]!a} is no plain file (links are refused)")
    if entry.info.flag_bits & 1:
        raise BadDataError(f"archive entry {name[:200]!a} is encrypted")


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
