"""Values that were read from files, until those change."""

from __future__ import annotations

from pathlib import Path
from typing import Generic

from indexer.core.atomic_files import file_stamp
from indexer.core.lru import LRUCache, ValueT

# Modification time in ns, inode, size.
FileStamp = tuple[int, int, int]


class StampedCache(Generic[ValueT]):
    """At most ``max_items`` values, of files that have at most ``max_bytes`` together; of each the
    stamp that its file had when it was read. Safe to call from many threads."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self._stamps: LRUCache[Path, FileStamp] = LRUCache(max_items)
        self._values: LRUCache[Path, tuple[FileStamp, ValueT]] = LRUCache(
            max_items, max_weight=max_bytes, weigh=lambda entry: entry[0][2]
        )

    def get(self, path: Path) -> ValueT | None:
        """What was read from the file at ``path``, where that is unchanged and still held."""
        found = self._values.get(path)
        return None if found is None or found[0] != file_stamp(path) else found[1]

    def is_known(self, path: Path) -> bool:
        """Whether the file at ``path`` is unchanged since its value was put, held or not."""
        stamp = self._stamps.get(path)
        return stamp is not None and stamp == file_stamp(path)

    def put(self, path: Path, stamp: FileStamp | None, value: ValueT) -> None:
        """Hold what was read from ``path``; ``stamp`` is of before."""
        if stamp is not None:
            self._stamps.put(path, stamp)
            self._values.put(path, (stamp, value))
