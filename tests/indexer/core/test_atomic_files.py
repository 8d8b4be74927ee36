"""Files that are written whole, and whether one has changed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from indexer.core import atomic_files
from indexer.core.atomic_files import (
    close_file,
    file_stamp,
    folder_aside,
    is_claimed,
    make_folder,
    move_file,
    write_atomic,
    write_json,
    written_aside,
)
from indexer.core.sqlite import Database, Schema


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """A block that fails leaves the old file and nothing beside it; meanwhile both are there, and
    the new one is told from what a killed process left."""
    file = tmp_path / "file"
    file.write_text("old")
    with pytest.raises(ZeroDivisionError):
        _fail_half_way(file)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with written_aside(file) as aside:
        aside.write_text("new")
    assert (file.read_text(), is_claimed(file)) == ("new", False)


def _fail_half_way(file: Path) -> None:
    with written_aside(file) as aside:
        aside.write_text("half")
        assert (file.read_text(), is_claimed(aside)) == ("old", True)
        raise ZeroDivisionError


def test_a_folder_aside_is_claimed_while_it_is_filled(tmp_path: Path) -> None:
    """And gone after its block."""
    with folder_aside(tmp_path / "model") as aside:
        (aside / "part").write_text("x")
        assert is_claimed(aside)
    assert list(tmp_path.iterdir()) == []
    assert not is_claimed(aside)


def test_new_folders_survive_a_power_cut_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file below a new folder, or the first folder: each new entry is flushed, so that
    what was acknowledged is found again."""
    flushed: list[Path] = []
    monkeypatch.setattr(atomic_files, "fsync_path", lambda path: flushed.append(path))
    make_folder(tmp_path / "a" / "b")
    write_atomic(tmp_path / "a" / "b" / "file", b"x")
    assert [tmp_path, tmp_path / "a", tmp_path / "a" / "b"] == [
        path for path in flushed if path.is_dir()
    ]
    flushed.clear()
    make_folder(tmp_path / "jobs", below=tmp_path)
    with folder_aside(tmp_path / "jobs" / "one"):
        assert flushed == [tmp_path]
    write_atomic(tmp_path / "a" / "b" / "other", b"x")
    assert [path for path in flushed if path.is_dir()] == [tmp_path, tmp_path / "a" / "b"]


def test_no_folder_is_made_where_one_was_taken_away(tmp_path: Path) -> None:
    """Whoever writes to a home that is gone makes no new one in its place."""
    gone = tmp_path / "home"
    for make in (
        lambda: make_folder(gone / "photos" / "ab", below=gone),
        lambda: write_atomic(gone / "CURRENT", b"x"),
        lambda: folder_aside(gone / "jobs").__enter__(),
    ):
        with pytest.raises(FileNotFoundError):
            make()
    assert list(tmp_path.iterdir()) == []


def test_a_stamp_sees_what_time_alone_does_not(tmp_path: Path) -> None:
    """A replaced file has another stamp though time and size are equal; no file has none."""
    file, aside = tmp_path / "file", tmp_path / "aside"
    assert file_stamp(file) is None
    stamps = []
    for text in ("one", "two"):
        aside.write_text(text)
        os.utime(aside, ns=(10**18, 10**18))
        os.replace(aside, file)
        stamps.append(file_stamp(file))
        assert file_stamp(file) == stamps[-1]
    assert stamps[0] != stamps[1]


@pytest.mark.skipif(os.name == "nt", reason="no modes")
@pytest.mark.parametrize(
    ("folder", "found", "mode"),
    [(0o755, 0o644, 0o600), (0o770, 0o664, 0o660), (0o750, 0o644, 0o640), (0o700, 0o400, 0o400)],
)
def test_files_that_were_open_to_others_are_closed(
    tmp_path: Path, folder: int, found: int, mode: int
) -> None:
    """What a release before made; nothing is opened, and a link's target stays as it is."""
    tmp_path.chmod(folder)
    path, target, link = (tmp_path / name for name in ("a.json", "elsewhere", "link.json"))
    for one in (path, target):
        one.write_bytes(b"")
        one.chmod(found)
    link.symlink_to(target)
    for one in (path, link, tmp_path / "none"):
        close_file(one)
    assert path.stat().st_mode & 0o777 == mode
    assert target.stat().st_mode & 0o777 == found


@pytest.mark.parametrize("is_other", [False, True])
def test_a_file_is_moved_to_another_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_other: bool
) -> None:
    """Whatever stood there; another failure stays one."""
    path, target = tmp_path / "here" / "a", tmp_path / "there" / "a"
    for one in (path, target):
        one.parent.mkdir()
        one.write_text(str(one.parent))
    replace = os.replace

    def to_other(old: Path, new: Path) -> None:
        if is_other and Path(old).parent != Path(new).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(old, new)

    monkeypatch.setattr(os, "replace", to_other)
    move_file(path, target)
    assert (target.read_text(), path.exists()) == (str(path.parent), False)
    assert [*target.parent.iterdir()] == [target]
    with pytest.raises(FileNotFoundError):
        move_file(path, target)


@pytest.mark.skipif(os.name == "nt", reason="no modes")
@pytest.mark.parametrize(("folder", "mode"), [(0o755, 0o600), (0o770, 0o660), (0o750, 0o640)])
def test_private_files_are_so_by_their_own_mode(tmp_path: Path, folder: int, mode: int) -> None:
    """Whatever the process's mask; a folder that a group may write is shared on purpose."""
    tmp_path.chmod(folder)
    before = os.umask(0)
    try:
        write_json(tmp_path / "keys.json", {}, private=True)
        write_json(tmp_path / "spec.json", {})
        with Database(tmp_path / "a.sqlite3", Schema(1, ("CREATE TABLE a (b)",))) as database:
            database.prepare()
            with database.transaction() as sql:
                sql.execute("INSERT INTO a VALUES (1)")
            names = ("keys.json", "a.sqlite3", "a.sqlite3-wal")
            modes = [(tmp_path / name).stat().st_mode & 0o777 for name in names]
    finally:
        os.umask(before)
    assert modes == [mode] * 3
    assert (tmp_path / "spec.json").stat().st_mode & 0o777 == 0o666
