"""Tests of ``indexer.core.sqlite_library``: which library, which versions may write."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from indexer.core import sqlite_library
from indexer.core.errors import ReadOnlyError
from indexer.core.sqlite import Connection, Database, Schema, connect, is_read_only
from indexer.core.sqlite_library import LIBRARY, SQLiteLibrary, is_sound, may_write

ROOT = Path(__file__).parents[3]
SCHEMA = Schema(1, ("CREATE TABLE t (a)",), application_id=77, noun="truth")
# Not in a process that was told to have the standard library's only (``make prove-sqlite``).
MAY_CHOOSE = sys.modules.get("pysqlite3", sys) is not None
OLD = SQLiteLibrary("sqlite3", "3.40.1", sound=False)

# A process that has the standard library's SQLite only, as where there is no wheel of another one.
STANDARD = "import sys; sys.modules['pysqlite3'] = None\n"
WRITER = """
import os, sys
os.environ["CATALENS_ALLOW_OLD_SQLITE"] = "1"
from pathlib import Path
from indexer.core.sqlite import Database, Schema
from indexer.core.sqlite_library import LIBRARY
schema = Schema(1, ("CREATE TABLE t (a)",), application_id=77, noun="truth")
with Database(Path(sys.argv[1]), schema) as database:
    for turn in range(int(sys.argv[2])):
        with database.transaction() as sql:
            seen = sql.execute("SELECT max(a) FROM t").fetchone()[0]
            sql.execute("INSERT INTO t VALUES (?)", (seen + 1,))
        if turn % 20 == 0:
            database.checkpoint()
print(LIBRARY.module)
"""


def test_versions_with_the_fault_are_known() -> None:
    """3.7.0 to 3.51.2 but the two corrected patch releases and what follows them in their line."""
    unsound = [(3, 7, 0), (3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 0), (3, 51, 2)]
    sound = [(3, 6, 23), (3, 44, 6), (3, 44, 7), (3, 50, 7), (3, 51, 3), (3, 53, 0), (4, 0, 0)]
    assert [one for one in unsound if is_sound(one)] == []
    assert [one for one in sound if not is_sound(one)] == []


def test_a_sound_library_is_used_where_there_is_one() -> None:
    """Where pysqlite3 is installed it is the library, and sound; the package asks for it by a
    marker, so that an installation without a wheel does not fail."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (asked,) = [line for line in project["dependencies"] if line.startswith("pysqlite3")]
    marker = Requirement(asked).marker
    assert marker is not None
    arm = {"sys_platform": "linux", "platform_machine": "aarch64"}
    assert not marker.evaluate(arm)
    assert marker.evaluate(
        {
            "sys_platform": "linux",
            "platform_machine": "x86_64",
            "implementation_name": "cpython",
            "python_version": "3.11",
        }
    )
    try:
        installed = version("pysqlite3") if MAY_CHOOSE else None
    except PackageNotFoundError:
        installed = None
    if installed is None:
        assert LIBRARY.module == "sqlite3"
        return
    assert tuple(map(int, installed.split("."))) >= (0, 6, 1)
    assert (LIBRARY.module, LIBRARY.sound) == ("pysqlite3", True)
    assert Connection.__module__.startswith("pysqlite3")


def test_the_standard_library_is_used_where_there_is_no_other() -> None:
    """Without pysqlite3 the stores are there; an old version writes nothing."""
    code = STANDARD + (
        "from indexer.core.sqlite_library import LIBRARY, is_sound, may_write\n"
        "import sqlite3\n"
        "assert LIBRARY.module == 'sqlite3' and LIBRARY.version == sqlite3.sqlite_version\n"
        "assert may_write() == is_sound(sqlite3.sqlite_version_info)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env={})


def test_an_old_library_reads_what_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home is read as it is now, its log included, while its writer lives; nothing is written,
    made or folded in, and the refusal says what to do."""
    path = tmp_path / "f.sqlite3"
    with Database(path, SCHEMA) as writer:
        writer.prepare()
        with writer.transaction() as sql:
            sql.execute("INSERT INTO t VALUES (1)")
        monkeypatch.setattr(sqlite_library, "LIBRARY", OLD)
        monkeypatch.delenv(sqlite_library.ALLOW_OLD, raising=False)
        assert is_read_only(path)
        before = (path.read_bytes(), path.with_name(path.name + "-wal").read_bytes())
        with Database(path, SCHEMA) as reader:
            reader.prepare()
            with reader.read() as sql:
                assert sql.execute("SELECT a FROM t").fetchall() == [(1,)]
            with (
                pytest.raises(ReadOnlyError, match=r"3\.40\.1 \(sqlite3\).*allow_old_sqlite"),
                reader.transaction() as sql,
            ):
                sql.execute("INSERT INTO t VALUES (2)")
            with writer.transaction() as sql:
                sql.execute("INSERT INTO t VALUES (3)")
            with reader.read() as sql:
                assert sql.execute("SELECT a FROM t").fetchall() == [(1,), (3,)]
        assert path.read_bytes() == before[0]
        assert path.with_name(path.name + "-wal").read_bytes().startswith(before[1])
    with pytest.raises(ReadOnlyError, match="Install pysqlite3"):
        connect(tmp_path / "new.sqlite3")
    with pytest.raises(ReadOnlyError, match=r"new\.sqlite3 cannot be written"):
        Database(tmp_path / "new.sqlite3", SCHEMA).prepare()
    assert not (tmp_path / "new.sqlite3").exists()


def test_the_risk_of_an_old_library_can_be_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable, or the setting by its function, lets this process write and those it starts."""
    monkeypatch.setattr(sqlite_library, "LIBRARY", OLD)
    for value, expected in (("", False), ("false", False), ("1", True), ("true", True)):
        monkeypatch.setenv(sqlite_library.ALLOW_OLD, value)
        assert may_write() is expected
    monkeypatch.setenv(sqlite_library.ALLOW_OLD, "")
    sqlite_library.allow_old_sqlite()
    with Database(tmp_path / "f.sqlite3", SCHEMA) as database:
        database.prepare()
    assert not is_read_only(tmp_path / "f.sqlite3")


def test_both_libraries_write_one_file_from_two_processes(tmp_path: Path) -> None:
    """Each write of a process with this library and of one with the standard library's is kept:
    they mind each other's locks, also while one folds the log in."""
    path = tmp_path / "f.sqlite3"
    with Database(path, SCHEMA) as database:
        database.prepare()
        with database.transaction() as sql:
            sql.execute("INSERT INTO t VALUES (0)")
    turns = 60
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", prefix + WRITER, str(path), str(turns)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for prefix in ("", STANDARD, STANDARD)
    ]
    said = [writer.communicate(timeout=60)[0].strip() for writer in writers]
    assert said[1:] == ["sqlite3", "sqlite3"]
    if MAY_CHOOSE:
        assert said[0] == LIBRARY.module
    with Database(path, SCHEMA) as database, database.read() as sql:
        found = [row[0] for row in sql.execute("SELECT a FROM t ORDER BY a")]
        assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert found == list(range(3 * turns + 1))
