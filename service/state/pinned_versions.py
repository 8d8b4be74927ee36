"""Index versions beside the serving one, opened for requests that name them: a few at a time, kept
up like it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from indexer.core.errors import (
    CatalensError,
    CursorGoneError,
    IndexMismatchError,
    OutdatedVersionError,
    UnknownModelError,
    UnknownVersionError,
)
from indexer.core.home import Home
from indexer.index.version import Versions
from service.query.cursors import Cursor
from service.state.snapshots import Snapshot, SnapshotManager

_LONGEST = 64  # of a version's name


def check_version_name(version: str) -> None:
    """Raise ``UnknownVersionError`` for a name too long for any version: no number and no path can
    be made of it."""
    if len(version) > _LONGEST:
        raise UnknownVersionError(
            f"no index version {version[:_LONGEST]!r}...: its name is too long"
        )


class PinnedVersions:
    """The versions that requests named last; the one longest unused is closed when there are too
    many."""

    def __init__(self, home: Home, serving: SnapshotManager, *, most: int, log: Any) -> None:
        self._versions = Versions(home)
        self._serving, self._most, self._log = serving, most, log
        self._opened: OrderedDict[str, Snapshot] = OrderedDict()
        self._opening = threading.Lock()  # one at a time: each reads a model and an index
        self._changing = threading.Lock()  # of what is opened; held for a moment only

    def get(self, version: str) -> Snapshot:
        """The snapshot that answers for ``version``: model, decision layer and index as one.

        Raises ``UnknownVersionError``, ``DamagedIndexError`` and ``BadModelError`` naming the file,
        ``OutdatedVersionError``, ``NewerFormatError``, ``IndexMismatchError``,
        ``UnknownModelError``.
        """
        check_version_name(version)
        now = self._serving.current
        if now is not None and now.index_version == version:
            return now
        with self._opening:
            manifest = self._versions.manifest(version)
            pair = self._versions.pair_of(manifest)
            found = self._opened.get(version)
            if found is None or found.model_version != pair.model_version:
                found = self._serving.open(pair)
            with self._changing:
                self._opened[version] = found
                self._opened.move_to_end(version)
                while len(self._opened) > self._most:
                    closed, _ = self._opened.popitem(last=False)
                    self._log.info("version closed", index_version=closed)
            return found

    def of_cursor(self, cursor: Cursor) -> str:
        """The version that gave a page and gives the next one, as long as it is kept. Raises
        ``CursorGoneError``."""
        try:
            return self.get(cursor.version).index_version
        except (UnknownVersionError, OutdatedVersionError, UnknownModelError) as error:
            name = cursor.version[:_LONGEST]
            raise CursorGoneError(
                f"cursor is of index version {name}, which is gone: begin again with the first "
                f"page ({error})"
            ) from error

    def refresh(self, catch_up: Callable[[Snapshot], None]) -> None:
        """Lay newer writes over each opened version; one that was removed, or cannot be kept up, is
        closed."""
        with self._changing:
            opened = list(self._opened.items())
        for version, snapshot in opened:
            try:
                if not (self._versions.folder / version).is_dir():
                    raise IndexMismatchError(f"index version {version} was removed")
                catch_up(snapshot)
            except CatalensError as error:
                self._log.warning(
                    "version closed", index_version=version, code=error.code, reason=str(error)
                )
                with self._changing:
                    self._opened.pop(version, None)
