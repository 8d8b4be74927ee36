"""Tests of ``indexer.core.sqlite_rewrite``: files written anew and copied, beside other writers."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
from filelock import FileLock

from indexer.core import sqlite, sqlite_rewrite
from indexer.core.errors import BusyError, DiskFullError
from indexer.core.sqlite import Database, Schema, connect
from indexer.core.sqlite_library import ALLOW_OLD

ROOT = Path(__file__).parents[3]
SCHEMA = Schema(
    1,
    ("CREATE TABLE t (a)", "CREATE INDEX by_a ON t (a)"),
    application_id=77,
    noun="truth",
)
# A store of this size is written anew in this much memory; make prove-sqlite takes 1 GB.
MIB = int(os.environ.get("CATALENS_LIVE_SCRUB_MIB", "48"))
# make prove-kill asks for more.
KILLS = int(os.environ.get("CATALENS_KILLS", "3"))
PEAK_MIB = 200 if MIB >= 1000 else 80

STANDARD = "import sys; sys.modules['pysqlite3'] = None"

SCRUB = """
import sys
from pathlib import Path
from indexer.core.sqlite import Database, Schema
schema = Schema(1, ("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)", "CREATE INDEX i ON t (a)"))
path, rows = Path(sys.argv[1]), int(sys.argv[2]) * 256
with Database(path, schema) as database:
    database.prepare()
    for start in range(0, rows, 4096):
        with database.transaction() as sql:
            sql.executemany(
                "INSERT INTO t (a, b) VALUES (?, zeroblob(3800))",
                ((f"word {row * 7919 % rows}",) for row in range(start, min(start + 4096, rows))),
            )
    database.empty_log()
    with database.transaction() as sql:
        sql.execute("DELETE FROM t WHERE id % 16 = 0")
    Path("/proc/self/clear_refs").write_text("5")
    before = path.stat().st_size
    database.scrub()
    with database.read() as sql:
        left = sql.execute("SELECT count(*) FROM t").fetchone()[0]
status = Path("/proc/self/status").read_text()
peak = int(status.partition("VmHWM:")[2].split()[0])
print(before >> 20, (before - path.stat().st_size) >> 20, rows - left == rows // 16, peak >> 10)
"""

# Writes, deletes and scrubs without end; prints what was acknowledged.
WRITER = """
import sys
from pathlib import Path
from indexer.core.sqlite import Database, Schema
schema = Schema(1, ("CREATE TABLE t (a)", "CREATE INDEX by_a ON t (a)"), 77, "truth")
with Database(Path(sys.argv[1]), schema) as database:
    database.prepare()
    number = int(sys.argv[2])
    while True:
        for _ in range(20):
            number += 1
            with database.transaction() as sql:
                sql.execute("INSERT INTO t VALUES (?)", (number,))
                sql.execute("INSERT INTO t VALUES (?)", (f"secret {number} " * 200,))
            print(number, flush=True)
        with database.transaction() as sql:
            sql.execute("DELETE FROM t WHERE typeof(a) = 'text'")
        database.scrub()
"""


def prepared(path: Path, values: int = 0) -> Database:
    database = Database(path, SCHEMA)
    database.prepare()
    with database.transaction() as sql:
        sql.executemany(
            "INSERT INTO t VALUES (?)",
            [(f"value {row} ".ljust(400, "x"),) for row in range(values)],
        )
    return database


def held(database: Database) -> int:
    with database.read() as sql:
        assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(sql.execute("SELECT count(*) FROM t").fetchone()[0])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("before", ["", STANDARD], ids=["this", "standard"])
def test_a_large_store_is_written_anew_in_little_memory(before: str, tmp_path: Path) -> None:
    """Memory does not grow with the store, where the library keeps temporary data in memory; by
    the library in use, and by that of Python."""
    done = subprocess.run(
        [sys.executable, "-c", before + SCRUB, str(tmp_path / "f.sqlite3"), str(MIB)],
        cwd=ROOT,
        env={**os.environ, ALLOW_OLD: "true"},
        capture_output=True,
        text=True,
        check=True,
    )
    size, less, whole, peak = done.stdout.split()
    assert int(size) >= MIB
    assert int(less) >= MIB // 16 - 2
    assert whole == "True"
    assert int(peak) < PEAK_MIB


@pytest.mark.parametrize("rows", [0, 1, 20, 8000])
def test_a_file_of_any_size_keeps_what_was_not_deleted(rows: int, tmp_path: Path) -> None:
    """Numbers, indexes and rows are there, in WAL mode, for connections that were open already;
    what was deleted is in no file, and no file is left beside it."""
    database = prepared(tmp_path / "f.sqlite3", rows)
    with database.transaction() as sql:
        sql.execute("INSERT INTO t VALUES ('secret')")
    other = connect(tmp_path / "f.sqlite3", isolation_level=None)
    assert other.execute("SELECT count(*) FROM t").fetchone() == (rows + 1,)
    with database.transaction() as sql:
        sql.execute("DELETE FROM t WHERE a = 'secret' OR rowid % 2")
    database.scrub()
    assert other.execute("SELECT count(*) FROM t").fetchone() == (held(database),) == (rows // 2,)
    assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    with database.transaction() as sql:
        sql.execute("INSERT INTO t VALUES (1)")
        assert sql.execute("PRAGMA application_id").fetchone() == (77,)
        assert sql.execute("PRAGMA user_version").fetchone() == (1,)
    database.close()
    assert {path.name for path in tmp_path.iterdir()} <= {"f.sqlite3", ".f.sqlite3.rewrite.lock"}
    assert b"secret" not in (tmp_path / "f.sqlite3").read_bytes()
    with prepared(tmp_path / "f.sqlite3") as again:
        assert held(again) == rows // 2 + 1


@pytest.mark.parametrize("rows", [1, 5000])
def test_what_is_written_meanwhile_is_kept(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write after the copy was made is not undone by its way back: the copy is made again, with
    writers held out."""
    path = tmp_path / "f.sqlite3"
    database = prepared(path, rows)
    other = connect(path, timeout=0, isolation_level=None)
    calls: list[int] = []
    copy_back = sqlite_rewrite._copy_back

    def after_a_write(*arguments: object) -> None:
        calls.append(1)
        if len(calls) < 3:
            other.execute("INSERT INTO t VALUES ('late')")
        copy_back(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite_rewrite, "_copy_back", after_a_write)
    database.scrub()
    assert len(calls) == 3
    assert held(database) == rows + 2
    monkeypatch.setattr(sqlite_rewrite, "_TRIES", 2)
    calls.clear()
    with pytest.raises(BusyError, match="is being written all the time"):
        database.scrub()
    assert held(database) == rows + 4
    other.close()


def test_nobody_writes_while_the_copy_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look comes after the lock was taken; a failure half-way leaves the file as it
    was."""
    path = tmp_path / "f.sqlite3"
    database = prepared(path, 5000)
    other = connect(path, timeout=0, isolation_level=None)
    data_version = sqlite_rewrite._data_version
    monkeypatch.setattr(sqlite_rewrite, "_STEP", 1)
    looks: list[int] = []

    def look(connection: sqlite.Connection) -> int:
        looks.append(1)
        if len(looks) == 2:
            with pytest.raises(sqlite.OperationalError, match="locked"):
                other.execute("INSERT INTO t VALUES ('late')")
            raise KeyboardInterrupt
        return data_version(connection)

    monkeypatch.setattr(sqlite_rewrite, "_data_version", look)
    with pytest.raises(KeyboardInterrupt):
        database.scrub()
    assert held(database) == 5000
    assert not sqlite_rewrite.aside_of(path).exists()
    other.execute("INSERT INTO t VALUES ('late')")
    other.close()


def test_a_file_that_cannot_be_written_anew_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little room is said before it is used; two at once, and a writer that does not end, are
    ``BusyError``; what a killed run left is removed by the next."""
    monkeypatch.setattr(sqlite, "_BUSY_MS", 50)
    path = tmp_path / "f.sqlite3"
    database = prepared(path, 100)
    full = namedtuple("full", "free")(2**20)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: full)
        with pytest.raises(DiskFullError, match=r"f\.sqlite3: .* needs 1\d MiB .* 1 MiB are free"):
            database.scrub()
    with (
        FileLock(tmp_path / ".f.sqlite3.rewrite.lock"),
        pytest.raises(BusyError, match="written anew by another process"),
    ):
        database.scrub()
    other = connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError):
        database.scrub()
    other.execute("ROLLBACK")
    other.close()
    sqlite_rewrite.aside_of(path).write_bytes(b"left by a killed run")
    database.scrub()
    assert not sqlite_rewrite.aside_of(path).exists()
    assert held(database) == 100


def test_a_copy_holds_one_state_of_a_file_in_use(tmp_path: Path) -> None:
    """What lies in the log is in the copy, what another connection has not committed is not."""
    database = prepared(tmp_path / "f.sqlite3", 5000)
    other = connect(tmp_path / "f.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO t VALUES ('late')")
    database.copy_to(tmp_path / "copies" / "c.sqlite3")
    other.execute("ROLLBACK")
    other.close()
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["c.sqlite3"]
    with prepared(tmp_path / "copies" / "c.sqlite3") as copy:
        assert held(copy) == 5000
    with pytest.raises(FileExistsError):
        database.copy_to(tmp_path / "copies" / "c.sqlite3")


def test_a_kill_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """SIGKILL while one process writes and scrubs: every acknowledged row is there, the file is
    sound, and the next scrub leaves nothing that was deleted."""
    path = tmp_path / "f.sqlite3"
    chance = random.Random(KILLS)
    number = 0
    for _ in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        first = int(writer.stdout.readline())
        time.sleep(chance.uniform(0.02, 0.3))
        writer.kill()
        said = writer.stdout.read().splitlines(keepends=True)
        number = max(first, *(int(line) for line in said if line.endswith("\n")), number)
        writer.wait()
        with prepared(path) as database, database.read() as sql:
            assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            query = "SELECT count(DISTINCT a), max(a) FROM t WHERE typeof(a) = 'integer'"
            count, last = sql.execute(query).fetchone()
            # One more may be written and not yet be said.
            assert count == last
            assert last in (number, number + 1)
            number = last
    with prepared(path) as database:
        with database.transaction() as sql:
            sql.execute("DELETE FROM t WHERE typeof(a) = 'text'")
        database.scrub()
    assert [one.name for one in tmp_path.iterdir() if b"secret" in one.read_bytes()] == []
    assert not sqlite_rewrite.aside_of(path).exists()
