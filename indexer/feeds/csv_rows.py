"""Rows of delimited text as they stream by; an open quote ends where sound rows begin again."""

from __future__ import annotations

import csv
import io
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TextIO

from indexer.feeds.cell_shape import CellShapes
from indexer.feeds.exact_cells import MARK
from indexer.feeds.notice import Notice
from indexer.feeds.table import MOST_RECORD, LostLines, Table

# What sound lines, times their delimiters, must weigh against a quote that took them in: where the
# record is whole otherwise, and where it is broken anyway.
_WEIGHT_OF_WHOLE = 4
_WEIGHT_OF_BROKEN = 2
# Characters that may be read again behind open quotes: so many, and so many for each that was read
# first. Lines that each open a quote would be read again for each line before them.
_FREE_AGAIN = 16 << 20
_MOST_AGAIN = 2


class _TooLongError(Exception):
    """A record that spans more than a record may."""


class CsvRows:
    """(line where a row starts, its cells), each of the header's width; blank lines left out.

    Lines that are no such rows go to ``lost``. At most one record is held in memory.
    """

    def __init__(
        self,
        text: TextIO,
        delimiter: str,
        header: Sequence[str],
        shapes: CellShapes,
        table: Table,
        lost: LostLines,
    ) -> None:
        self._text = text
        self._delimiter = delimiter
        self._header = list(header)
        # Its quotes are sound, whatever a text within them looks like.
        self._is_own = MARK in self._header
        self._shapes = shapes
        self._table = table
        self._lost = lost
        # Physical lines of the record that is being read, and lines to be read again.
        self._held: list[str] = []
        self._pending: deque[str] = deque()
        # Physical lines before those that the current reader was given.
        self._before = 0
        # Characters that were read first, and again.
        self._read = 0
        self._again = 0

    def skip(self, count: int) -> None:
        """Pass over the first ``count`` records: what stands above the data."""
        if count:
            reader = csv.reader(self._lines(), delimiter=self._delimiter)
            for _ in range(count):
                next(reader, None)
                self._held.clear()
            self._before = reader.line_num

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        # Cells have the limit of a record instead.
        csv.field_size_limit(sys.maxsize)
        width = len(self._header)
        first = self._header[0] if self._header else ""
        held = self._held
        while True:
            before = self._before
            reader = csv.reader(self._lines(), delimiter=self._delimiter)
            end = 0
            resumed = False
            last: list[str] = []
            try:
                for cells in reader:
                    line = before + end + 1
                    now = reader.line_num
                    if now - end == 1 and len(cells) == width:
                        if cells[0] != first or cells != self._header:
                            yield line, cells
                        else:
                            self._warn(line, "repeats the header; left out", "repeated-header")
                    elif cells:
                        fitted, resumed = self._judge(line, cells)
                        if fitted is not None:
                            yield line, fitted
                        if resumed:
                            break
                    # Few records have several lines.
                    last = held[:] if now - end > 1 else held[-1:]
                    end = now
                    held.clear()
                else:
                    self._check_end(before + end, last)
                    return
            except _TooLongError:
                fitted = self._open_quote(before + end + 1, held[:], must=True)
                if fitted is not None:
                    yield before + end + 1, fitted
            except csv.Error as error:
                line = before + end + 1
                self._lost.lose(self._where(line), f"is not readable as CSV: {error}")
                self._resume(line, [])

    def _lines(self) -> Iterator[str]:
        """Physical lines with their ends, each noted in ``_held``."""
        held = self._held
        pending = self._pending
        readline = self._text.readline
        size = 0
        while True:
            if pending:
                line = pending.popleft()
            else:
                line = readline(MOST_RECORD)
                self._read += len(line)
            if not line:
                return
            if held:
                size += len(line)
                if size > MOST_RECORD or self._is_weary():
                    pending.appendleft(line)
                    raise _TooLongError
            else:
                size = len(line)
                if size == MOST_RECORD and line[-1] not in "\r\n":
                    line = self._cut()
            held.append(line)
            yield line

    def _is_weary(self) -> bool:
        """Whether so much was read again that a quote ends with its line from here on."""
        return self._again > _FREE_AGAIN + _MOST_AGAIN * self._read

    def _cut(self) -> str:
        """Pass over the rest of a line that is too long for a record; a blank one in its place."""
        while (part := self._text.readline(MOST_RECORD)) and part[-1] not in "\r\n":
            continue
        self._lost.lose(
            self._table.name,
            f"has a line of more than {MOST_RECORD} characters, which is left out",
            code="long-line",
        )
        return "\n"

    def _where(self, line: int) -> str:
        return f"{self._table.name}:{line}"

    def _warn(self, line: int, reason: str, code: str) -> None:
        self._lost.warn(Notice(self._where(line), reason, code))

    def _resume(self, line: int, lines: list[str]) -> None:
        """Read ``lines`` again, as those that follow ``line``."""
        self._pending.extendleft(reversed(lines))
        self._again += sum(map(len, lines))
        self._before = line
        self._held.clear()

    # -- records that are not one line of the right width

    def _judge(self, line: int, cells: list[str]) -> tuple[list[str] | None, bool]:
        """The cells to give, or None; and whether reading goes on at an earlier line."""
        lines = self._held
        width = len(self._header)
        if len(lines) > 1:
            whole = len(cells) == width and self._is_strict(lines)
            if whole and (self._is_own or not self._took_rows_in(lines)):
                return cells, False
            fitted = None if whole else self._without_backslashes(lines)
            if fitted is not None:
                return fitted, False
            before = self._before
            fitted = self._open_quote(line, lines[:], must=whole)
            if self._before != before:
                return fitted, True
            if len(cells) == width:
                return cells, False
            last = line + len(lines) - 1
            self._lose(line, cells, f"has {len(cells)} fields up to line {last}")
            return None, False
        if len(cells) > width and not any(map(str.strip, cells[width:])):
            return cells[:width], False
        fitted = self._without_backslashes(lines)
        if fitted is None:
            self._lose(line, cells, f"has {len(cells)} fields")
        return fitted, False

    def _lose(self, line: int, cells: list[str], what: str) -> None:
        ids, images = self._lost.named_by(cells, self._header, self._table.root)
        reason = f"{what}, the header has {len(self._header)}"
        # Only the last line of all has no end.
        cut_off = len(cells) < len(self._header) and self._held[-1][-1:] not in "\r\n"
        if cut_off:
            reason += "; the file ends within it: is it cut off?"
        self._lost.lose(self._where(line), reason, ids, images)
        if cut_off:
            self._lost.cut_off(self._where(line))

    def _check_end(self, line: int, lines: list[str]) -> None:
        """Warn where the last record, of these ``lines``, ends within a quoted cell."""
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        try:
            next(reader, None)
        except csv.Error as error:
            if "end of data" in str(error):
                self._warn(line, "ends within a quoted cell: is the file cut off?", "cut-off")
                self._lost.cut_off(self._where(line))

    def _is_strict(self, lines: list[str]) -> bool:
        """Whether every quote is closed, and before a delimiter."""
        reader = csv.reader(iter(lines), delimiter=self._delimiter, strict=True)
        try:
            next(reader)
        except (csv.Error, StopIteration):
            return False
        return reader.line_num == len(lines)

    def _without_backslashes(self, lines: list[str]) -> list[str] | None:
        """The cells if ``\\"`` stands for a quote within a cell, as some programs write it."""
        text = "".join(lines)
        if '\\"' not in text:
            return None
        again = io.StringIO(text.replace('\\"', '""'), newline="")
        reader = csv.reader(again, delimiter=self._delimiter, strict=True)
        try:
            cells = next(reader)
        except (csv.Error, StopIteration):
            return None
        return cells if len(cells) == len(self._header) and not next(reader, None) else None

    def _took_rows_in(self, lines: list[str]) -> bool:
        """Whether a record that is whole by its quotes is rather a row with an open quote and sound
        rows up to another quote."""
        width = len(self._header)
        if lines[0].count(self._delimiter) + 1 < width:
            return False
        if (len(lines) - 1) * (width - 1) < _WEIGHT_OF_WHOLE:
            return False
        return all(map(self._is_sound, lines[1:]))

    def _is_sound(self, line: str) -> bool:
        cells = self._cells_of(line)
        return len(cells) == len(self._header) and self._shapes.fit(cells)

    def _begins_row(self, line: str) -> bool:
        """Whether a line may be the first of a row whose quoted cell has further lines."""
        cells = self._cells_of(line)
        return (
            1 < len(cells) <= len(self._header)
            and line.count('"') % 2 == 1
            and self._delimiter + '"' in line
            and self._shapes.fit(cells[:-1])
        )

    def _cells_of(self, line: str) -> list[str]:
        return next(csv.reader([line], delimiter=self._delimiter), [])

    def _open_quote(self, line: int, lines: list[str], *, must: bool) -> list[str] | None:
        """Give back the sound rows that a quote opened in ``lines`` took in; the row itself, if the
        quote is no quote, or None.

        Reading goes on after it. Where ``must`` is not set and no line looks sound, nothing is
        done.
        """
        width = len(self._header)
        sound = [at for at in range(1, len(lines)) if self._is_sound(lines[at])]
        at = sound[0] if sound else len(lines)
        if not sound and len(lines) > 1 and self._begins_row(lines[-1]):
            at = len(lines) - 1
        elif len(sound) * (width - 1) < _WEIGHT_OF_BROKEN and not must:
            return None
        last = line + len(lines) - 1
        own = next(csv.reader(lines[:1], delimiter=self._delimiter, quoting=csv.QUOTE_NONE), [])
        fitted = own if at == 1 and len(own) == width else None
        reason = "opens a quote that is not closed"
        if at < len(lines):
            reason += f"; it took in lines {line + 1} to {last}, read again from line {line + at}"
        elif len(lines) > 1:
            reason += f"; it took in lines {line + 1} to {last}, which are lost"
        elif self._is_weary():
            reason += " in its line, as too many before it are not"
        if fitted is not None:
            self._warn(line, f"{reason}; the quote is read as a character", "open-quote")
        else:
            ids, images = self._lost.named_by(own, self._header, self._table.root)
            if at > 1 or len(own) < width:
                # What its lines name beside that cannot be told.
                ids, images = [], []
            self._lost.lose(self._where(line), reason, ids, images, "open-quote")
        self._resume(line + at - 1, lines[at:])
        return fitted
