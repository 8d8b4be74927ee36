"""Files of a SQLite database, looked at from outside."""

from __future__ import annotations

from pathlib import Path

_PAGE = 4096  # bytes


def is_made(path: Path) -> bool:
    """Whether there is a file with content; a process that was killed while it made one, or had no
    room, leaves an empty file or page. What was made last may be in the log alone.

    Never by reading the file: closing it would let go of the locks that SQLite holds in this
    process.
    """
    return path.exists() and path.stat().st_size > _PAGE


def has_log(path: Path) -> bool:
    """Whether writes wait in the log beside the file."""
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0
