"""SQLite files: connections, transactions, format numbers, failures as Catalens errors."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from indexer.core.atomic_files import close_file, private_mode, storage_failure
from indexer.core.errors import (
    BadHomeError,
    BusyError,
    DamagedFileError,
    DiskFullError,
    NewerFormatError,
    ReadOnlyError,
)
from indexer.core.file_identity import FileIdentity
from indexer.core.file_owner import open_owned
from indexer.core.sqlite_failures import FileInUse, read_only_error
from indexer.core.sqlite_files import address_of, has_log
from indexer.core.sqlite_library import library, may_write, require_sound
from indexer.core.sqlite_rewrite import copy_database, rewrite
from indexer.core.sqlite_schema import foreign_part

Connection = library.Connection
DatabaseError = library.DatabaseError
Error = library.Error
IntegrityError = library.IntegrityError
OperationalError = library.OperationalError

# SQLITE_DBCONFIG_DEFENSIVE (https://sqlite.org/c3ref/c_dbconfig_defensive.html).
_DEFENSIVE = 1010

META_TABLE = (
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
)
_BUSY_MS = 30_000
# Of the one connection that writes a file of truth. SQLite's own 2 MB would send the pages that a
# large batch touches to the disk and back within it, and fold the log into the file during every
# batch and every hundredth single write.
_WRITER_CACHE_KIB = 32 * 1024
_WRITER_LOG_PAGES = 4000
# Prepared statements that it keeps, more than it ever says, with those that make its triggers:
# pysqlite3 drops the one that was used least, so that in a full cache all newer ones drop one
# another at each use.
_WRITER_STATEMENTS = 1000
# Bound values of one statement: SQLite's limit was 999 before version 3.32.
_PORTION = 900
# What says nothing of a file: the same read succeeds when there is room, or rights, or a turn.
PASSING = (BusyError, DiskFullError, ReadOnlyError)


@dataclass(frozen=True)
class Schema:
    """What a kind of file holds, and how it is kept.

    ``format`` is its number (0: it has none), ``tables`` the statements that make it, ``programs``
    patterns of all triggers and virtual tables that it may ever hold (``sqlite_schema``: a new one
    is refused by releases that do not know it, so it needs a new format). A file with a
    ``remedy`` is derived: it may lose its last writes to a power cut, and a damaged one is reported
    with that advice; one without is the truth, flushed at every commit. ``shared``: all threads use
    one connection, one at a time; else each has its own. ``in_memory``: on a read-only disk the
    data lives in memory, where there is no file or always.
    """

    format: int
    tables: Sequence[str] = ()
    application_id: int = 0
    noun: str = "database"
    remedy: str = ""
    shared: bool = False
    in_memory: Literal["never", "absent", "always"] = "never"
    programs: Sequence[str] = ()


def is_read_only(path: Path) -> bool:
    """Whether a database at ``path`` cannot be written: SQLite needs its file and the folder, and
    must be of a version that may write."""
    if not may_write():
        return True
    return not _is_writable(path)


def _is_writable(path: Path) -> bool:
    if path.exists() and not os.access(path, os.W_OK):
        return False
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    return os.access(folder, os.W_OK)


def connect(path: Path, **options: Any) -> Connection:
    """A connection to the file at ``path``; where that cannot be written, to its state as it lies.
    Where there is none, none is made.

    A file on a read-only disk is taken for one that nobody changes. Raises ``ReadOnlyError`` where
    writes wait in a log beside it that only a writer could fold in, and where there is no file yet
    and the SQLite library is one that may not write.
    """
    if not is_read_only(path):
        return library.connect(address_of(path, "rw"), uri=True, **options)
    if not may_write() and _is_writable(path):
        # Another process may write it meanwhile: its log is read too, its locks are kept.
        if not path.exists():
            require_sound(path)
        return library.connect(address_of(path, "ro"), uri=True, **options)
    if has_log(path):
        raise ReadOnlyError(
            f"{path} is read-only and has writes in {path.name}-wal that were not folded in: open "
            "the home once where it can be written (catalens migrate --home HOME), then copy or "
            "mount it again"
        )
    return library.connect(address_of(path, "ro&immutable=1"), uri=True, **options)


@contextmanager
def opened(path: Path) -> Iterator[Connection]:
    """One consistent snapshot of a database of any kind, for reading; failures name the file."""
    if not path.is_file():
        raise BadHomeError(f"there is no database at {path}")
    with Database(path, Schema(0)) as database, database.read() as sql:
        _refuse_foreign(path, sql, None)
        yield sql


def copy_file(path: Path, target: Path) -> None:
    """Copy the last commit's state of a database to the new file ``target``, while others write."""
    with Database(path, Schema(0)) as database:
        database.copy_to(target)


def folder_of(sql: Connection) -> Path:
    """Where the file of a connection lies: the home of its database."""
    query = "SELECT file FROM pragma_database_list WHERE name = 'main'"
    return Path(sql.execute(query).fetchone()[0]).parent


def has_table(sql: Connection, name: str) -> bool:
    """Whether the file has a table of this name."""
    return sql.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone() is not None


def table_names(sql: Connection) -> set[str]:
    """The names of the file's tables."""
    return {row[0] for row in sql.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def read_meta(sql: Connection, key: str) -> str | None:
    """The text stored under ``key`` in the table ``meta``; None without a key, or a table."""
    try:
        row = sql.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    except OperationalError:
        if has_table(sql, "meta"):
            raise
        return None
    return None if row is None else str(row[0])


def write_meta(sql: Connection, key: str, value: str) -> None:
    """Store ``value`` under ``key`` in the table ``meta``."""
    # Not replaced, which would be two changes of the table.
    query = "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value"
    sql.execute(query, (key, value))


def chunks(values: Sequence[Any]) -> Iterator[tuple[Sequence[Any], str]]:
    """``values`` in parts that one statement takes, each with its question marks: "?,?,?"."""
    for start in range(0, len(values), _PORTION):
        part = values[start : start + _PORTION]
        yield part, ",".join("?" * len(part))


class Database:
    """One file. Each thread has a connection; all share the one that writes, for its cache's sake.
    Opens nothing before the first use. Every failure is a ``CatalensError`` that names the file."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self.path = path
        self.schema = schema
        self.read_only = is_read_only(path)
        self.in_memory = self.read_only and (
            schema.in_memory == "always" or (schema.in_memory == "absent" and not path.exists())
        )
        self._local = threading.local()
        self._opened: list[tuple[threading.Thread, Connection]] = []
        self._opening = threading.Lock()
        # Held by whoever writes; with one connection for all, by whoever uses it.
        self._using = threading.RLock()
        # The one connection of all threads, or the one that writes.
        self._common: Connection | None = None
        # By a service: what of the truth is damaged later was overwritten meanwhile.
        self.is_served = False
        self.identity = FileIdentity(path, is_kept=not schema.remedy and not self.in_memory)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of all threads; a later call opens a new one."""
        with self._turn(), self._opening:
            for _, connection in self._opened:
                connection.close()
            self._opened.clear()
            self._local = threading.local()
            if self._common is not None:
                self._common.close()
                self._common = None
            self.identity.forget()

    # -- reading and writing

    @property
    def connection(self) -> Connection:
        """The calling thread's connection; inside ``transaction``, the one that writes."""
        if self._shared:
            return self._common_connection()
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            with self._opening:
                for thread, old in self._opened:
                    if not thread.is_alive():
                        old.close()
                self._opened = [entry for entry in self._opened if entry[0].is_alive()]
                self._opened.append((threading.current_thread(), connection))
            self._local.connection = connection
        return connection

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """For what needs no more than each statement's own snapshot, and for what is no query."""
        with self._turn(), self.failures():
            connection = self.connection
            if not connection.in_transaction:
                self.identity.require()
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent snapshot; inside this thread's ``transaction``, what that sees."""
        with self.statements() as connection:
            if connection.in_transaction:
                yield connection
            else:
                with self._begun("DEFERRED"):
                    yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All or nothing is written, and no process writes meanwhile.

        Reads of this thread inside see the last commit and what was written since. ``ROLLBACK``,
        executed inside, gives all of it up.
        """
        with self._using, self.failures():
            self.identity.require()
            self.require_writable()
            before = getattr(self._local, "connection", None)
            self._local.connection = self._common_connection()
            try:
                with self._begun("IMMEDIATE") as connection:
                    yield connection
            finally:
                self._local.connection = before

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Raise what SQLite says inside as ``CatalensError``."""
        try:
            yield
        except library.DatabaseError as error:
            raise self._in_use().failure(error) from error
        except UnicodeDecodeError as error:
            raise self._in_use().no_text() from error

    # -- the file itself

    def require_writable(self) -> None:
        """Raise ``ReadOnlyError`` where it cannot be written; also where that came after it was
        opened: its readers take it for a file that nobody changes."""
        if not self.read_only or self.in_memory:
            return
        if is_read_only(self.path):
            raise read_only_error(self.path)
        raise ReadOnlyError(
            f"{self.path} was read-only when it was opened and can be written now: start the "
            "service again; until then it takes no writes, erases nothing and runs no jobs"
        )

    def prepare(self, initialise: Callable[[Connection], None] | None = None) -> None:
        """Make the file where it is not made yet, in one transaction, and check it. Its folder must
        be there: that of a home which is gone is not made again.

        ``initialise`` runs in that transaction. A read-only file is checked only. Raises as
        ``check``.
        """
        try:
            if not self.read_only or self.in_memory:
                self._make(initialise)
            self.check()
        except BaseException:
            self.close()
            raise

    def prepare_again(self, initialise: Callable[[Connection], None] | None = None) -> None:
        """``prepare``, of a derived file: one that is damaged is removed and made anew, empty."""
        try:
            self.prepare(initialise)
        except DamagedFileError:
            if self.read_only:
                raise
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self.prepare(initialise)

    def _make(self, initialise: Callable[[Connection], None] | None) -> None:
        if not self.in_memory:
            # Catalogs, reviews, orders: SQLite itself would leave it to the process's mask. Its
            # logs take the file's mode.
            try:
                mode = private_mode(self.path.parent)
                os.close(open_owned(self.path, os.O_WRONLY, mode))
            except OSError as error:
                raise storage_failure(self.path, error) from error
        with self.statements() as sql:
            if not self._is_unmade(sql):
                return
            sql.execute("PRAGMA journal_mode = WAL")
        with self.transaction() as sql:
            # Another process was first.
            if not self._is_unmade(sql):
                return
            for statement in self.schema.tables:
                sql.execute(statement)
            if initialise is not None:
                initialise(sql)
            sql.execute(f"PRAGMA application_id = {self.schema.application_id}")
            sql.execute(f"PRAGMA user_version = {self.schema.format}")

    def _is_unmade(self, sql: Connection) -> bool:
        """No format number; of a kind with an id of its own, an empty file."""
        if self.schema.format and _format(sql):
            return False
        return not self.schema.application_id or not _holds_tables(sql)

    def check(self) -> None:
        """Raise ``NewerFormatError`` for a newer file, ``BadHomeError`` for one of another kind.
        One that can be written is closed to others."""
        if not self.read_only and not self.in_memory:
            for suffix in ("", "-wal", "-shm"):
                close_file(self.path.with_name(self.path.name + suffix))
        with self.statements() as sql:
            found = _format(sql)
            owner = sql.execute("PRAGMA application_id").fetchone()[0]
            _refuse_foreign(self.path, sql, self.schema)
        if found > self.schema.format:
            raise NewerFormatError(
                f"{self.path} has format {found}, this Catalens knows up to {self.schema.format}: "
                "upgrade it"
            )
        if self.schema.application_id and (found < 1 or owner != self.schema.application_id):
            raise BadHomeError(f"{self.path} is no {self.schema.noun}")

    def checkpoint(self) -> bool:
        """Fold the write-ahead log into the file and empty it, so that erased text is in neither.

        False where another process keeps it in use: look at it, or use ``empty_log``.
        """
        with self.statements() as sql:
            return not sql.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]

    def empty_log(self) -> None:
        """``checkpoint`` that must succeed. Raises ``BusyError`` where another process reads it."""
        if not self.checkpoint():
            raise BusyError(
                f"{self.path} is being read by another process: its log cannot be emptied yet; "
                "try again"
            )

    def scrub(self) -> None:
        """Write the file anew, without what was deleted, and empty the log.

        ``secure_delete`` overwrites rows, but not the copies of them that moving rows between pages
        left. Raises ``BusyError`` where another process writes or reads it all the time,
        ``DiskFullError``.
        """
        if self.in_memory:
            return
        self.require_writable()
        self.identity.require()
        # Threads of this process wait their turn; other processes wait for SQLite's lock.
        with self._using, self.failures():
            rewrite(self.path, self._connect, wait_s=_BUSY_MS / 1000)
        self.empty_log()

    def copy_to(self, path: Path) -> None:
        """Copy the last commit's state to the new file ``path``, while others write."""
        with self.failures(), closing(self._connect()) as source:
            copy_database(source, path)

    # -- inside

    def _in_use(self) -> FileInUse:
        noun, remedy, waited_s = self.schema.noun, self.schema.remedy, _BUSY_MS // 1000
        return FileInUse(self.path, noun, remedy, waited_s, self.is_served, self.in_memory)

    @property
    def _shared(self) -> bool:
        return self.schema.shared or self.in_memory

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._shared:
            with self._using:
                yield
        else:
            yield

    def _common_connection(self) -> Connection:
        with self._opening:
            if self._common is None:
                self._common = self._connect(cached_statements=_WRITER_STATEMENTS)
                if not self.schema.remedy:
                    self._common.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
                    self._common.execute(f"PRAGMA wal_autocheckpoint = {_WRITER_LOG_PAGES}")
            return self._common

    def _connect(self, **more: int) -> Connection:
        # Closed by another thread in close(), and one writes for all threads: no check of threads.
        options: dict[str, Any] = {"isolation_level": None, "check_same_thread": False, **more}
        if self.in_memory:
            connection = library.connect(":memory:", **options)
        else:
            self.identity.require()
            connection = connect(self.path, timeout=_BUSY_MS / 1000, **options)
            self.identity.note()
        connection.execute(f"PRAGMA synchronous = {'NORMAL' if self.schema.remedy else 'FULL'}")
        connection.execute("PRAGMA secure_delete = ON")
        # What a schema of somebody else may do, and what a damaged page may make SQLite read.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        # Of the standard library since Python 3.12; pysqlite3 has no way to it.
        if (configure := getattr(connection, "setconfig", None)) is not None:
            configure(_DEFENSIVE)
        return connection

    @contextmanager
    def _begun(self, kind: Literal["DEFERRED", "IMMEDIATE"]) -> Iterator[Connection]:
        connection = self.connection
        connection.execute(f"BEGIN {kind}")
        try:
            yield connection
            # Not given up by a dry run.
            if connection.in_transaction:
                connection.execute("COMMIT")
        except BaseException:
            # A full disk may have ended it already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _refuse_foreign(path: Path, sql: Connection, schema: Schema | None) -> None:
    """What SQLite runs for whoever asks or writes must be what Catalens made: a stranger's need not
    end, and changes what it likes. ``schema`` None: of a file that is only read."""
    part = foreign_part(sql, None if schema is None else schema.programs)
    if part is None:
        return
    said = f"{path} holds {part}, which no Catalens makes: it was changed by somebody else; "
    if schema is not None and schema.remedy:
        raise DamagedFileError(said + schema.remedy)
    raise BadHomeError(said + "restore a backup that you made (catalens restore)")


def _format(sql: Connection) -> int:
    return int(sql.execute("PRAGMA user_version").fetchone()[0])


def _holds_tables(sql: Connection) -> bool:
    return sql.execute("SELECT 1 FROM sqlite_master").fetchone() is not None
