"""Copy of a feed of delimited text with changed cells: every other byte as the shop wrote it."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from indexer.core.atomic_files import storage_failure, written_aside
from indexer.core.csv_text import needs_quotes
from indexer.feeds.export.feed_filler import FilledRow
from indexer.feeds.formats.delimited import DelimitedTable
from indexer.feeds.notice import Notice

_MARKS = (
    (codecs.BOM_UTF8, "utf-8", codecs.BOM_UTF8),
    (codecs.BOM_UTF32_LE, "utf-32-le", codecs.BOM_UTF32_LE),
    (codecs.BOM_UTF32_BE, "utf-32-be", codecs.BOM_UTF32_BE),
    (codecs.BOM_UTF16_LE, "utf-16-le", codecs.BOM_UTF16_LE),
    (codecs.BOM_UTF16_BE, "utf-16-be", codecs.BOM_UTF16_BE),
)
_ODD = "is no plain row of text: it is left as it is"
_LINE_END = re.compile(r"(?:\r\n|\r|\n)\Z")


def keeps_form(table: object, out: Path) -> bool:
    """Whether a copy of ``table`` at ``out`` has the form of the file itself."""
    suffix = out.suffix.lower()
    if not isinstance(table, DelimitedTable) or suffix not in (".csv", ".tsv", ".txt"):
        return False
    return suffix == ".txt" or (suffix == ".tsv") == (table.delimiter == "\t")


class TextCopy:
    """Copies of a feed in its own encoding, with its byte order mark, delimiter, quotes and line
    ends, the rows above its header, and lines that are no rows.

    ``notices`` take changes that were left out: what the encoding cannot hold, and rows that are no
    plain rows of text.
    """

    def __init__(self, table: DelimitedTable) -> None:
        self.notices: list[Notice] = []
        # Of columns -> changes that were left out.
        self.left: Counter[str] = Counter()
        self._table = table
        self._encoding, self._mark = _form(table)
        # Bytes that the encoding does not know come out as they came in.
        wide = self._encoding.startswith(("utf-16", "utf-32"))
        self._errors = "surrogatepass" if wide else "surrogateescape"

    def write(self, out: Path, rows: Iterable[FilledRow], *, whole: bool, undo: bool) -> int:
        """Write ``rows``, in the feed's order, to ``out``, whole or not at all; returns how many.

        ``whole``: with all lines between them, else only what stands above the rows. ``undo``: the
        rows as they were. Raises ``ReadOnlyError``, ``DiskFullError``, ``StorageError``.
        """
        count = 0
        try:
            with written_aside(out) as aside, aside.open("wb") as file:
                file.write(self._mark)
                for text, is_row in self._parts(rows, whole, undo):
                    file.write(text.encode(self._encoding, self._errors))
                    count += is_row
            return count
        except OSError as error:
            raise storage_failure(out, error) from error

    def _parts(
        self, rows: Iterable[FilledRow], whole: bool, undo: bool
    ) -> Iterator[tuple[str, bool]]:
        """Texts of the copy, and whether each is a row."""
        table = self._table
        with table.source.open() as file:
            file.read(len(self._mark))
            decoded = codecs.getreader(self._encoding)(file, self._errors)
            lines = _Lines(decoded)
            yield "".join(lines.record(table.delimiter)[0] for _ in range(table.head_rows)), False
            for row in rows:
                for line in lines.until(int(row.where.rpartition(":")[2])):
                    if whole:
                        yield line, False
                text, cells = lines.record(table.delimiter)
                if not self._is_plain(row, cells):
                    # As an open quote has it: the row is its first line.
                    text = lines.back_to_first(text)
                    if row.old and not undo:
                        self._leave(row, _ODD, [*row.old])
                elif row.old and not undo:
                    text = self._changed(row, text, cells)
                yield text, True
            if whole:
                yield from ((line, False) for line in lines.rest())

    def _is_plain(self, row: FilledRow, cells: list[str]) -> bool:
        """Whether the cells are those that the row was read with."""
        if len(cells) != len(self._table.names):
            return False
        values = self._table.values_of(cells)
        before = {**row.values, **row.old}
        return all(values.get(column, "") == value for column, value in before.items())

    def _changed(self, row: FilledRow, text: str, cells: list[str]) -> str:
        """The row's text with its new values."""
        end = _LINE_END.search(text)
        body = text[: end.start()] if end else text
        parts = _split(body, self._table.delimiter)
        if len(parts) != len(cells):
            self._leave(row, _ODD, [*row.old])
            return text
        for column in row.old:
            value = str(row.values[column])
            try:
                value.encode(self._encoding)
            except UnicodeEncodeError:
                reason = f"{value!r} cannot be written in {self._encoding}: left as it is"
                self._leave(row, reason, [column])
                continue
            at = self._place(column, cells)
            parts[at] = _quoted(value, self._table.delimiter, like=parts[at])
        return self._table.delimiter.join(parts) + (end.group() if end else "")

    def _place(self, column: str, cells: list[str]) -> int:
        """Of a column that stands twice, the one that is read."""
        places = [at for at, name in enumerate(self._table.names) if name == column]
        return next((at for at in places if cells[at].strip()), places[0])

    def _leave(self, row: FilledRow, reason: str, columns: Iterable[str]) -> None:
        self.left.update(columns)
        self.notices.append(Notice(row.where, reason, "not-written"))


class _Lines:
    """Physical lines of a file, numbered from 1."""

    def __init__(self, text: Any) -> None:
        self._source = _physical(text)
        self._pending: list[str] = []
        self._next = 1
        # Of the record that was read last.
        self._held: list[str] = []

    def until(self, number: int) -> Iterator[str]:
        """All lines before line ``number``."""
        while self._next < number and (line := self._take()):
            yield line

    def record(self, delimiter: str) -> tuple[str, list[str]]:
        """The text and cells of the record that begins here."""
        self._held = []

        def lines() -> Iterator[str]:
            while line := self._take():
                self._held.append(line)
                yield line

        csv.field_size_limit(1 << 30)
        try:
            cells = next(csv.reader(lines(), delimiter=delimiter), [])
        except csv.Error:
            cells = []
        return "".join(self._held), cells

    def back_to_first(self, text: str) -> str:
        """Give back all but the first line of the record that was read."""
        rest = self._held[1:]
        self._pending = rest + self._pending
        self._next -= len(rest)
        return self._held[0] if self._held else text

    def rest(self) -> Iterator[str]:
        """All further lines."""
        while line := self._take():
            yield line

    def _take(self) -> str:
        line = self._pending.pop(0) if self._pending else next(self._source, "")
        self._next += bool(line)
        return line


def _physical(text: TextIO) -> Iterator[str]:
    """Lines as the reader counts them: ended by LF, CR or both."""
    left = ""
    while piece := text.read(1 << 16):
        left += piece
        parts = re.split(r"(?<=\n)|(?<=\r)(?!\n)", left)
        # The last may go on, as may one that ends with CR.
        keep = 2 if not parts[-1] and len(parts) > 1 and parts[-2].endswith("\r") else 1
        left = "".join(parts[-keep:])
        yield from (part for part in parts[:-keep] if part)
    yield from (part for part in re.split(r"(?<=\n)|(?<=\r)(?!\n)", left) if part)


def _form(table: DelimitedTable) -> tuple[str, bytes]:
    """Encoding without a mark, and the byte order mark that the file begins with."""
    head = table.source.head(4)
    name = table.encoding.name
    if name.startswith("utf"):
        for mark, encoding, written in _MARKS:
            if head.startswith(mark):
                return encoding, written
    return name.removesuffix("-sig").removesuffix("_sig"), b""


def _split(body: str, delimiter: str) -> list[str]:
    """The cells of one record as they are written, quotes included."""
    parts = []
    start = 0
    quoted = False
    fresh = True
    for at, char in enumerate(body):
        if char == '"' and (quoted or fresh):
            quoted = not quoted
        elif char == delimiter and not quoted:
            parts.append(body[start:at])
            start = at + 1
            fresh = True
            continue
        # A quote that ended may be the first half of two, which stand for one.
        fresh = char == '"' and not quoted
    parts.append(body[start:])
    return parts


def _quoted(value: str, delimiter: str, *, like: str) -> str:
    """``value`` as a cell, in quotes where it needs them or the cell before had them."""
    if like.startswith('"') or needs_quotes(value, delimiter):
        return '"' + value.replace('"', '""') + '"'
    return value
