"""A name from a file is one name in a folder, or it is refused."""

from __future__ import annotations

import pytest

from indexer.core.file_names import is_plain_name


@pytest.mark.parametrize("name", ["rows.npy", "m0123", "a b.txt", "Ä.json", "x" * 255])
def test_plain_names(name: str) -> None:
    """Any visible name of at most 255 bytes."""
    assert is_plain_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "/etc/passwd", "../x", "a/b", "a\\b", "C:x", ".ssh", "a\0b", "a\nb"),
        *(" a", "a ", "x" * 256, "ä" * 128, None, 3, ["a"], "a\u202eb"),
    ],
)
def test_what_is_no_plain_name(name: object) -> None:
    """Paths, hidden names, controls, names that are too long, and what is no text."""
    assert not is_plain_name(name)
