"""Atomic file writes: a crash leaves the old state or the new one, never half of one."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from indexer.core.errors import CatalensError, DiskFullError, ReadOnlyError, StorageError
from indexer.core.file_owner import give, give_open, give_tree, make_owned
from indexer.core.regular_files import open_regular, read_json, read_small

if sys.platform != "win32":
    import fcntl

_CHUNK = 1 << 20
# Before the checksum of the lines above it.
_LINE_SEAL = "sha256:"
MAKE_ROOM = "make room, first by catalens index gc"
# Of folders that hold a whole home: nobody but their owner may look into them.
PRIVATE_MODE = 0o700


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of the bytes of a regular file. Raises ``OSError``."""
    with open_regular(path) as stream:
        return sha256_stream(stream)


def sha256_stream(stream: IO[bytes]) -> str:
    """Hex SHA-256 of what is left of an open file."""
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def file_stamp(path: Path) -> tuple[int, int, int] | None:
    """(modification time in ns, inode, size): equal stamps mean an unchanged file; None where there
    is none.

    A file replaced within one tick of the clock has another inode, so no part is enough alone.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size)


def storage_failure(path: Path, error: OSError) -> CatalensError:
    """What the system says about ``path`` as ``DiskFullError``, ``ReadOnlyError`` or
    ``StorageError`` that names it."""
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return read_only_failure(path)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(f"{path}: no space left on the disk: {MAKE_ROOM}")
    return StorageError(f"{path}: {error.strerror or error}")


def has_room(folder: Path, size: int) -> bool:
    """Whether the disk of ``folder`` takes one more file of ``size`` bytes; also where it does not
    say."""
    try:
        disk = os.statvfs(folder)
    except (OSError, AttributeError):
        return True
    # Some file systems have no number of files, and say 0 of 0.
    return disk.f_bavail * disk.f_frsize >= size and (disk.f_favail > 0 or not disk.f_files)


def read_only_failure(path: Path) -> ReadOnlyError:
    """The error for a write to ``path`` that its disk or folder does not allow."""
    return ReadOnlyError(f"{path} is read-only: nothing can be written to this home")


def foreign_failure(path: Path) -> ReadOnlyError:
    """The error for a file that this user may not read."""
    return ReadOnlyError(
        f"{path} may not be read by this user: run commands as the user whose home it is, and give "
        "the file back to that user (chown)"
    )


def canonical_json(value: Any) -> bytes:
    """One byte form per value (sorted keys, no spaces), so that it can be hashed."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode("utf-8", "backslashreplace")


def fsync_path(path: Path) -> None:
    """Flush a file's or a folder's entry to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, *, below: Path | None = None) -> None:
    """``mkdir -p`` whose new entries survive a power cut. ``below``: the folder that is not made
    where it is gone; then ``FileNotFoundError``."""
    missing = []
    while folder != below and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        make_owned(new)
        fsync_path(new.parent)


def private_mode(folder: Path) -> int:
    """The mode of a file in ``folder`` that holds secrets or says something of people: its owner's
    alone, whatever the process's mask; its group's as far as the folder is open to that on purpose,
    for writing or to nobody else."""
    mode = folder.stat().st_mode
    if mode & 0o020:
        return 0o660
    return 0o600 if mode & 0o007 else 0o600 | mode & 0o040


def close_file(path: Path) -> None:
    """Take from others what ``private_mode`` does not give them, of a file that releases before
    left open to them; nothing where it is not ours."""
    with suppress(OSError):
        found = path.stat(follow_symlinks=False)
        mode = stat.S_IMODE(found.st_mode)
        allowed = mode & private_mode(path.parent)
        if allowed != mode and stat.S_ISREG(found.st_mode):
            path.chmod(allowed)


@contextmanager
def written_aside(path: Path, *, flush: bool = True, private: bool = False) -> Iterator[Path]:
    """A file to write beside ``path``, which it replaces when the block ends well; else it goes.

    Locked while it is written, so that ``is_claimed`` tells it from what a killed process left.
    ``flush``: it survives a power cut. ``private``: of ``private_mode``.
    """
    mode = private_mode(path.parent) if private else 0o666
    aside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
    try:
        give_open(handle, path.parent)
        _claim(handle)
        yield aside
        replace_file(aside, path, flush=flush)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = str(path)  # a write that finds no room names no file
        raise
    finally:
        os.close(handle)


@contextmanager
def folder_aside(path: Path, mode: int = 0o777) -> Iterator[Path]:
    """An empty folder beside ``path``, to be published or emptied in the block; gone after it.

    The folder of both must be there. Locked meanwhile, as a file that is ``written_aside``.
    ``mode``: who may read it, less what the process's mask takes away.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    aside.mkdir(mode)
    handle = os.open(aside, os.O_RDONLY)
    try:
        give_open(handle, path.parent)
        _claim(handle)
        yield aside
    finally:
        os.close(handle)
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def claimed_aside(path: Path, data: bytes) -> Iterator[Path]:
    """A file beside ``path`` that looks half-written, with ``data`` in it, and locked in the block;
    whoever made it removes it. The folder must be there.

    The data is flushed; the name in the folder is with whatever is flushed in the block.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    handle = os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, private_mode(path.parent))
    try:
        try:
            give_open(handle, path.parent)
            _claim(handle)
            aside.write_bytes(data)
            fsync_path(aside)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        yield aside
    finally:
        os.close(handle)


def remove_asides(path: Path) -> None:
    """Delete what killed processes left of files ``written_aside`` and folders aside of ``path``;
    what is being written stays, and what this user may not delete."""
    for aside in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        if not is_claimed(aside):
            with suppress(OSError):
                remove_entry(aside)


def remove_entry(path: Path) -> None:
    """Delete a file, a link, or a folder with all that lies in it; nothing where it is gone. Raises
    ``OSError``."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def is_claimed(path: Path) -> bool:
    """Whether a process of any container is writing this file or folder aside right now."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        if sys.platform != "win32":
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(handle)
    return False


def _claim(handle: int) -> None:
    # A system without locks: the number of the process in the name must do.
    if sys.platform != "win32":
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)


def replace_file(aside: Path, path: Path, *, flush: bool = True) -> None:
    """Rename the file ``aside`` to ``path``, whatever stood there; flushed before and after."""
    give(aside, path.parent)
    if flush:
        fsync_path(aside)
    os.replace(aside, path)
    if flush:
        fsync_path(path.parent)


def move_file(path: Path, target: Path) -> None:
    """``replace_file``, also to another disk: copied beside ``target`` first."""
    try:
        replace_file(path, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with written_aside(target) as aside:
            shutil.copy2(path, aside)
        path.unlink()


def write_atomic(path: Path, data: bytes, *, private: bool = False) -> None:
    """Replace ``path`` by ``data``: written aside, flushed, renamed. Its folder must be there."""
    with written_aside(path, private=private) as aside, aside.open("wb") as stream:
        stream.write(data)


@contextmanager
def prepared_file(path: Path, data: bytes, *, private: bool = False) -> Iterator[None]:
    """``write_atomic`` in two steps: all is written and flushed beside ``path`` before the block,
    and takes its place when the block ends well."""
    with written_aside(path, private=private) as aside:
        aside.write_bytes(data)
        fsync_path(aside)
        yield


def write_json(path: Path, value: Any, *, private: bool = False) -> None:
    """``write_atomic`` of readable JSON. A path that is no UTF-8 is in it as JSON's escapes, which
    give the same path again."""
    write_atomic(path, _readable_json(value), private=private)


def _readable_json(value: Any) -> bytes:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def write_sealed_json(path: Path, value: dict[str, Any], *, private: bool = False) -> None:
    """``write_json`` with a checksum under "seal": one changed byte must not be another answer."""
    write_atomic(path, sealed_json(value), private=private)


def sealed_json(value: dict[str, Any]) -> bytes:
    """The file that ``write_sealed_json`` writes."""
    return _readable_json({**value, "seal": seal_of(value)})


def read_sealed_json(path: Path) -> dict[str, Any]:
    """What ``write_sealed_json`` wrote, or ``write_json`` before there were seals.

    Raises ``OSError``, ``ValueError`` for a damaged file.
    """
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise ValueError("it holds no object")
    seal = stored.pop("seal", None)
    if seal is not None and seal != seal_of(stored):
        raise ValueError("it does not match its checksum")
    return stored


def write_sealed_texts(path: Path, texts: Sequence[str]) -> None:
    """``write_json`` of a list of texts with its checksum behind them, in a form that releases
    before there were any pass over."""
    write_json(path, [*texts, {"seal": seal_of(list(texts))}])


def read_sealed_texts(path: Path) -> list[str]:
    """What ``write_sealed_texts`` wrote, or ``write_json`` before there were seals.

    Raises ``OSError``, ``ValueError`` for a damaged file.
    """
    stored = read_json(path)
    if not isinstance(stored, list):
        raise ValueError("it holds no list")
    seal = stored.pop() if stored and isinstance(stored[-1], dict) else None
    if not all(isinstance(text, str) for text in stored):
        raise ValueError("it holds something else than texts")
    if seal is not None and seal.get("seal") != seal_of(stored):
        raise ValueError("it does not match its checksum")
    return stored


def write_sealed_lines(path: Path, lines: Sequence[str], *, private: bool = False) -> None:
    """``write_atomic`` of lines of ASCII letters and digits, with a checksum as the last one."""
    write_atomic(path, sealed_lines(lines), private=private)


def sealed_lines(lines: Sequence[str]) -> bytes:
    """The file that ``write_sealed_lines`` writes."""
    return ("\n".join([*lines, _line_seal(lines)]) + "\n").encode("ascii")


def read_sealed_lines(path: Path) -> list[str]:
    """What ``write_sealed_lines`` wrote, or a file of lines from before there were seals.

    Raises ``OSError``, ``ValueError`` for a damaged file.
    """
    lines = read_small(path).decode("ascii").split()
    if lines and lines[-1].startswith(_LINE_SEAL) and lines.pop() != _line_seal(lines):
        raise ValueError("it does not match its checksum")
    if not lines:
        raise ValueError("it holds nothing")
    if not all(map(str.isalnum, lines)):
        # A checksum whose name was changed, for one.
        raise ValueError("it holds something else than letters and digits")
    return lines


def _line_seal(lines: Sequence[str]) -> str:
    return _LINE_SEAL + hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def seal_of(value: Any) -> str:
    """The checksum of a value that is stored as JSON."""
    # As it is read again: tuples are lists, keys are text.
    return hashlib.sha256(canonical_json(json.loads(json.dumps(value)))).hexdigest()[:16]


def publish_folder(aside: Path, final: Path) -> None:
    """Flush every file of ``aside`` and rename it to ``final``, which must not exist; same file
    system."""
    if final.exists():
        raise FileExistsError(final)
    give_tree(aside, final.parent)
    for entry in sorted(aside.rglob("*")):
        fsync_path(entry)
    fsync_path(aside)
    if final.exists():
        raise FileExistsError(final)
    os.rename(aside, final)
    fsync_path(final.parent)


def publish_into(aside: Path, final: Path, last: tuple[str, ...]) -> None:
    """Flush every file of ``aside`` and move what it holds into the empty folder ``final``, which
    cannot be replaced: a mount point, say. What ``last`` names comes last, in that order."""
    for entry in aside.iterdir():
        give_tree(entry, final)
    for entry in sorted(aside.rglob("*")):
        fsync_path(entry)
    rest = sorted(entry.name for entry in aside.iterdir() if entry.name not in last)
    for name in (*rest, *last):
        if name in last:
            fsync_path(final)
        if (aside / name).exists():
            os.rename(aside / name, final / name)
    fsync_path(final)


def replace_folder(aside: Path, final: Path) -> None:
    """``publish_folder`` in the place of a folder that goes, if one is there.

    A crash between leaves neither; whoever made ``aside`` can make it again.
    """
    remove_folder(final)
    publish_folder(aside, final)


def remove_folder(path: Path) -> None:
    """Delete a folder; renamed aside first so that no reader finds half of it. Raises ``OSError``,
    for a link before anything is renamed: what it leads to would stay."""
    if path.is_symlink():
        raise NotADirectoryError(errno.ENOTDIR, "it is a link: what it leads to stays", str(path))
    if not path.exists():
        return
    doomed = path.with_name(f".{path.name}.{os.urandom(4).hex()}.removed")
    os.rename(path, doomed)
    shutil.rmtree(doomed)
