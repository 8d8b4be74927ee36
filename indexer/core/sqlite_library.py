"""The one SQLite library of this process, and whether its version may write.

Versions 3.7.0 to 3.51.2 can corrupt a database in WAL mode when two connections write or fold the
log at the same moment (https://sqlite.org/wal.html#walresetbug), which several processes of one
home do. A process loads one library only: closing a file in one of two drops the POSIX locks that
the other holds on it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.core.errors import ReadOnlyError

if TYPE_CHECKING:
    import sqlite3 as library
else:
    try:
        from pysqlite3 import dbapi2 as library
    except ImportError:
        import sqlite3 as library

# Set by whoever accepts the risk; processes that this one starts inherit it.
ALLOW_OLD = "CATALENS_ALLOW_OLD_SQLITE"
_FIRST_WITH_WAL = (3, 7, 0)
_MENDED = (3, 51, 3)
# The patch release of an older line that holds the same correction.
_MENDED_LINES = {(3, 50): 7, (3, 44): 6}


@dataclass(frozen=True)
class SQLiteLibrary:
    """Its Python module, its version, and whether that is without the fault."""

    module: str
    version: str
    sound: bool

    def __str__(self) -> str:
        return f"{self.version} ({self.module})"


def is_sound(version: tuple[int, int, int]) -> bool:
    """Whether a version of SQLite, as three numbers, is without the fault of the log's reset."""
    if version < _FIRST_WITH_WAL or version >= _MENDED:
        return True
    patch = _MENDED_LINES.get((version[0], version[1]))
    return patch is not None and version[2] >= patch


LIBRARY = SQLiteLibrary(
    library.__name__.partition(".")[0],
    library.sqlite_version,
    is_sound(library.sqlite_version_info),
)


def allow_old_sqlite() -> None:
    """Let this process, and those that it starts, write with an unsound version."""
    os.environ[ALLOW_OLD] = "true"


def may_write() -> bool:
    """Whether databases may be written: the version is sound, or its risk was accepted."""
    return LIBRARY.sound or os.environ.get(ALLOW_OLD, "").lower() in ("1", "true", "yes")


def old_library_message() -> str:
    """Why homes are opened for reading only, and what changes that."""
    return (
        f"SQLite {LIBRARY} can corrupt a database that several processes write: homes are opened "
        "for reading only. Install pysqlite3 0.6.1 or newer where there is a wheel of it (pip "
        "install pysqlite3), or use a Python with SQLite 3.51.3 or newer; or accept the risk with "
        f"the setting allow_old_sqlite ({ALLOW_OLD}=true)"
    )


def require_sound(path: object) -> None:
    """Raise ``ReadOnlyError`` that names ``path`` where databases may not be written."""
    if not may_write():
        raise ReadOnlyError(f"{path} cannot be written: {old_library_message()}")
