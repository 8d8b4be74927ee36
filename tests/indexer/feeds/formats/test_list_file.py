"""List files: a path and a label a line, in time that grows with the line alone."""

from __future__ import annotations

import time

import pytest

from indexer.feeds.formats.list_file import _read_line


@pytest.mark.parametrize(
    ("line", "path", "label"),
    [
        ("a/b.jpg\tMug", "a/b.jpg", "Mug"),
        ("a b.JPEG  Mug, red", "a b.JPEG", "Mug, red"),
        ('"a.tiff" , "Mug"', "a.tiff", "Mug"),
        ("a.jpg.png;3", "a.jpg.png", "3"),
        ("a.jpg b.jpg", "a.jpg", "b.jpg"),
        ("a.jpg", "a.jpg", ""),
    ],
)
def test_a_line_is_a_path_and_a_label(line: str, path: str, label: str) -> None:
    """The first suffix that something parts from the rest ends the path."""
    found = _read_line(line)
    assert found is not None
    assert (found.path, found.label) == (path, label)


@pytest.mark.parametrize("line", ["a.jpgx", "Mug", 'a.jpg "x"y"', "a.jpg\tx\ty", 'a"b.jpg x'])
def test_what_is_no_such_line_is_none(line: str) -> None:
    """Neither part has a tab or a quote within."""
    assert _read_line(line) is None


@pytest.mark.parametrize("line", [".jpg " * 50_000 + 'x"y"z', "a.jpg" + " " * 200_000 + "\tx\ty"])
def test_a_hostile_line_takes_time_as_its_length(line: str) -> None:
    """However many suffixes or blanks it has."""
    begun = time.process_time()
    assert _read_line(line) is None
    assert time.process_time() - begun < 1
