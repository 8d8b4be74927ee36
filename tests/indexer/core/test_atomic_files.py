"""Files that are written whole, and whether one has changed."""

from __future__ import annotations

import os
from pathlib import Path

from indexer.core.atomic_files import file_stamp


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
