"""Files of a SQLite database, looked at from outside."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from indexer.core.sqlite_library import library

_PAGE = 4096  # bytes
_NOT_A_DATABASE = 26  # SQLite's primary code


def address_of(path: Path, mode: str) -> str:
    """The address by which SQLite opens the file at ``path`` ("rw", "ro"), of whatever bytes its
    name is, and makes none where there is none (https://sqlite.org/uri.html)."""
    return f"file://{quote(os.fsencode(path.absolute()))}?mode={mode}"


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


def has_header(path: Path) -> bool:
    """Whether the file itself, without its log, begins as a database does.

    By SQLite and not by reading, for the locks' sake, as ``is_made`` says.
    """
    try:
        with closing(library.connect(address_of(path, "ro&immutable=1"), uri=True)) as sql:
            sql.execute("PRAGMA user_version").fetchone()
    except library.DatabaseError as error:
        # Any other failure may be of a log that is being folded in.
        return getattr(error, "sqlite_errorcode", 0) & 0xFF != _NOT_A_DATABASE
    return True
