"""Delimited text (CSV, TSV and their kind): delimiter, header, records."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from indexer.core.errors import BadDataError
from indexer.feeds.cell_shape import CellShapes
from indexer.feeds.csv_rows import CsvRows
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.table import MOST_COLUMNS, LostLines, ReadOptions, Record, Table
from indexer.feeds.table_format import FORMATS, FeedHead, TableFormat
from indexer.feeds.table_header import Header, find_header
from indexer.feeds.text_encoding import TextEncoding, find_encoding

_DELIMITERS = (",", ";", "\t", "|")
_WORDS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|", "pipe": "|"}
_SPOKEN = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# Characters and rows by which delimiter and header are found.
_SAMPLE = 1 << 18
_SAMPLE_ROWS = 60
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


class DelimitedTable(Table):
    """Rows of cells under a header."""

    format = "csv"
    text = True

    def __init__(self, source: FeedFile, options: ReadOptions) -> None:
        super().__init__(source)
        self.encoding = find_encoding(source, options.encoding)
        if self.encoding.guess:
            self.notice(self.encoding.guess, "guessed-encoding", line=self.encoding.line)
        sample, whole = _sample(source, self.encoding)
        first_line = sample.partition("\n")[0].rstrip("\r")
        sep = _SEP.fullmatch(first_line)
        self.delimiter = self._delimiter(sample, options.delimiter, sep.group(1) if sep else None)
        self.format = "tsv" if self.delimiter == "\t" else "csv"
        rows = _parse(sample, self.delimiter)
        # The last one may go on after the sample.
        rows = rows if whole or len(rows) < 2 else rows[:-1]
        start = 1 if sep else 0
        header = find_header(rows[start : start + _SAMPLE_ROWS])
        self._skip = start + header.at + 1
        self._take(header)
        below = rows[self._skip :]
        self._shapes = CellShapes(row for row in below if len(row) == len(header.cells))

    def _delimiter(self, sample: str, given: str | None, sep: str | None) -> str:
        if given is not None:
            delimiter = _WORDS.get(given.lower(), given)
            if len(delimiter) != 1 or delimiter in '"\r\n':
                raise BadDataError(f"--delimiter {given!r} is not one character, nor the word tab")
            return delimiter
        if sep is not None and sep not in '"\r\n':
            return sep
        delimiter, rival = _find_delimiter(sample)
        if rival is not None:
            self.notice(
                f"is read as separated by {_SPOKEN[delimiter]}; {_SPOKEN[rival]} would fit too: if "
                "that is meant, say so (--delimiter)",
                "guessed-delimiter",
            )
        return delimiter

    def _take(self, header: Header) -> None:
        if len(header.cells) > MOST_COLUMNS:
            raise BadDataError(
                f"{self.source.path} has {len(header.cells)} columns, more than {MOST_COLUMNS}"
            )
        self._header = header
        self.columns = header.columns
        self.preamble = header.preamble
        for reason, code in header.notices:
            self.notice(reason, code)

    @property
    def head_rows(self) -> int:
        """Rows up to the header, that one included."""
        return self._skip

    @property
    def names(self) -> list[str]:
        """The header's cells, as wide as a row; a name may be blank or stand twice."""
        return self._header.cells

    def values_of(self, cells: list[str]) -> dict[str, Any]:
        """The values of a row with these cells."""
        if self._header.plain:
            return dict(zip(self._header.cells, cells, strict=False))
        return self._header.values(cells)

    def records(self, lost: LostLines) -> Iterator[Record]:
        header = self._header
        prefix = f"{self.name}:"
        with self.encoding.lines(self.source) as text:
            rows = CsvRows(text, self.delimiter, header.cells, self._shapes, self, lost)
            rows.skip(self._skip)
            if header.plain:
                columns = header.cells
                for line, cells in rows:
                    yield Record(f"{prefix}{line}", dict(zip(columns, cells, strict=False)))
            else:
                for line, cells in rows:
                    yield Record(f"{prefix}{line}", header.values(cells))
        if self.source.damage:
            lost.lose(self.name, self.source.damage, code="damaged-file")


def _sample(source: FeedFile, encoding: TextEncoding) -> tuple[str, bool]:
    """The first characters of a file, and whether they are all of it."""
    with encoding.lines(source) as text:
        sample = text.read(_SAMPLE)
        return sample, not text.read(1)


def _parse(sample: str, delimiter: str) -> list[list[str]]:
    """Rows of the sample, blank ones as they are (csv gives no cells for them)."""
    csv.field_size_limit(1 << 30)
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter)
    while len(rows) < 2 * _SAMPLE_ROWS:
        try:
            rows.append(next(reader))
        except StopIteration:
            break
        except csv.Error:
            rows.append([])
    return rows


def _find_delimiter(sample: str) -> tuple[str, str | None]:
    """The character that parts most cells in most rows alike; and a second one that nearly does.

    The first row speaks for it, unless that is no header but a line above it.
    """
    scores: dict[str, float] = {}
    headed: dict[str, float] = {}
    for delimiter in _DELIMITERS:
        widths = [len(row) for row in _parse(sample, delimiter) if row][:_SAMPLE_ROWS]
        if not widths:
            continue
        width, count = Counter(widths).most_common(1)[0]
        scores[delimiter] = (width - 1) * count / len(widths)
        if widths[0] == width:
            headed[delimiter] = scores[delimiter]
    best = max(scores, key=scores.__getitem__, default=",")
    found = max(headed, key=headed.__getitem__, default=best)
    if headed.get(found, 0) < 0.2 * scores.get(best, 0):
        found = best
    if not scores.get(found):
        return ",", None
    rivals = [other for other in headed if other != found and headed[other] > 0.6 * scores[found]]
    return found, rivals[0] if rivals else None


def _fits(head: FeedHead) -> int:
    if head.suffix in _SUFFIXES:
        return 2
    # Text of any name that begins with rows of cells.
    first, _, rest = head.text.partition("\n")
    second = rest.partition("\n")[0]
    if "\0" in first:
        return 0
    counts = [(first.count(delimiter), second.count(delimiter)) for delimiter in _DELIMITERS]
    if any(count > 1 and count == below for count, below in counts):
        return 2
    return int(any(count for count, _ in counts))


_SUFFIXES = (".csv", ".tsv", ".tab", ".psv")

FORMATS.register(TableFormat("csv", _SUFFIXES, _fits, DelimitedTable, 70))
