"""Broken rows cost themselves; what an open quote took in is given back."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.feeds import csv_rows
from tests.indexer.feeds.feed_reads import read

HEADER = "id,title,image,price\n"


def row(number: int, title: str = "Shirt") -> str:
    return f"{number},{title},i/{number}.jpg,1{number}.50\n"


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        # To the end of the file.
        (row(4) + row(5) + row(6), [2, 3, 4, 5, 6, 7]),
        # To a quote that opens a good cell.
        (row(4) + row(5, '"Hat, red"') + row(6), [2, 3, 4, 5, 6, 7]),
        # To a quote within a cell, where all looks whole.
        (row(4) + row(5, 'Hat 5"') + row(6), [2, 3, 4, 5, 6, 7]),
        # To a cell that has line breaks itself.
        (row(4) + row(5, '"a\nb, c"') + row(6), [2, 3, 4, 5, 6, 8]),
        # To a line that is broken itself.
        (row(4) + 'x,"y\n' + row(6), [2, 3, 4, 5, 7]),
    ],
)
def test_an_open_quote_ends_where_rows_look_sound(
    tmp_path: Path, after: str, lines: list[int]
) -> None:
    """Its line and what it took in are named; the rows are given, its own with the quote as a
    character."""
    found = read(tmp_path, HEADER + row(1) + row(2) + '3,"12 inch,i/3.jpg,5\n' + after)
    assert found.lines == lines
    ids = ["1", "2", "3", "4", "5", "6"]
    assert found.values("id") == (ids if len(lines) == 6 else ["1", "2", "3", "4", "6"])
    assert found.values("title")[2] == '"12 inch'
    said = found.lost.warnings[0]
    assert (said.where, said.code) == ("feed.csv:4", "open-quote")
    assert "it took in lines 5 to " in said.reason


def test_prose_in_quotes_is_no_rows(tmp_path: Path) -> None:
    """Line breaks, delimiters and even lines with a row's number of cells stay one cell."""
    prose = "soft, warm\ngreen, blue, red, 7\n\nthe end"
    found = read(tmp_path, HEADER + row(1) + row(2, f'"{prose}"') + row(3))
    assert found.values("title") == ["Shirt", prose, "Shirt"]
    assert found.lines == [2, 3, 7]
    assert found.codes == []
    words = "Red, blue, green\nS, M, L\nCotton, wool, silk"
    tight = words.replace(", ", ",")
    for last in (words, tight):
        text = f'id,title,note\nA1,Hat,"x, y"\nA2,Cap,{{}}\nA3,Mug,"{last}"\nA4,Tee,z\n'
        found = read(tmp_path, text.format('"x\ny"'))
        assert found.values("note") == ["x, y", "x\ny", last, "z"]


def test_a_long_cell_is_a_cell(tmp_path: Path) -> None:
    """Beyond the csv module's own limit, with hundreds of line breaks."""
    page = "\n".join(f"<p>line {number}, of a long page</p>" for number in range(6_000))
    found = read(tmp_path, HEADER + row(1) + row(2, f'"{page}"') + row(3))
    assert [len(title) for title in found.values("title")] == [5, len(page), 5]
    assert found.codes == []


def test_a_record_too_long_is_lost_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quote that is never closed holds no more than a record may; a line too long is left out."""
    monkeypatch.setattr(csv_rows, "MOST_RECORD", 200)
    rows = "".join(map(row, range(4, 60)))
    found = read(tmp_path, HEADER + row(1) + row(2) + '3,"12 inch,i/3.jpg,5\n' + rows)
    assert found.values("id") == [str(number) for number in range(1, 60)]
    found = read(tmp_path, HEADER + row(1) + row(2, "x" * 1_000) + row(3))
    assert (found.values("id"), found.lines) == (["1", "3"], [2, 4])
    assert found.codes == ["long-line"]


def test_backslashes_before_quotes(tmp_path: Path) -> None:
    """As PHP and MySQL write them."""
    found = read(tmp_path, HEADER + row(1) + row(2, '"says \\"hi, you\\""') + row(3))
    assert found.values("title") == ["Shirt", 'says "hi, you"', "Shirt"]


def test_rows_of_another_width(tmp_path: Path) -> None:
    """Blank cells too many are dropped; others lose their row, which still says what it names; a
    header in the middle is no row."""
    text = HEADER + row(1) + "2,Hat,i/2.jpg,5,,\n3,Hat, red,i/3.jpg,5\n4,Hat\n" + HEADER + row(5)
    found = read(tmp_path, text)
    assert found.values("id") == ["1", "2", "5"]
    assert [notice.where for notice in found.lost.skipped] == ["feed.csv:4", "feed.csv:5"]
    assert found.lost.ids == ["3", "Hat", "4"]
    assert [notice.code for notice in found.lost.warnings] == ["repeated-header"]


def test_a_file_cut_off_within_a_cell_says_so(tmp_path: Path) -> None:
    """What was read stays."""
    found = read(tmp_path, HEADER + row(1) + '2,Hat,i/2.jpg,"5')
    assert found.values("id") == ["1", "2"]
    assert [(note.where, note.code) for note in found.lost.warnings] == [("feed.csv:3", "cut-off")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_are_those_of_an_editor(tmp_path: Path, end: str) -> None:
    """Whatever ends them, blank ones counted."""
    text = (HEADER + "\n" + row(1, '"a\nb"') + row(2) + "x\n").replace("\n", end)
    found = read(tmp_path, text)
    assert found.lines == [3, 5]
    assert found.lost.skipped[0].where == "feed.csv:6"


def test_quotes_in_every_line_are_read_again_a_few_times_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each line opens a quote that no later one closes, each took in all the others: then
    lines stand alone, and every row is given."""
    looked = 0
    is_sound = csv_rows.CsvRows._is_sound

    def counted(self: csv_rows.CsvRows, line: str) -> bool:
        nonlocal looked
        looked += 1
        return is_sound(self, line)

    monkeypatch.setattr(csv_rows.CsvRows, "_is_sound", counted)
    monkeypatch.setattr(csv_rows, "_FREE_AGAIN", 1 << 12)
    rows = 2_000
    found = read(tmp_path, "id,title,note\n" + "".join(f'{n},a"b,"x\n' for n in range(rows)))
    assert found.values("id") == [str(n) for n in range(rows)]
    # Twice, as the feed is read; without a bound a thousand times.
    assert looked < 2 * 8 * rows
    reasons = [notice.reason for notice in found.lost.warnings]
    assert any("as too many before it are not" in reason for reason in reasons)
