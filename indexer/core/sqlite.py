"""Opening SQLite files, on a read-only disk too."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from indexer.core.atomic_files import storage_failure
from indexer.core.errors import BadHomeError, BusyError, ReadOnlyError


def is_read_only(path: Path) -> bool:
    """Whether a database at ``path`` cannot be written: SQLite needs its file and the folder beside
    it."""
    if path.exists() and not os.access(path, os.W_OK):
        return True
    return not os.access(path.parent, os.W_OK)


def connect(path: Path, **options: Any) -> sqlite3.Connection:
    """A connection to the file at ``path``; where that cannot be written, to its state as it lies
    there.

    A read-only file is taken for one that nobody changes. Raises ``ReadOnlyError`` where writes
    wait in a log beside it that only a writer could fold in.
    """
    if not is_read_only(path):
        return sqlite3.connect(path, **options)
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise ReadOnlyError(
            f"{path} is read-only and has writes in {log.name} that were not folded in: open the "
            "home once where it "
            "can be written (catalens migrate --home HOME), then copy or mount it again"
        )
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, **options)


_BUSY_MS = 30_000
# Of the one connection that writes. SQLite's own 2 MB would send the pages that a large batch
# touches to the disk and back within it, and fold the log into the file during every batch and
# every hundredth single write.
_WRITER_CACHE_KIB, _WRITER_LOG_PAGES = 32 * 1024, 4000


class Connections:
    """Each thread has a connection of its own; all share the one that writes, under a lock, for its
    cache's sake."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._open: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._open_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None  # of whichever thread holds the lock

    def close(self) -> None:
        """Close the connections of all threads; a later call opens a new one."""
        with self._open_lock:
            for _, connection in self._open:
                connection.close()
            self._open.clear()
            self._local = threading.local()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """No write of any process happens inside; reads of this thread see the last commit."""
        with self._write_lock, self._failures():
            own = getattr(self._local, "connection", None)
            if self._writer is None:
                self._writer = self._connect()
                self._writer.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
                self._writer.execute(f"PRAGMA wal_autocheckpoint = {_WRITER_LOG_PAGES}")
            self._local.connection = self._writer
            try:
                with self._transaction("IMMEDIATE"):
                    yield
            finally:
                self._local.connection = own

    def checkpoint(self) -> None:
        """Fold the write-ahead log into the file and empty it, so that erased text
        is in neither."""
        with self._failures():
            self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            with self._open_lock:
                for thread, old in self._open:
                    if not thread.is_alive():
                        old.close()
                self._open = [(thread, old) for thread, old in self._open if thread.is_alive()]
                self._open.append((threading.current_thread(), connection))
            self._local.connection = connection
        return connection

    def _connect(self) -> sqlite3.Connection:
        # Closed by another thread in close(), and one writes for all threads, hence
        # check_same_thread.
        connection = connect(
            self.path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        return connection

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[sqlite3.Connection]:
        connection = self._connection()
        connection.execute(f"BEGIN {kind}")
        try:
            yield connection
            if connection.in_transaction:  # not given up by a dry run
                connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # a full disk may have ended it already
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """One consistent snapshot; inside ``exclusive`` of the same thread, that transaction's."""
        with self._failures():
            connection = self._connection()
            if connection.in_transaction:
                yield connection
            else:
                with self._transaction("DEFERRED"):
                    yield connection

    @contextmanager
    def _glance(self) -> Iterator[sqlite3.Connection]:
        """For what needs no more than each statement's own snapshot."""
        with self._failures():
            yield self._connection()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                raise BusyError(
                    f"{self.path} stayed locked by another process for {_BUSY_MS // 1000} s"
                ) from error
            raise storage_failure(self.path, error) from error
        except sqlite3.DatabaseError as error:
            raise BadHomeError(f"{self.path} is damaged or no catalog: {error}") from error
