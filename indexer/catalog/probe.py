"""Probe of a catalog that is in use: whether its file is still the one that was opened."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from indexer.catalog.transaction import last_sequence
from indexer.core.errors import ReplacedFileError, StorageError
from indexer.core.sqlite import Connection, Database, DatabaseError, connect, read_meta
from indexer.core.sqlite_files import has_header

# SQLite's primary codes of a file that another connection has locked.
_IN_USE = (5, 6)


class CatalogProbe:
    """Looks from outside, past what open connections remember of the file. Safe to call from many
    threads; waits for nobody, and takes a millisecond."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.read() as sql:
            self._identity, self._sequence = _state(sql)

    def require(self) -> None:
        """Raise ``ReplacedFileError`` where the catalog was moved, replaced, or overwritten in
        place, ``StorageError`` where it cannot be read."""
        if self._database.in_memory:
            return
        self._database.identity.require()
        path, known = self._database.path, self._sequence
        try:
            if not path.stat().st_size or not has_header(path):
                raise _overwritten(path, "is no database any more")
            with closing(connect(path, timeout=0)) as sql:
                identity, sequence = _state(sql)
        except OSError as error:
            raise StorageError(f"{path}: {error}") from error
        except DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _IN_USE:
                return
            raise _overwritten(path, f"cannot be read any more ({error})") from error
        if identity != self._identity or sequence < known:
            raise _overwritten(path, "is another catalog, or an older state of it")
        self._sequence = max(sequence, known)


def _state(sql: Connection) -> tuple[str | None, int]:
    return read_meta(sql, "identity"), last_sequence(sql)


def _overwritten(path: Path, what: str) -> ReplacedFileError:
    return ReplacedFileError(
        f"{path} {what}: it was overwritten or damaged while it was in use; stop the service, put "
        "the right catalog back (catalens restore FROM --home NEW), and start it again"
    )
