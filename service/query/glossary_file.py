"""The home's glossary as its file stands, which people edit while it is asked."""

from __future__ import annotations

import threading
import time

import structlog

from indexer.core.atomic_files import file_stamp
from indexer.core.errors import BadDataError
from indexer.core.home import Home
from indexer.text.glossary import Glossary, glossary_file, open_glossary, shipped

# A file that was wrong is read again after this long, though it looks the same: it may be that
# only who may read it has changed.
_RETRY_S = 30.0

log = structlog.get_logger(__name__)


class GlossaryFile:
    """Reads it anew when it has changed. A wrong one changes nothing: the last good one stays, at
    first the shipped one, and the log says why. Safe to call from many threads."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._glossary = Glossary(shipped())
        self._read = False
        self._stamp: tuple[int, int, int] | None = None
        self._reason = ""
        self._retry_at = 0.0
        self._lock = threading.Lock()

    def current(self) -> Glossary:
        """The last good glossary. One thread reads the file, others do not wait for it."""
        if self._lock.acquire(blocking=not self._read):
            try:
                self._follow()
            finally:
                self._lock.release()
        return self._glossary

    def _follow(self) -> None:
        stamp = file_stamp(glossary_file(self._home))
        is_known = self._read and stamp == self._stamp
        if is_known and (not self._reason or time.monotonic() < self._retry_at):
            return
        reason = ""
        try:
            self._glossary = open_glossary(self._home)
        except BadDataError as error:
            reason = str(error)
            self._retry_at = time.monotonic() + _RETRY_S
            if (stamp, reason) != (self._stamp, self._reason):
                log.warning("bad-glossary", reason=reason, asked="the last good one")
        self._stamp, self._reason, self._read = stamp, reason, True
