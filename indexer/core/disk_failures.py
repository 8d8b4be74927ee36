"""Failures of the disk by whatever word: the system's, SQLite's, a library's."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from indexer.core.atomic_files import MAKE_ROOM, storage_failure
from indexer.core.errors import CatalensError, DiskFullError, ReadOnlyError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# Libraries in Rust and C++ raise kinds of their own that quote the system; numpy's OSError has no
# number: it counts what was written.
_SAID = re.compile(
    r"No space left on device|[Qq]uota exceeded"
    rf"|\(os error (?:{'|'.join(str(number) for number in _FULL)})\)"
    r"|\d+ requested and \d+ written"
)


def is_disk_full(error: BaseException) -> bool:
    """Whether ``error``, or what it was raised from, says that the disk has no room."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, DiskFullError):
            return True
        if isinstance(seen, OSError) and seen.errno is not None:
            if seen.errno in _FULL:
                return True
        elif not isinstance(seen, CatalensError) and _SAID.search(str(seen)):
            return True
        seen = seen.__cause__
    return False


def disk_failure(error: BaseException, place: Path) -> CatalensError | None:
    """``error`` as ``DiskFullError`` or ``ReadOnlyError`` that says the way out; None where it says
    neither.

    ``place``: what was written, where the error does not name it.
    """
    if isinstance(error, DiskFullError | ReadOnlyError):
        return error
    path = Path(str(getattr(error, "filename", None) or place))
    if is_disk_full(error):
        return DiskFullError(f"{path}: no space left on the disk: {MAKE_ROOM}")
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return storage_failure(path, error)
    return None
