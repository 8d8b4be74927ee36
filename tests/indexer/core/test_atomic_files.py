"""Files that are written whole, and whether one has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.core import atomic_files
from indexer.core.atomic_files import (
    file_stamp,
    folder_aside,
    is_claimed,
    write_atomic,
    written_aside,
)


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
    write_atomic(tmp_path / "a" / "b" / "file", b"x")
    assert [tmp_path, tmp_path / "a", tmp_path / "a" / "b"] == [
        path for path in flushed if path.is_dir()
    ]
    flushed.clear()
    with folder_aside(tmp_path / "jobs" / "one"):
        assert flushed == [tmp_path]
    write_atomic(tmp_path / "a" / "b" / "other", b"x")
    assert [path for path in flushed if path.is_dir()] == [tmp_path, tmp_path / "a" / "b"]


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
