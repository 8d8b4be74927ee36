"""Product ids of rows that name none: the path of their photo."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

_SCHEME = re.compile(r"https?://", re.IGNORECASE)


class PhotoIds:
    """Paths of photos, noted one by one, and then the ids they give.

    An id is the path without its extension; those that would be the same keep it. Only numbers
    are kept of each path.
    """

    def __init__(self, root: Path | None) -> None:
        self._root = str(root.absolute()) if root is not None else None
        self._paths: set[int] = set()
        # Path without its extension -> the one path that has it.
        self._stems: dict[int, int] = {}
        self._shared: set[int] = set()

    def relative(self, image: str) -> str:
        """The path as it counts: relative to the feed, with ``/``; of an address without its scheme
        and query."""
        if _SCHEME.match(image):
            return re.split(r"[?#]", image.split("://", 1)[1])[0].strip("/")
        path = image.replace("\\", "/")
        if self._root and os.path.isabs(path) and Path(path).is_relative_to(self._root):
            return Path(os.path.relpath(path, self._root)).as_posix()
        return posixpath.normpath(path)

    def note(self, path: str) -> None:
        """Count a path, as ``relative`` gives it."""
        number = hash(path)
        if number in self._paths:
            return
        self._paths.add(number)
        stem = hash(os.path.splitext(path)[0])
        if self._stems.setdefault(stem, number) != number:
            self._shared.add(stem)

    def id_of(self, path: str) -> str:
        """The id of a path, once all are noted."""
        return path if self._keeps_extension(path) else os.path.splitext(path)[0]

    def _keeps_extension(self, path: str) -> bool:
        while True:
            stem = os.path.splitext(path)[0]
            if hash(stem) in self._shared:
                return True
            # Another photo has this very name, and keeps it where it keeps its own extension.
            if stem == path or hash(stem) not in self._paths:
                return False
            path = stem
