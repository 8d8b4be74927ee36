"""Files that a repair set aside: they leave with an erasure, and by time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from indexer.catalog.deletions import Deletions
from indexer.catalog.store import Catalog
from indexer.core.home import Home

# How long somebody may look at what a repair set aside.
KEPT_DAYS = 30
_DAY_S = 86_400.0


def erase_set_aside(home: Home, catalog: Catalog) -> int:
    """Delete what may hold erased products: files of reviews, which nobody can read well enough to
    cover them, and originals that were erased; how many files went."""
    if Deletions(catalog.database).salted() is None:
        return 0
    paths = list(_files(home))
    erased = Deletions(catalog.database).erased_among(path.name for path in paths)
    return _remove(path for path in paths if path.name in erased or "-reviews." in path.name)


def end_set_aside(home: Home) -> int:
    """Delete what was set aside longer than its term ago; how many files went."""
    return _remove(_ended(home))


def is_set_aside_due(home: Home) -> bool:
    """Whether ``end_set_aside`` would find something."""
    return next(_ended(home), None) is not None


def _ended(home: Home) -> Iterator[Path]:
    before = time.time() - KEPT_DAYS * _DAY_S
    for path in _files(home):
        found = path.stat()
        # A file that is moved keeps the time of its content.
        if max(found.st_ctime, found.st_mtime) < before:
            yield path


def _files(home: Home) -> Iterator[Path]:
    if home.damaged.is_dir():
        yield from (path for path in sorted(home.damaged.iterdir()) if path.is_file())


def _remove(paths: Iterator[Path]) -> int:
    count = 0
    for path in paths:
        path.unlink(missing_ok=True)
        count += 1
    return count
