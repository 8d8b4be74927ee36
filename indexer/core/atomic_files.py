"""Atomic file writes: a crash leaves the old state or the new one, never half of one."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from indexer.core.errors import CatalensError, DiskFullError, ReadOnlyError, StorageError

_CHUNK = 1 << 20


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of the file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
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
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return (DiskFullError if full else StorageError)(f"{path}: {error.strerror or error}")


def read_only_failure(path: Path) -> ReadOnlyError:
    """The error for a write to ``path`` that its disk or folder does not allow."""
    return ReadOnlyError(f"{path} is read-only: nothing can be written to this home")


def canonical_json(value: Any) -> bytes:
    """One byte form per value (sorted keys, no spaces), so that it can be hashed."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def fsync_path(path: Path) -> None:
    """Flush a file's or a folder's entry to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: written aside, flushed, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with aside.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def write_json(path: Path, value: Any) -> None:
    """``write_atomic`` of readable JSON."""
    write_atomic(
        path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    )


def publish_folder(aside: Path, final: Path) -> None:
    """Flush every file of ``aside`` and rename it to ``final``, which must not exist; same file
    system."""
    for entry in sorted(aside.rglob("*")):
        fsync_path(entry)
    fsync_path(aside)
    if final.exists():
        raise FileExistsError(final)
    os.rename(aside, final)
    fsync_path(final.parent)


def remove_folder(path: Path) -> None:
    """Delete a folder; renamed aside first so that no reader finds half of it."""
    if not path.exists():
        return
    doomed = path.with_name(f".{path.name}.{os.urandom(4).hex()}.removed")
    os.rename(path, doomed)
    shutil.rmtree(doomed)
