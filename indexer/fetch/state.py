"""State of each photo URL: what it gave, when it was asked, and why it gave nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from indexer.core.sqlite import Database, Schema, chunks

_TABLE = """
CREATE TABLE urls (
    url TEXT PRIMARY KEY,
    content_hash TEXT,
    etag TEXT,
    last_modified TEXT,
    asked REAL NOT NULL,
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    reason TEXT,
    transient INTEGER NOT NULL
) WITHOUT ROWID
"""
_SCHEMA = Schema(
    format=1,
    tables=(_TABLE, "CREATE INDEX urls_hash ON urls (content_hash)"),
    application_id=0x43544655,
    noun="state of photo URLs",
    remedy="delete it: photos are then asked for again",
)
_COLUMNS = "url, content_hash, etag, last_modified, asked, attempts, failures, reason, transient"


@dataclass(frozen=True)
class URLState:
    """What is known of one URL. ``url`` is in checked form, without a user name.

    ``content_hash``, ``etag`` and ``last_modified`` are those of the last photo it gave. ``asked``
    is the Unix time of the last answer, or of the last failure; ``attempts`` counts requests.
    ``failures`` counts runs since the last photo that ended in ``reason``; ``transient`` ones may
    pass by themselves.
    """

    url: str
    content_hash: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    asked: float = 0.0
    attempts: int = 0
    failures: int = 0
    reason: str | None = None
    transient: bool = False


class FetchState:
    """The file ``fetch.sqlite3`` of a home. Safe from threads and processes; use it in ``with``."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)
        self._database.prepare()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def find(self, urls: Iterable[str]) -> dict[str, URLState]:
        """What is known of those of ``urls`` that were asked before."""
        found = {}
        with self._database.read() as sql:
            for part, marks in chunks(list(dict.fromkeys(urls))):
                for row in sql.execute(f"SELECT {_COLUMNS} FROM urls WHERE url IN ({marks})", part):
                    found[row[0]] = URLState(*row)
        return found

    def record(self, state: URLState) -> None:
        """Store what is now known of a URL."""
        row = (*(getattr(state, name) for name in _COLUMNS.split(", ")),)
        with self._database.transaction() as sql:
            sql.execute(f"INSERT OR REPLACE INTO urls ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)", row)

    def hashes(self) -> set[str]:
        """Content hashes of all photos that some URL gave."""
        with self._database.read() as sql:
            query = "SELECT DISTINCT content_hash FROM urls WHERE content_hash IS NOT NULL"
            return {row[0] for row in sql.execute(query)}

    def forget(self, hashes: Iterable[str]) -> None:
        """Delete what is known of the URLs that gave these photos, and of those that gave none;
        no byte of them stays in the file. Raises ``BusyError`` where another process reads it."""
        with self._database.transaction() as sql:
            sql.execute("DELETE FROM urls WHERE content_hash IS NULL")
            for part, marks in chunks(list(dict.fromkeys(hashes))):
                sql.execute(f"DELETE FROM urls WHERE content_hash IN ({marks})", part)
        self._database.scrub()


@contextmanager
def stored_urls(path: Path) -> Iterator[FetchState | None]:
    """The state of URLs where there is one; None makes none."""
    if not path.exists():
        yield None
        return
    with FetchState(path) as state:
        yield state
