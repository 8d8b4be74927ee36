"""Nothing outside a root is opened, whatever links lie in it or are put there in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.core import contained_files
from indexer.core.contained_files import contained_path, open_contained


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file, links inside and outside, and a pipe."""
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "a.txt").write_text("mine")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "good").symlink_to(root / "inner")
    (root / "bad.txt").symlink_to(tmp_path / "secret.txt")
    (root / "up").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    return root


@pytest.mark.parametrize("name", ["inner/a.txt", "good/a.txt", "inner/../inner/a.txt"])
def test_files_inside_are_opened(root: Path, name: str) -> None:
    """Also by links that stay inside."""
    with open_contained(root, root / name) as stream:
        assert stream.read() == b"mine"


@pytest.mark.parametrize("name", ["bad.txt", "up/secret.txt", "../secret.txt", "/etc/passwd"])
def test_what_lies_outside_is_refused(root: Path, name: str) -> None:
    """By a link, a linked folder, ``..`` or an absolute path."""
    assert contained_path(root, root / name) is None
    with pytest.raises(PermissionError, match="lies outside"):
        open_contained(root, root / name)


@pytest.mark.parametrize("name", ["inner", "pipe"])
def test_only_regular_files_are_opened(root: Path, name: str) -> None:
    """A pipe is not waited for."""
    with pytest.raises(PermissionError, match="not a regular file"):
        open_contained(root, root / name)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_put_there_in_between_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Between the look and the opening a file or a folder becomes a link."""
    path = root / "inner" / "a.txt"
    monkeypatch.setattr(contained_files, "contained_path", lambda root, path: path)
    if what == "file":
        path.unlink()
        path.symlink_to(root.parent / "secret.txt")
    else:
        path.unlink()
        (root / "inner").rmdir()
        (root / "inner").symlink_to(root.parent)
        path = root / "inner" / "secret.txt"
    with pytest.raises(OSError, match=r"symbolic|directory"):
        open_contained(root, path)
