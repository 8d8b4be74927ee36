"""Files below a root that somebody else fills: no link, and no ``..``, leads out of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO


def contained_path(root: Path, path: Path) -> Path | None:
    """``path`` with its links resolved, where it lies below ``root``; None elsewhere."""
    try:
        found = path.resolve(strict=True)
        return found if found.is_relative_to(root.resolve(strict=True)) else None
    except (OSError, RuntimeError, ValueError):
        return None


def open_contained(root: Path, path: Path) -> IO[bytes]:
    """Open a regular file below ``root`` for reading.

    What was looked at is what is opened: each step goes by the handle of the folder before, and a
    link that was put there meanwhile is not followed. Raises ``OSError``.
    """
    found = contained_path(root, path)
    if found is None:
        raise PermissionError(f"{path.name} lies outside the folder that may be read from")
    top = root.resolve()
    folder_flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(top, folder_flags)
    try:
        *folders, name = found.relative_to(top).parts
        for part in folders:
            inner = os.open(part, folder_flags, dir_fd=handle)
            os.close(handle)
            handle = inner
        # A pipe must not be waited for.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = os.open(name, flags, dir_fd=handle)
    finally:
        os.close(handle)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise PermissionError(f"{path.name} is not a regular file")
    return os.fdopen(file, "rb")
