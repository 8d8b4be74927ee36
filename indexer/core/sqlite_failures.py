"""Failures of SQLite as Catalens errors that name the file and what to do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from indexer.core.atomic_files import foreign_failure, has_room, read_only_failure
from indexer.core.errors import (
    BadHomeError,
    BusyError,
    CatalensError,
    DamagedFileError,
    DiskFullError,
    ReadOnlyError,
    ReplacedFileError,
    StorageError,
)
from indexer.core.sqlite_library import library, may_write, old_library_message

# Primary result codes (https://sqlite.org/rescode.html), by number: one library has names for
# them, extended codes and classes that another has not.
_BUSY = 5
_LOCKED = 6
_READONLY = 8
_IO_FAILED = 10
_CORRUPT = 11
_FULL = 13
_CANNOT_OPEN = 14
_NOT_A_DATABASE = 26
# To read, SQLite makes a small file beside a database that no process has open.
_ROOM_TO_READ = 256 * 1024


@dataclass(frozen=True)
class FileInUse:
    """What of a file decides how its failures are told.

    ``remedy``: what makes it again, of a derived one; "" of one that is the truth. ``is_served``:
    it was sound when a service opened it. ``in_memory``: there is no such file.
    """

    path: Path
    noun: str
    remedy: str
    waited_s: int
    is_served: bool = False
    in_memory: bool = False

    def failure(self, error: library.DatabaseError) -> CatalensError:
        """What SQLite says."""
        code = code_of(error)
        is_damaged = code in (_CORRUPT, _NOT_A_DATABASE)
        if self.is_served and is_overwritten(error):
            return overwritten(self.path, f"cannot be read any more ({error})")
        if is_damaged and self.remedy:
            return DamagedFileError(f"{self.path} is damaged: {error}; {self.remedy}")
        if is_damaged or not isinstance(error, library.OperationalError):
            if self.remedy:
                return StorageError(f"{self.path} is damaged: {error}; {self.remedy}")
            return BadHomeError(f"{self.path} is damaged or no {self.noun}: {error}")
        if code in (_BUSY, _LOCKED):
            return BusyError(
                f"{self.path} stayed locked by another process for {self.waited_s} s: try again"
            )
        if code == _READONLY:
            return read_only_error(self.path)
        if code == _FULL:
            return DiskFullError(f"{self.path}: {error} (catalens index gc makes room first)")
        if code in (_IO_FAILED, _CANNOT_OPEN) and not self.in_memory:
            if not has_room(self.path.parent, _ROOM_TO_READ):
                return DiskFullError(
                    f"{self.path}: its disk is full, and SQLite needs a little room even to read: "
                    f"make room, first by catalens index gc ({error})"
                )
            if self.path.exists() and not os.access(self.path, os.R_OK):
                return foreign_failure(self.path)
        return StorageError(f"{self.path}: {error}")

    def no_text(self) -> CatalensError:
        """SQLite's message quotes a damaged schema, and the library cannot read it."""
        if self.is_served:
            return overwritten(self.path, "has a schema that is no text")
        said = f"{self.path} is damaged: its schema is no text; {self.remedy}"
        return DamagedFileError(said) if self.remedy else BadHomeError(said)


def code_of(error: Exception) -> int:
    """The primary code of an extended one; 0 where the library raised it without asking SQLite."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_overwritten(error: library.DatabaseError) -> bool:
    """Whether this is said of what was sound before: pages that are none, or of another file."""
    return code_of(error) in (_CORRUPT, _NOT_A_DATABASE) or "no such table" in str(error)


def is_locked(error: library.DatabaseError) -> bool:
    """Whether another connection has the file for the moment."""
    return code_of(error) in (_BUSY, _LOCKED)


def overwritten(path: Path, what: str) -> ReplacedFileError:
    """The error for a file that is not any more what it was when it was opened."""
    return ReplacedFileError(
        f"{path} {what}: it was overwritten or damaged while it was in use; stop the service, put "
        "the right file back (catalens restore FROM --home NEW), and start it again"
    )


def read_only_error(path: Path) -> ReadOnlyError:
    """The error for a write to a database that cannot be written, or not by this library."""
    if not may_write():
        return ReadOnlyError(f"{path} cannot be written: {old_library_message()}")
    return read_only_failure(path)
