"""Opening SQLite files, on a read-only disk too."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from indexer.errors import ReadOnly


def is_read_only(path: Path) -> bool:
    """Whether a database at ``path`` cannot be written: SQLite needs its file and the folder beside it."""
    if path.exists() and not os.access(path, os.W_OK):
        return True
    return not os.access(path.parent, os.W_OK)


def connect(path: Path, **options: Any) -> sqlite3.Connection:
    """A connection to the file at ``path``; where that cannot be written, to its state as it lies there.

    A read-only file is taken for one that nobody changes. Raises ``ReadOnly`` where writes wait in a log beside it that
    only a writer could fold in.
    """
    if not is_read_only(path):
        return sqlite3.connect(path, **options)
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size:
        raise ReadOnly(
            f"{path} is read-only and has writes in {log.name} that were not folded in: open the home once where it "
            "can be written (catalens migrate --home HOME), then copy or mount it again"
        )
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True, **options)
