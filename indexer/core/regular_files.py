"""Bounded reading of files, and of JSON in them, that anybody may have put there."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from pathlib import Path
from typing import IO, Any

# Of a manifest, a decision layer, the list of a backup. What is larger was made to take memory.
MOST_BYTES = 64 * 2**20
# Stretches of data between holes that are counted.
_MOST_STRETCHES = 10_000
# Of a whole number in them: as many as fit into a double.
_MOST_DIGITS = 300


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading: a pipe is not waited for, a device has no end.

    Raises ``OSError``.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_small(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file of at most ``most`` bytes.

    Raises ``OSError``, for a larger one too.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        # One that grows meanwhile is read to the same bound.
        data = b"" if size > most else file.read(most + 1)
    if size > most or len(data) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return data


def held_bytes(file: IO[bytes]) -> int:
    """Bytes of a file that its disk holds: without its holes, which cost nothing and read as zeros.

    All of them where the system does not tell. What lies behind very many holes is not counted.
    """
    handle = file.fileno()
    size = os.fstat(handle).st_size
    before = os.lseek(handle, 0, os.SEEK_CUR)
    at, found = 0, 0
    try:
        for _ in range(_MOST_STRETCHES):
            start = os.lseek(handle, at, os.SEEK_DATA)
            at = os.lseek(handle, start, os.SEEK_HOLE)
            found += at - start
        return found
    except OSError as error:
        # There is no more data.
        return found if error.errno == errno.ENXIO else size
    except AttributeError:
        return size
    finally:
        os.lseek(handle, before, os.SEEK_SET)


def parse_json(text: str | bytes) -> Any:
    """The value of a stored document, whose numbers all are ones that can be counted with.

    Raises ``ValueError`` for what is none, is nested too deep to be read, or holds a number that is
    too large: whoever reads it turns numbers into others without asking.
    """
    try:
        return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _whole(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError(f"a number in it has {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} in it is no finite number")
    return value


def read_json(path: Path) -> Any:
    """The value in a file that is read by ``read_small``. Raises ``OSError``, ``ValueError``."""
    return parse_json(read_small(path))
