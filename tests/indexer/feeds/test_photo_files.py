"""The photo that a feed means is found, however its path is written, and nothing outside."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from indexer.feeds.photo_files import resolve


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Photos as a Mac and a Windows machine name them, and a secret beside them."""
    for name in (
        "img/Mütze (rot).JPG",
        "img/a.jpg",
        "b.jpg",
        "x/Y.jpg",
        "x/y.JPG",
        "img/50%25.jpg",
    ):
        path = tmp_path / "root" / unicodedata.normalize("NFD", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "secret.jpg").write_bytes(b"x")
    os.symlink(tmp_path / "secret.jpg", tmp_path / "root" / "link.jpg")
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("img/a.jpg", "img/a.jpg"),
        (" img/a.jpg\t", "img/a.jpg"),
        ('"img/a.jpg"', "img/a.jpg"),
        ("./img//a.jpg", "img/a.jpg"),
        ("img\\a.jpg", "img/a.jpg"),
        ("IMG/A.JPG", "img/a.jpg"),
        ("img / a.jpg", "img/a.jpg"),
        ("img/Mütze (rot).jpg", "img/Mütze (rot).JPG"),
        ("img/M%C3%BCtze%20(rot).jpg", "img/Mütze (rot).JPG"),
        ("img/50%25.jpg", "img/50%25.jpg"),
        ("C:\\shop\\photos\\img\\a.jpg", "img/a.jpg"),
        ("D:b.jpg", "b.jpg"),
        ("\\\\nas\\shop\\img\\a.jpg", "img/a.jpg"),
        ("/var/www/media/img/a.jpg", "img/a.jpg"),
        ("file:///C:/shop/img/a.jpg", "img/a.jpg"),
        ("../elsewhere/img/a.jpg", "img/a.jpg"),
        ("x/Y.jpg", "x/Y.jpg"),
        ("x/Y.JPG", None),
        ("img/c.jpg", None),
        ("img", None),
        ("nul\0l.jpg", None),
        ("", None),
        ("a" * 10_000, None),
    ],
)
def test_paths_of_other_machines(root: Path, text: str, found: str | None) -> None:
    """Backslashes, drives, shares, Unicode forms, case, blanks, escapes; two files that differ in
    case alone are not confused."""
    meant = None if found is None else root / unicodedata.normalize("NFD", found)
    for inside in (False, True):
        photo = resolve(root, text, within=root if inside else None)
        assert photo == meant or (photo is not None and meant and photo.samefile(meant))


@pytest.mark.parametrize("text", ["../secret.jpg", "link.jpg", "img/../../secret.jpg", "{}"])
def test_nothing_outside_is_found(root: Path, text: str) -> None:
    """A path as written may lead anywhere, unless what it is read from came from elsewhere."""
    text = text.format(root.parent / "secret.jpg")
    assert resolve(root, text) is not None
    assert resolve(root, text, within=root) is None


def test_a_folder_that_changes_is_read_again(root: Path) -> None:
    """Names that are kept for comparison are no older than the folder."""
    assert resolve(root, "NEW.JPG") is None
    os.utime(root, ns=(1, 1))
    (root / "new.jpg").write_bytes(b"x")
    assert resolve(root, "NEW.JPG") == root / "new.jpg"
