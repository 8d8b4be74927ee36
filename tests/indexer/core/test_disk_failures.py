"""A full disk is told as one, whoever says it and however."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from indexer.core.disk_failures import disk_failure, is_disk_full
from indexer.core.errors import BadDataError, DiskFullError, ReadOnlyError, StorageError

FULL = Path("/dev/full")


@pytest.mark.parametrize(
    "error",
    [
        DiskFullError("x"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("write error in x.index: 0 != 8 (No space left on device)"),
        ValueError("I/O error: Disk quota exceeded (os error 122)"),
    ],
)
def test_a_full_disk_is_known_by_its_words(error: Exception) -> None:
    """Also where something else was raised from it; the failure names what was written and the way
    out."""
    outer = StorageError("cannot be written")
    outer.__cause__ = error
    assert is_disk_full(error)
    assert is_disk_full(outer)
    if not isinstance(error, DiskFullError):
        failure = disk_failure(error, Path("/home/x"))
        assert isinstance(failure, DiskFullError)
        assert str(failure).startswith("/home/x: no space left on the disk: make room, first by")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        BadDataError("a product called 'No space left on device'"),
        ValueError("error 28"),
        MemoryError(),
    ],
)
def test_other_failures_are_none_of_the_disk_s_room(error: Exception) -> None:
    """What a feed says, or a disk that fails, is not mended by room."""
    assert not is_disk_full(error)
    assert disk_failure(error, Path("x")) is None


def test_a_read_only_disk_is_no_full_one() -> None:
    """It is said by the name of the file that the system names."""
    failure = disk_failure(OSError(errno.EROFS, "Read-only file system", "a/b"), Path("x"))
    assert isinstance(failure, ReadOnlyError)
    assert "a/b" in str(failure)


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
def test_libraries_of_today_are_understood(tmp_path: Path) -> None:
    """What numpy and faiss say of a real full device."""
    import faiss

    def write_numbers() -> None:
        with FULL.open("wb") as stream:
            np.save(stream, np.zeros(1 << 20))

    def write_index() -> None:
        index = faiss.IndexFlatIP(8)
        index.add(np.zeros((1 << 16, 8), np.float32))
        faiss.write_index(index, str(FULL))

    for write in (write_numbers, write_index):
        with pytest.raises((OSError, RuntimeError)) as raised:
            write()
        assert is_disk_full(raised.value), raised.value
