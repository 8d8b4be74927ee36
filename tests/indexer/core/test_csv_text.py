"""What any reader of CSV takes for the end of a line stands in quotes."""

from __future__ import annotations

import csv
import io
import itertools

import pytest

from indexer.core.csv_text import LINE_ENDS, CsvWriter, needs_quotes


def written(*rows: tuple[object, ...], delimiter: str = ",", line_end: str = "\n") -> str:
    stream = io.StringIO(newline="")
    CsvWriter(stream, delimiter=delimiter, line_end=line_end).writerows(rows)
    return stream.getvalue()


@pytest.mark.parametrize("char", LINE_ENDS)
def test_no_character_ends_a_row_without_quotes(char: str) -> None:
    cells = (f"a{char}=1+1", char, f"{char}x", f"x{char}")
    text = written(cells, ("next", 1, None, ""))
    first = ",".join(f'"{cell}"' for cell in cells)
    assert text == f"{first}\nnext,1,,\n"
    assert next(csv.reader(io.StringIO(text, newline=""))) == [*cells]
    assert all(needs_quotes(cell, "\t") for cell in cells)


def test_the_characters_are_all_that_python_ends_lines_at() -> None:
    every = map(chr, itertools.chain(range(0xD800), range(0xE000, 0x11000)))
    assert sorted(LINE_ENDS) == [char for char in every if len(f"a{char}b".splitlines()) > 1]


def test_rows_are_written_as_python_writes_them_otherwise() -> None:
    assert written(("a,b", 'say "x"', 1.5), line_end="\r\n") == '"a,b","say ""x""",1.5\r\n'
    assert written(("a,b", "c\td"), delimiter="\t") == 'a,b\t"c\td"\n'
    assert written(("",), ()) == '""\n\n'
    assert [needs_quotes("a;b", delimiter) for delimiter in ";,"] == [True, False]
    assert needs_quotes('"', ",")
