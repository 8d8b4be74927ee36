"""SQLite files written anew, or copied, in bounded memory while others use them."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import Timeout

from indexer.core.atomic_files import fsync_path
from indexer.core.errors import BusyError, DiskFullError
from indexer.core.file_owner import give_open, lock_file
from indexer.core.sqlite_library import library

# Pages that are copied between two looks at what the copy depends on.
_STEP = 1024
# A writer of another process gets in between the copy made under the lock and its way back only
# by a chance of microseconds.
_TRIES = 10
_SPARE_BYTES = 16 * 2**20
# Primary result codes.
_BUSY = 5
_LOCKED = 6


class _ChangedMeanwhileError(Exception):
    """Another process wrote to the file after its copy was made."""


def aside_of(path: Path) -> Path:
    """Where the new form of the file at ``path`` is put together; nothing of it stays there."""
    return path.with_name(f".{path.name}.rewrite")


def rewrite(path: Path, connect: Callable[[], library.Connection], *, wait_s: float) -> None:
    """Write a database in WAL mode anew, so that no byte of what was deleted stays in it.

    Like VACUUM, which holds a copy of the whole in memory where the library keeps temporary data
    there: ``VACUUM INTO`` a file beside it, copied back in one transaction that is refused where
    somebody wrote meanwhile. Readers see the state before or after; a kill leaves the state before.
    ``connect`` opens a connection to ``path``. Raises ``BusyError``, ``DiskFullError``, and what
    the library raises.
    """
    aside = aside_of(path)
    with _alone(path, wait_s), closing(connect()) as source, closing(connect()) as target:
        try:
            for number in range(_TRIES):
                _remove(aside)
                _require_room(path, source)
                with _writers_out(target) if number else _nobody_out():
                    seen = _data_version(source)
                    source.execute("VACUUM INTO ?", (str(aside),))
                try:
                    _copy_back(aside, source, target, seen, wait_s)
                except _ChangedMeanwhileError:
                    continue
                return
        finally:
            _remove(aside)
    raise BusyError(f"{path} is being written all the time: it cannot be written anew; try again")


def copy_database(source: library.Connection, path: Path) -> None:
    """Copy the state of a database, its log included, to the new file ``path``, and flush it.

    One snapshot, while others write (https://sqlite.org/backup.html). Pages are never held
    together. Raises ``FileExistsError``, and what the library raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        give_open(handle, path.parent)
    finally:
        os.close(handle)
    with closing(library.connect(path, isolation_level=None)) as target:
        # The file is nobody's yet: a copy that ends early is thrown away.
        target.execute("PRAGMA journal_mode = OFF")
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target)
    fsync_path(path)


@contextmanager
def _alone(path: Path, wait_s: float) -> Iterator[None]:
    """Of all processes, the only one that writes this file anew."""
    try:
        with lock_file(path.with_name(f".{path.name}.rewrite.lock"), timeout=wait_s):
            yield
    except Timeout as error:
        raise BusyError(f"{path} is being written anew by another process: try again") from error


@contextmanager
def _writers_out(connection: library.Connection) -> Iterator[None]:
    """No other connection writes the file."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


@contextmanager
def _nobody_out() -> Iterator[None]:
    """Others write; whether they did shows before the copy goes back."""
    yield


def _copy_back(
    aside: Path, source: library.Connection, target: library.Connection, seen: int, wait_s: float
) -> None:
    """Replace the target's content by that of ``aside``, unless it is not the state ``seen``.

    The first step takes the write lock, which is kept to the end, and the last one commits: one
    look between them is enough. Raises ``_ChangedMeanwhileError``, ``BusyError``; the target is
    then as it was.
    """
    until = time.monotonic() + wait_s
    looked = False

    def look(status: int, remaining: int, total: int) -> None:
        nonlocal looked
        if status in (_BUSY, _LOCKED):
            if time.monotonic() > until:
                raise BusyError(f"{aside.name} cannot be written back yet: try again")
        elif not looked:
            if _data_version(source) != seen:
                raise _ChangedMeanwhileError(f"{aside.name} is of an older state")
            looked = True

    with closing(library.connect(aside, isolation_level=None)) as copy:
        pages = int(copy.execute("PRAGMA page_count").fetchone()[0])
        # A file of one page has no table. One of two takes two steps at least.
        if pages > 1:
            copy.backup(target, pages=min(_STEP, pages - 1), progress=look, sleep=0.05)


def _data_version(connection: library.Connection) -> int:
    """A number that another connection's commit changes (https://sqlite.org/pragma.html)."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def _require_room(path: Path, connection: library.Connection) -> None:
    """Raise ``DiskFullError`` unless the new form fits twice: beside the file, and in its log."""
    used, size, free = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "page_size", "freelist_count")
    )
    needed = 2 * (used - free) * size + _SPARE_BYTES
    there = shutil.disk_usage(path.parent).free
    if there < needed:
        raise DiskFullError(
            f"{path}: writing it anew needs {needed >> 20} MiB beside it, {there >> 20} MiB are "
            "free"
        )


def _remove(aside: Path) -> None:
    for path in (aside, aside.with_name(aside.name + "-journal")):
        path.unlink(missing_ok=True)
