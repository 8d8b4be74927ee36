"""Tests of ``indexer.core.sqlite``."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import pytest

from indexer.core import sqlite
from indexer.core.errors import (
    BadHomeError,
    BusyError,
    NewerFormatError,
    ReadOnlyError,
    ReplacedFileError,
    StorageError,
)
from indexer.core.sqlite import META_TABLE, Database, Schema, connect, read_meta, write_meta

TRUTH = Schema(1, (META_TABLE, "CREATE TABLE t (a)"), application_id=77, noun="truth")
DERIVED = Schema(1, (META_TABLE, "CREATE TABLE IF NOT EXISTS t (a)"), remedy="delete it")


def prepared(path: Path, schema: Schema) -> Database:
    path.parent.mkdir(exist_ok=True)
    database = Database(path, schema)
    database.prepare()
    return database


def test_a_file_is_made_once_and_keeps_what_it_holds(tmp_path: Path) -> None:
    """Tables, numbers and what the caller adds come in one transaction; a second opening changes
    nothing."""
    path = tmp_path / "f.sqlite3"
    made: list[int] = []
    for _ in range(2):
        with Database(path, TRUTH) as database:
            database.prepare(lambda sql: (made.append(1), write_meta(sql, "name", "x"))[0])
            with database.transaction() as sql:
                sql.execute("INSERT INTO t VALUES (1)")
    assert made == [1]
    with prepared(path, TRUTH) as database, database.read() as sql:
        assert sql.execute("SELECT count(*) FROM t").fetchone() == (2,)
        assert read_meta(sql, "name") == "x"
        assert read_meta(sql, "other") is None
        assert sql.execute("PRAGMA user_version").fetchone() == (1,)
        assert sql.execute("PRAGMA application_id").fetchone() == (77,)


def test_a_transaction_that_fails_changes_nothing(tmp_path: Path) -> None:
    """What was written before the failure is gone; so is what a ``ROLLBACK`` inside gives up."""
    database = prepared(tmp_path / "f.sqlite3", DERIVED)
    with suppress(KeyError), database.transaction() as sql:
        sql.execute("INSERT INTO t VALUES (1)")
        raise KeyError
    with database.transaction() as sql:
        sql.execute("INSERT INTO t VALUES (2)")
        sql.execute("ROLLBACK")
    with database.read() as sql:
        assert sql.execute("SELECT * FROM t").fetchall() == []


def test_a_reader_sees_one_state(tmp_path: Path) -> None:
    """A write of another thread in between is not seen before the next read; the writer sees its
    own at once."""
    database = prepared(tmp_path / "f.sqlite3", DERIVED)

    def write() -> None:
        with database.transaction() as sql:
            sql.execute("INSERT INTO t VALUES (1)")
            with database.read() as inner:
                assert inner.execute("SELECT count(*) FROM t").fetchone() == (1,)

    with database.read() as sql:
        assert sql.execute("SELECT count(*) FROM t").fetchone() == (0,)
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        assert sql.execute("SELECT count(*) FROM t").fetchone() == (0,)
    with database.read() as sql:
        assert sql.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    """A newer format, a file of another kind, a damaged one: the truth says so, a derived one says
    what to do."""
    prepared(tmp_path / "f.sqlite3", TRUTH).close()
    with connect(tmp_path / "f.sqlite3") as sql:
        sql.execute("PRAGMA user_version = 2")
    with pytest.raises(NewerFormatError, match=r"f\.sqlite3 has format 2, .* up to 1: upgrade it"):
        prepared(tmp_path / "f.sqlite3", TRUTH)
    (tmp_path / "foreign").touch()
    with connect(tmp_path / "foreign") as sql:
        sql.execute("CREATE TABLE u (a)")
    with pytest.raises(BadHomeError, match="foreign is no truth"):
        prepared(tmp_path / "foreign", TRUTH)
    (tmp_path / "damaged").write_bytes(b"no database" * 1000)
    with pytest.raises(BadHomeError, match="damaged or no truth"):
        prepared(tmp_path / "damaged", TRUTH)
    with pytest.raises(StorageError, match=r"damaged: .*; delete it"):
        prepared(tmp_path / "damaged", DERIVED)
    (tmp_path / "damaged").unlink()
    assert prepared(tmp_path / "damaged", DERIVED).checkpoint()


def test_a_locked_file_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that waits too long for another one, and a log that another one reads."""
    monkeypatch.setattr(sqlite, "_BUSY_MS", 20)
    database = prepared(tmp_path / "f.sqlite3", DERIVED)
    other = connect(tmp_path / "f.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError, match="stayed locked"), database.transaction():
        pass
    other.execute("ROLLBACK")
    with database.transaction() as sql:
        sql.execute("INSERT INTO t VALUES (1)")
    other.execute("BEGIN")
    other.execute("SELECT * FROM t").fetchall()
    with database.transaction() as sql:
        sql.execute("INSERT INTO t VALUES (2)")
    with pytest.raises(BusyError, match="its log cannot be emptied yet"):
        database.empty_log()
    other.execute("ROLLBACK")
    database.empty_log()
    other.close()


@pytest.mark.parametrize("kept", ["never", "absent", "always"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_read_only_disk_is_read(
    kept: str, exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there is read and cannot be written, unless it is kept in memory, which all threads
    share."""
    path = tmp_path / "f.sqlite3"
    if exists:
        with prepared(path, DERIVED) as database, database.transaction() as sql:
            sql.execute("INSERT INTO t VALUES (1)")
    monkeypatch.setattr(sqlite, "is_read_only", lambda path: True)
    schema = Schema(1, DERIVED.tables, remedy="delete it", in_memory=kept)  # type: ignore[arg-type]
    if not exists and kept == "never":
        with pytest.raises(StorageError, match=r"f\.sqlite3: unable to open"):
            prepared(path, schema)
        return
    database = prepared(path, schema)
    in_memory = kept == "always" or not exists
    assert (database.read_only, database.in_memory) == (True, in_memory)
    found: list[list[tuple[int]]] = []

    def look() -> None:
        with database.read() as sql:
            found.append(sql.execute("SELECT a FROM t").fetchall())

    if in_memory:
        with database.transaction() as sql:
            sql.execute("INSERT INTO t VALUES (2)")
    else:
        with pytest.raises(ReadOnlyError, match="read-only"), database.transaction() as sql:
            sql.execute("INSERT INTO t VALUES (2)")
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [[(2,)] if in_memory else [(1,)]]
    assert path.exists() == exists


def test_nothing_deleted_stays_in_the_file(tmp_path: Path) -> None:
    """After ``scrub`` neither the file nor its log holds a byte of it."""
    database = prepared(tmp_path / "f.sqlite3", DERIVED)
    with database.transaction() as sql:
        sql.executemany("INSERT INTO t VALUES (?)", [(f"secret-{i}" * 20,) for i in range(200)])
    with database.transaction() as sql:
        sql.execute("DELETE FROM t")
    database.scrub()
    for path in tmp_path.iterdir():
        assert b"secret" not in path.read_bytes()


def test_a_schema_that_is_no_text_is_damage(tmp_path: Path) -> None:
    """A changed byte in the schema makes SQLite say something that cannot be decoded."""
    path = tmp_path / "a.sqlite3"
    schema = Schema(format=1, tables=("CREATE TABLE things (name TEXT)",))
    with Database(path, schema) as database:
        database.prepare()
        database.checkpoint()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"CREATE TABLE things", b"CREATE \xc7ABLE things"))
    with Database(path, schema) as database, pytest.raises(BadHomeError, match="damaged"):
        database.prepare()


def test_a_strangers_schema_is_not_trusted(tmp_path: Path) -> None:
    """No function runs from a schema that may do more than compute, and cells are looked at."""
    schema = Schema(1, ("CREATE TABLE a (b)",))
    with prepared(tmp_path / "a.sqlite3", schema) as database, database.read() as sql:
        found = [
            sql.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("trusted_schema", "cell_size_check")
        ]
    assert found == [0, 1]


def test_a_file_that_is_gone_is_not_made_by_whoever_opens_it(tmp_path: Path) -> None:
    """An empty one would be taken for a store of which nothing is known; nor is its folder made."""
    gone = tmp_path / "home"
    for path in (gone / "f.sqlite3", tmp_path / "f.sqlite3"):
        for schema in (TRUTH, DERIVED):
            with Database(path, schema) as database, pytest.raises(StorageError):
                database.read().__enter__()
    with pytest.raises(StorageError):
        Database(gone / "f.sqlite3", TRUTH).prepare()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("harm", [b"no database at all ", b"\0"])
def test_what_is_overwritten_while_it_serves_is_no_bad_home(tmp_path: Path, harm: bytes) -> None:
    """A service says that it was replaced; a command that it is damaged."""
    with prepared(tmp_path / "f.sqlite3", TRUTH) as database:
        database.checkpoint()
        path = database.path
        path.write_bytes(harm * (path.stat().st_size // len(harm)))
    for is_served, kind in ((True, ReplacedFileError), (False, BadHomeError)):
        with Database(path, TRUTH) as database:
            database.is_served = is_served
            with pytest.raises(kind, match="damaged"), database.read() as sql:
                sql.execute("SELECT * FROM t").fetchall()


@pytest.mark.parametrize("is_there", [False, True])
def test_nothing_is_written_to_a_home_that_was_moved(tmp_path: Path, is_there: bool) -> None:
    """What is written to the file that is open would be lost with it, and other threads would read
    another home; what is made again whenever it goes is no such file."""
    for schema in (TRUTH, DERIVED):
        home = tmp_path / schema.noun
        with prepared(home / "f.sqlite3", schema) as database:
            with database.transaction() as sql:
                sql.execute("INSERT INTO t VALUES (1)")
            home.rename(tmp_path / f"{schema.noun} elsewhere")
            if is_there:
                prepared(home / "f.sqlite3", schema).close()
            for use in (database.transaction, database.read, database.statements):
                refused = (
                    pytest.raises(ReplacedFileError, match="home was moved")
                    if schema is TRUTH
                    else suppress(StorageError)
                )
                with refused, use() as sql:
                    sql.execute("SELECT 1")
        if is_there:
            with database.read() as sql:
                assert sql.execute("SELECT count(*) FROM t").fetchone() == (0,)
        database.close()
