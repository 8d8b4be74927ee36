"""Checking and unpacking of uploaded zip archives, into one folder and nowhere else."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from indexer.core.errors import BadDataError
from indexer.core.progress import OnProgress

MOST_FILES = 200_000
_CHUNK = 1 << 20


def check_archive(path: Path, *, most_bytes: int) -> int:
    """How many files a zip holds, after its directory was checked. Raises ``BadDataError`` naming
    the entry.

    Refused: names that lead out of the folder (absolute, ``..``, a drive, a backslash), links and
    devices, encrypted entries, the same name twice, and more than ``most_bytes`` as the directory
    declares them.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return len(_files(archive, most_bytes))
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
            files = _files(archive, most_bytes)
            for number, info in enumerate(files):
                target = folder / info.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, target.open("xb") as out:
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


def _files(archive: zipfile.ZipFile, most_bytes: int) -> list[zipfile.ZipInfo]:
    files = [info for info in archive.infolist() if not info.is_dir()]
    if not files:
        raise BadDataError("the archive is empty")
    if len(files) > MOST_FILES:
        raise BadDataError(f"the archive holds {len(files)} files, more than {MOST_FILES}")
    seen: set[str] = set()
    for info in files:
        name = info.filename
        parts = PurePosixPath(name).parts
        # The name as it was stored: ZipInfo has cut it at a null byte and made backslashes of some
        # systems slashes.
        if (
            name.startswith("/")
            or "\\" in info.orig_filename
            or "\0" in info.orig_filename
            or ".." in parts
        ):
            raise BadDataError(
                f"archive entry {info.orig_filename[:200]!a} leads out of the archive's folder"
            )
        if ":" in parts[0]:
            raise BadDataError(f"archive entry {name[:200]!a} names a drive")
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind and not stat.S_ISREG(kind):
            raise BadDataError(f"archive entry {name[:200]!a} is no plain file (links are refused)")
        if info.flag_bits & 1:
            raise BadDataError(f"archive entry {name[:200]!a} is encrypted")
        if name in seen:
            raise BadDataError(f"archive entry {name[:200]!a} stands in it twice")
        seen.add(name)
    total = sum(info.file_size for info in files)
    if total > most_bytes:
        raise BadDataError(
            f"the archive unpacks to {total} bytes, more than the {most_bytes} allowed"
        )
    return files
