"""Probe of a catalog that is in use: whether its file is still the one that was opened."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from indexer.catalog.transaction import last_sequence
from indexer.core.errors import ReplacedFileError, StorageError
from indexer.core.sqlite import (
    Connection,
    Database,
    DatabaseError,
    connect,
    is_read_only,
    read_meta,
)
from indexer.core.sqlite_failures import is_locked, is_overwritten, overwritten
from indexer.core.sqlite_files import has_header


class CatalogProbe:
    """Looks from outside, past what open connections remember of the file. Safe to call from many
    threads; waits for nobody, and takes a millisecond."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.is_served = True
        with database.read() as sql:
            self._identity, self._sequence = _state(sql)

    def require(self) -> None:
        """Raise ``ReplacedFileError`` where the catalog was moved, replaced, or overwritten in
        place, ``StorageError`` where it cannot be read. Until it is found sound again, nothing is
        read or written through ``database`` either: what open connections remember of the file fits
        no more to what lies there. ``ReadOnlyError`` where it was opened on a read-only disk that
        can be written by now."""
        if self._database.in_memory:
            return
        identity = self._database.identity
        identity.require_path()
        try:
            self._look(self._database.path)
        except ReplacedFileError as error:
            identity.doubt(str(error))
            raise
        identity.doubt(None)
        if self._database.read_only and not is_read_only(self._database.path):
            self._database.require_writable()

    def _look(self, path: Path) -> None:
        known = self._sequence
        try:
            if not path.stat().st_size or not has_header(path):
                raise overwritten(path, "is no database any more")
            with closing(connect(path, timeout=0)) as sql:
                identity, sequence = _state(sql)
        except OSError as error:
            raise StorageError(f"{path}: {error}") from error
        except DatabaseError as error:
            if is_locked(error):
                return
            if is_overwritten(error):
                raise overwritten(path, f"cannot be read any more ({error})") from error
            raise StorageError(f"{path}: {error}") from error
        if identity != self._identity or sequence < known:
            raise overwritten(path, "is another catalog, or an older state of it")
        self._sequence = max(sequence, known)


def _state(sql: Connection) -> tuple[str | None, int]:
    return read_meta(sql, "identity"), last_sequence(sql)
