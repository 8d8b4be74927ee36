"""LRU of pinned index versions: those opened for requests that name them."""

from __future__ import annotations

from typing import Any

from indexer.core.errors import CatalensError, IndexMismatchError, UnknownVersionError
from indexer.core.home import Active, Home
from indexer.core.lru import LRUCache
from indexer.index.version import Versions
from service.state.snapshot import Snapshot

_LONGEST_NAME = 64


def check_version_name(version: str) -> None:
    """Raise ``UnknownVersionError`` for a name too long for any version: no number and no path can
    be made of it."""
    if len(version) > _LONGEST_NAME:
        raise UnknownVersionError(
            f"no index version {version[:_LONGEST_NAME]!r}...: its name is too long"
        )


class PinnedVersions:
    """Snapshots by version; the one longest unused is closed when there are too many."""

    def __init__(self, home: Home, *, capacity: int, log: Any) -> None:
        self._versions = Versions(home)
        self._log = log
        self._opened: LRUCache[str, Snapshot] = LRUCache(capacity)

    def names(self) -> list[str]:
        """The versions that are open, the longest unused first."""
        return [version for version, _ in self._opened.items()]

    def pair_of(self, version: str) -> Active:
        """The version with its model. Raises ``UnknownVersionError``, ``UnknownModelError``."""
        check_version_name(version)
        return self._versions.pair_of(self._versions.manifest(version))

    def find(self, pair: Active) -> Snapshot | None:
        """The open snapshot of a version and its model, if there is one."""
        found = self._opened.get(pair.index_version)
        return found if found and found.model_version == pair.model_version else None

    def add(self, snapshot: Snapshot) -> None:
        """Keep a snapshot open; log what is closed for it."""
        for closed, _ in self._opened.put(snapshot.index_version, snapshot):
            self._log.info("version closed", index_version=closed)

    def snapshots(self) -> list[Snapshot]:
        """Those that are open and still published; a version that was removed is closed."""
        kept = []
        for version, snapshot in self._opened.items():
            if (self._versions.folder / version).is_dir():
                kept.append(snapshot)
            else:
                self.close(version, IndexMismatchError(f"index version {version} was removed"))
        return kept

    def close(self, version: str, reason: CatalensError) -> None:
        """Close a version that cannot be served any more, and log why."""
        self._opened.pop(version)
        self._log.warning(
            "version closed", index_version=version, code=reason.code, reason=str(reason)
        )
