"""A feed is written whole or not at all, and no spreadsheet runs its cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.core.errors import BadRequestError, CatalensError
from indexer.feeds.export.feed_writer import write_feed


def test_a_spreadsheet_runs_nothing_and_numbers_stay(tmp_path: Path) -> None:
    rows = [{"a": "=1+1", "b": "-3.5"}, {"a": "@x", "b": "+1 piece"}]
    assert write_feed(tmp_path / "x.csv", ["a", "b"], rows, spreadsheet=True) == 2
    data = (tmp_path / "x.csv").read_bytes()
    assert data == b"\xef\xbb\xbfa,b\n'=1+1,-3.5\n'@x,'+1 piece\n"
    write_feed(tmp_path / "y.csv", ["a", "b"], rows)
    assert (tmp_path / "y.csv").read_bytes() == b"a,b\n=1+1,-3.5\n@x,+1 piece\n"


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    """Rows that fail half-way, a folder that is not there, a suffix that is none."""
    out = tmp_path / "x.csv"
    out.write_text("old")

    def rows():  # type: ignore[no-untyped-def]
        yield {"a": 1}
        raise OSError(28, "No space left on device")

    with pytest.raises(CatalensError):
        write_feed(out, ["a"], rows())
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
    with pytest.raises(CatalensError):
        write_feed(tmp_path / "no" / "x.csv", ["a"], [])
    with pytest.raises(BadRequestError, match=r"\.csv, \.tsv"):
        write_feed(tmp_path / "x.xml", ["a"], [])
