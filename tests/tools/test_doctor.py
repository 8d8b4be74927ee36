"""Tests of ``tools.doctor``."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.core import sqlite_library
from indexer.core.sqlite_library import LIBRARY, SQLiteLibrary
from tools import doctor


def test_a_home_that_others_may_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each folder above it lets them pass."""
    monkeypatch.setattr(Path, "parents", (Path("/"),))
    home = tmp_path / "home"
    home.mkdir()
    for mode, is_open in ((0o755, True), (0o701, True), (0o750, False), (0o700, False)):
        home.chmod(mode)
        assert doctor._is_open(home) == is_open
    monkeypatch.undo()
    home.chmod(0o755)
    assert not doctor._is_open(home)  # pytest's own folder above it is closed


def test_the_sqlite_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Module and version; an old one is a problem that says what to do, also where it may write."""
    problems: list[str] = []
    found = doctor._sqlite(problems)
    assert (found["library"], found["version"]) == (LIBRARY.module, LIBRARY.version)
    assert (problems == []) == LIBRARY.sound
    old = SQLiteLibrary("sqlite3", "3.40.1", sound=False)
    monkeypatch.setattr(sqlite_library, "LIBRARY", old)
    monkeypatch.setattr(doctor, "LIBRARY", old)
    monkeypatch.delenv(sqlite_library.ALLOW_OLD, raising=False)
    problems.clear()
    assert not doctor._sqlite(problems)["may_write"]
    assert "SQLite 3.40.1" in problems[0]
    assert "pip install pysqlite3" in problems[0]
    monkeypatch.setenv(sqlite_library.ALLOW_OLD, "1")
    problems.clear()
    assert doctor._sqlite(problems)["may_write"]
    assert "homes are written nonetheless" in problems[0]
