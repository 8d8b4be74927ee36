"""A feed is written whole or not at all, and no spreadsheet runs its cells."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.core.errors import BadRequestError, CatalensError
from indexer.feeds.export.feed_writer import write_feed
from indexer.feeds.table_header import find_header
from indexer.feeds.values.spreadsheet_cells import harmless, unharmed


def test_a_spreadsheet_runs_nothing_and_numbers_stay(tmp_path: Path) -> None:
    rows = [{"a": "=1+1", "b": "-3.5"}, {"a": "@x", "b": "+1 piece"}]
    assert write_feed(tmp_path / "x.csv", ["a", "b"], rows, spreadsheet=True) == 2
    data = (tmp_path / "x.csv").read_bytes()
    assert data == b"\xef\xbb\xbfa,b\n'=1+1,-3.5\n'@x,'+1 piece\n"
    write_feed(tmp_path / "y.csv", ["a", "b"], rows)
    assert (tmp_path / "y.csv").read_bytes() == b"a,b\n=1+1,-3.5\n@x,+1 piece\n"


@pytest.mark.parametrize(
    "cell", ["＝1+1", "＠x", "\n=1", "'=1+1", "''-a", "-12.5", "'tis", "'-12.5"]
)
def test_what_was_made_harmless_is_read_as_it_was(cell: str) -> None:
    """Full width, line breaks, and texts that look like harmless ones themselves."""
    written = harmless(cell)
    assert unharmed(written) == cell
    assert (written == cell) == (cell in ("-12.5", "'tis"))


def test_a_column_s_name_is_run_by_no_spreadsheet_either(tmp_path: Path) -> None:
    """An attribute may be called anything; its column is read under its own name."""
    write_feed(tmp_path / "x.csv", ["a", "=1+1"], [{"a": "b"}], spreadsheet=True)
    assert (tmp_path / "x.csv").read_text("utf-8-sig").startswith("a,'=1+1\n")
    assert find_header([["a", "'=1+1"]]).columns == ["a", "=1+1"]


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
