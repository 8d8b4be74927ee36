"""Photos on disk are read as far as a photo goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.imaging.parallel import decode_all
from indexer.imaging.photo_file import read_photo


def test_a_file_larger_than_a_photo_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hole of a terabyte was read into memory, and a pipe was waited for."""
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    os.mkfifo(tmp_path / "pipe.jpg")
    found = dict(decode_all([path, tmp_path / "pipe.jpg"], read_photo))
    assert "CATALENS_MAX_IMAGE_BYTES" in str(found[path])
    assert "not a regular file" in str(found[tmp_path / "pipe.jpg"])
    monkeypatch.setenv("CATALENS_MAX_IMAGE_BYTES", "4")
    path.write_bytes(b"1234")
    assert read_photo(path) == b"1234"
    path.write_bytes(b"12345")
    with pytest.raises(OSError, match="more than 4 bytes"):
        read_photo(path)
