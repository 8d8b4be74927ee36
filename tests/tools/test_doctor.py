"""Tests of ``tools.doctor``."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from click.testing import CliRunner

from indexer.core import sqlite_library
from indexer.core.errors import DamagedHomeError, DiskFullError, ReadOnlyError
from indexer.core.home import Home
from indexer.core.sqlite_library import LIBRARY, SQLiteLibrary
from indexer.operations import verification
from tools import doctor
from tools.commands import doctor as command


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


@pytest.mark.parametrize(
    "error",
    [
        DiskFullError("catalog.sqlite3: its disk is full"),
        ReadOnlyError("embeddings/a.sqlite3 is read-only"),
        PermissionError(13, "Permission denied", "vectors.npy"),
    ],
)
def test_a_home_that_cannot_be_checked_is_no_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What keeps ``verify`` from its work is a problem, once, and the other checks go on; the
    command fails as ``verify`` does."""

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(verification, "verify_home", refuse)
    monkeypatch.setattr(doctor, "LOW_DISK_BYTES", 2**80)
    problems: list[str] = []
    found = doctor._home(Home.create(tmp_path / "home").path, problems)
    assert not found["intact"]
    assert sum(str(error.args[-1]) in problem for problem in problems) == 1
    assert any("GiB are free" in problem for problem in problems)


def test_the_command_fails_where_the_home_is_not_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it printed what it found; other problems are told, and are no failure."""
    for intact in (True, False):
        document = {"home": {"intact": intact}, "problems": ["something"]}
        monkeypatch.setattr(doctor, "examine", lambda *_, _found=document, **__: _found)
        done = CliRunner().invoke(command.doctor, ["--home", str(tmp_path), "--json"])
        assert json.loads(done.stdout) == document
        assert isinstance(done.exception, DamagedHomeError) != intact


def test_folders_on_other_disks_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether they can be written, and have room; ``photos`` may be a link."""
    home, disk = Home.create(tmp_path / "home").path, tmp_path / "disk"
    (home / "lost+found").mkdir()
    disk.mkdir()
    (home / "photos").symlink_to(disk)
    closed = {home / "photos", home / "lost+found"}
    monkeypatch.setattr(os, "access", lambda path, mode: path not in closed)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**40 * (path == home)))
    stat = Path.stat

    def stat_of(path: Path, **options: bool) -> os.stat_result:
        found = stat(path, **options)
        own = (*found[:2], found.st_dev + (path.name == "photos"), *found[3:])
        return os.stat_result(own)

    monkeypatch.setattr(Path, "stat", stat_of)
    problems: list[str] = []
    doctor._surroundings(home, {}, problems)
    assert problems == [
        f"{home / 'photos'}: cannot be written by this user, so what belongs there is refused; "
        "give it to the home's user, on a disk that is mounted to be written",
        f"only 0.0 GiB are free on the disk of {home / 'photos'}",
    ]
