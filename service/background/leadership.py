"""Election of the one service of a home that does its background work."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from filelock import FileLock, Timeout

from indexer.core.errors import ReplacedFileError
from indexer.core.file_owner import touch
from indexer.core.home import Home
from indexer.core.sqlite import Database
from service.logging import make_log

_RETRY_S = 1.0  # between attempts of a service that follows


class Leadership:
    """The lock of the home's leader, taken when it is first asked for and free.

    The system frees the lock of a process that dies, so another service of the home takes over
    about a second later. A service that opened its catalog (``database``) on a read-only disk never
    leads, also where that can be written later: it takes no writes either.
    """

    def __init__(self, home: Home, database: Database | None = None, *, log: Any = None) -> None:
        self._home = home
        self._path = home.path / "locks" / "leader.lock"
        self._lock = FileLock(self._path, thread_local=False)
        self._database = database
        self._eligible = database is None or not database.read_only
        self._log = log or make_log()
        self._file: os.stat_result | None = None  # that is locked
        self._reported: set[str] = set()
        self._next = 0.0
        self._mutex = threading.Lock()

    def holds(self) -> bool:
        """Whether this process leads now; any thread may ask, and the first to ask takes the lock
        where it is free."""
        with self._mutex:
            if self._lock.is_locked and self._is_current():
                return True
            if not self._eligible or time.monotonic() < self._next:
                return False
            self._next = time.monotonic() + _RETRY_S
            try:
                return self._acquire()
            except Timeout:
                return False
            except (OSError, NotImplementedError, ReplacedFileError) as error:
                self._report(error)
                return False

    def require_writable(self) -> None:
        """Raise ``ReadOnlyError`` where this service takes no writes."""
        if self._database is not None:
            self._database.require_writable()

    def release(self) -> None:
        """Let another service lead; this one takes the lock no more."""
        with self._mutex:
            self._eligible = False
            self._lock.release()

    def _acquire(self) -> bool:
        """Take the lock; False where its file was replaced meanwhile. Raises ``Timeout`` where
        another service leads, ``OSError`` or ``NotImplementedError`` where nothing can be locked,
        and as ``Home.require``.
        """
        self._home.make_folder(self._path.parent)
        if not self._path.exists():
            touch(self._path)
        before = self._path.stat()
        self._lock.acquire(timeout=0)
        self._file = before
        return self._is_current()

    def _is_current(self) -> bool:
        """Whether the locked file is the one that others would lock; where not, let go of it.

        Who deletes the file of a running service lets another one lock a new file.
        """
        try:
            if self._file is not None and os.path.samestat(self._file, self._path.stat()):
                return True
        except OSError:
            pass  # deleted, or its disk is gone: what cannot be locked again is reported then
        self._lock.release()
        self._file = None
        self._next = 0.0
        self._log.warning(
            "leader lock was deleted or replaced: it is taken again; leave it alone while a "
            "service runs",
            lock=str(self._path),
        )
        return False

    def _report(self, error: Exception) -> None:
        """Log a failure of its kind once: it comes back each second."""
        kind = f"{type(error).__name__} {getattr(error, 'errno', None)}"
        if kind in self._reported:
            return
        self._reported.add(kind)
        self._log.error(
            "leader lock cannot be taken: this service erases and compacts nothing and starts no "
            "jobs; let its user write the lock, on a disk that supports flock",
            lock=str(self._path),
            error=f"{type(error).__name__}: {error}",
        )
