"""Excel workbook (.xlsx): the sheet with the table, its cells as text."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

from indexer.core.errors import BadDataError
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.table import (
    MOST_COLUMNS,
    MOST_RECORD,
    LostLines,
    ReadOptions,
    Record,
    Table,
)
from indexer.feeds.table_format import FORMATS, FeedHead, TableFormat
from indexer.feeds.table_header import Header, find_header
from indexer.feeds.workbook_file import open_workbook

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.cell.read_only import ReadOnlyCell

_SAMPLE_ROWS = 60
# Blank rows after which a sheet has ended; broken ones name rows by the million.
_MOST_BLANK = 10_000
# Blank cells that rows are filled up with: this, and so many for each cell that has a text.
_FREE_BLANK = 4_000_000
_MOST_BLANK_EACH = 64
_ZEROS = re.compile(r"0{2,30}")
_CODE_ERRORS = frozenset({"#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!"})
# What openpyxl raises at workbooks that are none.
_BROKEN = (
    *(
        zipfile.BadZipFile,
        zlib.error,
        ParseError,
        KeyError,
        ValueError,
        TypeError,
        OSError,
        IndexError,
    ),
    *(AttributeError, EOFError, NotImplementedError, RecursionError),
)


class WorkbookTable(Table):
    """Rows of one sheet; whole numbers without a point, dates as ISO 8601."""

    format = "xlsx"
    text = True

    def __init__(self, source: FeedFile, options: ReadOptions) -> None:
        super().__init__(source)
        with self._workbook() as book:
            self._sheet, rows = _table_sheet(book)
            others = [sheet.title for sheet in book.worksheets if sheet.title != self._sheet]
        if others:
            self.notice(
                f"has several sheets: {self._sheet!r} is read, not {', '.join(map(repr, others))}",
                "sheet-not-read",
            )
        self._take(find_header(rows))

    def _take(self, header: Header) -> None:
        if len(header.cells) > MOST_COLUMNS:
            raise BadDataError(f"{self.source.path} has more than {MOST_COLUMNS} columns")
        self._header = header
        self.columns = header.columns
        self.preamble = header.preamble
        for reason, code in header.notices:
            self.notice(reason, code)

    @contextmanager
    def _workbook(self) -> Iterator[Workbook]:
        try:
            import openpyxl  # noqa: F401
        except ImportError:
            raise BadDataError(
                f"{self.source.path} is an Excel workbook, which needs a further package: pip "
                "install 'catalens[xlsx]', or save it as CSV"
            ) from None
        try:
            with open_workbook(self.source) as book:
                yield book
        except _BROKEN as error:
            raise BadDataError(
                f"{self.source.path} is not a readable Excel workbook: {error}"
            ) from error

    def records(self, lost: LostLines) -> Iterator[Record]:
        number = 0
        left = self.source.most_unpacked()
        blank = _FREE_BLANK
        width = len(self._header.cells)
        try:
            with self._workbook() as book:
                for number, texts in _sheet_rows(book[self._sheet], max(width, 1)):
                    if number <= self._header.at + 1:
                        continue
                    # A text that many cells name stands once in the file, a blank cell nowhere.
                    size = sum(map(len, texts.values()))
                    left -= size
                    blank += _MOST_BLANK_EACH * len(texts) - width
                    if left < 0 or blank < 0:
                        raise self.source.refuse_unpacked("save it as CSV")
                    where = f"{self.name}:{number}"
                    if size > MOST_RECORD:
                        lost.lose(
                            where, f"has more than {MOST_RECORD} characters", code="long-line"
                        )
                        continue
                    cells = [""] * width
                    for column, text in texts.items():
                        cells[column] = text
                    yield Record(where, self._header.values(cells))
        except BadDataError as error:
            if not number or left < 0 or blank < 0:
                raise
            lost.lose(f"{self.name}:{number + 1}", str(error), code="damaged-file")


def _sheet_rows(sheet: Any, most_columns: int) -> Iterator[tuple[int, dict[int, str]]]:
    """(number, texts by column, counted from 0) of each row that has texts in the first columns.

    Only cells that stand in the file cost anything: a row of one may be the millionth, or 5,000
    columns wide. Ends where very many rows are blank.
    """
    from openpyxl.cell.read_only import ReadOnlyCell
    from openpyxl.worksheet._reader import WorkSheetParser

    book = sheet.parent
    formats: dict[int, int] = {}
    last = 0
    with book._archive.open(sheet._worksheet_path) as part:
        parser = WorkSheetParser(
            part,
            sheet._shared_strings,
            data_only=True,
            epoch=book.epoch,
            date_formats=book._date_formats,
            timedelta_formats=book._timedelta_formats,
        )
        for number, row in parser.parse():
            if number - last > _MOST_BLANK:
                return
            # Out of order: a row is read where it belongs, or not at all.
            if number <= last:
                continue
            texts = {
                cell["column"] - 1: _text(ReadOnlyCell(sheet, **cell), formats)
                for cell in row
                if cell["value"] is not None and 0 < cell["column"] <= most_columns
            }
            texts = {column: text for column, text in texts.items() if text}
            if texts:
                last = number
                yield number, texts


def _table_sheet(book: Workbook) -> tuple[str, list[list[str]]]:
    """The name and first rows of the sheet with most in them, of those that are shown; of equal
    ones the first. A template's sheet of its own name goes before."""
    best: tuple[int, str, list[list[str]]] = (-1, "", [])
    for sheet in book.worksheets:
        if sheet.sheet_state != "visible":
            continue
        rows: list[list[str]] = []
        for number, texts in _sheet_rows(sheet, MOST_COLUMNS):
            if number > _SAMPLE_ROWS:
                break
            rows += [[] for _ in range(len(rows) + 1, number)]
            rows.append([texts.get(column, "") for column in range(max(texts) + 1)])
        width = max(map(len, rows), default=0)
        named = sheet.title.strip().lower() in ("template", "vorlage", "modèle", "plantilla")
        score = min(width, 4) + 10 * named if len(rows) > 1 else 0
        if score > best[0]:
            best = (score, sheet.title, rows)
    width = max(map(len, best[2]), default=0)
    return best[1], [row + [""] * (width - len(row)) for row in best[2]]


def _text(cell: ReadOnlyCell | Any, formats: dict[int, int]) -> str:
    """A cell as a person reads it: codes keep the zeros that their format gives them."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, str):
        return "" if value in _CODE_ERRORS else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat() if value.time() != time() else value.date().isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, int | float):
        return _number(value, _zeros(cell, formats))
    return str(value)


def _number(value: int | float, zeros: int) -> str:
    """A number as a spreadsheet shows it, of at most 15 digits behind rounding."""
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e21:
            value = int(value)
        else:
            return f"{value:.15g}"
    return str(value).zfill(zeros)


def _zeros(cell: Any, formats: dict[int, int]) -> int:
    """Digits that a cell's format fills up to ("00000"), else 0."""
    style = cell._style_id
    zeros = formats.get(style)
    if zeros is None:
        shown = cell.number_format or ""
        zeros = formats[style] = len(shown) if _ZEROS.fullmatch(shown) else 0
    return zeros


def _fits(head: FeedHead) -> int:
    if head.data.startswith(_ENTRY):
        return 3 if any(name.startswith(_PARTS) for name in _entry_names(head.data)) else 0
    return 1 if head.suffix in _SUFFIXES else 0


def _entry_names(data: bytes) -> Iterator[bytes]:
    """The names of a zip's first entries: as many as stand in ``data`` with their size before them.
    What stands within an entry (a photo, another zip) is none."""
    at = 0
    while data.startswith(_ENTRY, at) and len(data) >= at + _HEADER.size:
        flags, size, name_length, extra_length = _HEADER.unpack_from(data, at)
        begin = at + _HEADER.size
        yield data[begin : begin + name_length]
        if flags & _SIZE_FOLLOWS:
            return
        at = begin + name_length + extra_length + size


# An entry's header (APPNOTE.TXT, 4.3.7): flags, size, lengths of its name and of what follows it.
_ENTRY = b"PK\x03\x04"
_HEADER = struct.Struct("<6xH10xI4xHH")
_SIZE_FOLLOWS = 8
# What a workbook begins with, in whatever order it was written.
_PARTS = (b"[Content_Types].xml", b"xl/", b"_rels/", b"docProps/")
_SUFFIXES = (".xlsx", ".xlsm")

FORMATS.register(TableFormat("xlsx", _SUFFIXES, _fits, WorkbookTable, 50))
