"""Excel workbook (.xlsx): the sheet with the table, its cells as text."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

from indexer.core.errors import BadDataError
from indexer.feeds.archives import open_zip
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.table import (
    MOST_COLUMNS,
    MOST_DEPTH,
    MOST_RECORD,
    LostLines,
    ReadOptions,
    Record,
    Table,
)
from indexer.feeds.table_format import FORMATS, FeedHead, TableFormat
from indexer.feeds.table_header import Header, find_header
from indexer.feeds.xml_items import check_namespaces, has_too_many_names, refuse_names

if TYPE_CHECKING:
    from openpyxl import Workbook
    from openpyxl.cell.read_only import ReadOnlyCell

# Bytes of a workbook's parts together, and of its texts, which are held in memory.
_MOST_BYTES = 2 << 30
_MOST_TEXTS = 96 << 20
_MOST_SHEETS = 500
# Of a part that is neither a sheet nor texts.
_MOST_PART = 32 << 20
_SAMPLE_ROWS = 60
# Blank rows after which a sheet has ended; broken ones name rows by the million.
_MOST_BLANK = 10_000
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
        _check_parts(source)
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
            from openpyxl import load_workbook
        except ImportError:
            raise BadDataError(
                f"{self.source.path} is an Excel workbook, which needs a further package: pip "
                "install 'catalens[xlsx]', or save it as CSV"
            ) from None
        book = None
        try:
            _check_sheets(self.source)
            book = load_workbook(self.source.path, read_only=True, data_only=True, keep_links=False)
            yield book
        except _BROKEN as error:
            raise BadDataError(
                f"{self.source.path} is not a readable Excel workbook: {error}"
            ) from error
        finally:
            if book is not None:
                book.close()

    def records(self, lost: LostLines) -> Iterator[Record]:
        number = 0
        left = self.source.most_unpacked()
        try:
            with self._workbook() as book:
                for number, cells in self._rows(book):
                    where = f"{self.name}:{number}"
                    # A text that many cells name stands once in the file.
                    size = sum(map(len, cells))
                    # A blank cell stands nowhere in the file, and costs all the same.
                    left -= size + cells.count("")
                    if left < 0:
                        raise self.source.refuse_unpacked("save it as CSV")
                    if size > MOST_RECORD:
                        lost.lose(
                            where, f"has more than {MOST_RECORD} characters", code="long-line"
                        )
                    else:
                        yield Record(where, self._header.values(cells))
        except BadDataError as error:
            if not number or left < 0:
                raise
            lost.lose(f"{self.name}:{number + 1}", str(error), code="damaged-file")

    def _rows(self, book: Workbook) -> Iterator[tuple[int, list[str]]]:
        """(number, cells) of each row below the header that is not blank."""
        sheet = book[self._sheet]
        sheet.reset_dimensions()
        formats: dict[int, int] = {}
        blank = 0
        for number, row in enumerate(sheet.iter_rows(max_col=max(len(self._header.cells), 1)), 1):
            if number <= self._header.at + 1:
                continue
            cells = [_text(cell, formats) for cell in row]
            if any(cells):
                blank = 0
                yield number, cells
                continue
            blank += 1
            if blank > _MOST_BLANK:
                return


def _check_sheets(source: FeedFile) -> None:
    """Raise ``BadDataError`` for sheets that are together more than can be read, and for texts that
    stand in another part than was counted.

    All sheets may be the same part, and openpyxl looks into each when it opens a workbook.
    """
    from openpyxl.reader.excel import ExcelReader
    from openpyxl.xml.constants import SHARED_STRINGS

    reader = ExcelReader(source.path, read_only=True, keep_links=False)
    with reader.archive as archive:
        reader.read_manifest()
        reader.read_workbook()
        sizes = {part.filename: part.file_size for part in archive.infolist()}
        sheets = [sizes.get(part.target, 0) for _, part in reader.parser.find_sheets()]
        texts = reader.package.find(SHARED_STRINGS)
    if sum(sheets) > _MOST_BYTES or len(sheets) > _MOST_SHEETS:
        raise BadDataError(
            f"{source.path} has {len(sheets)} sheets of {sum(sheets) >> 20} MiB; workbooks are "
            f"read up to {_MOST_SHEETS} sheets of {_MOST_BYTES >> 20} MiB: save one as CSV"
        )
    if texts is not None and not texts.PartName.lower().endswith("strings.xml"):
        raise BadDataError(
            f"{source.path} keeps its texts in the part {texts.PartName[:200]!a}, as no workbook "
            "does: save it as CSV"
        )


def _table_sheet(book: Workbook) -> tuple[str, list[list[str]]]:
    """The name and first rows of the sheet with most in them, of those that are shown; of equal
    ones the first. A template's sheet of its own name goes before."""
    best: tuple[int, str, list[list[str]]] = (-1, "", [])
    for sheet in book.worksheets:
        if sheet.sheet_state != "visible":
            continue
        sheet.reset_dimensions()
        formats: dict[int, int] = {}
        rows = []
        for row in sheet.iter_rows(max_row=_SAMPLE_ROWS, max_col=MOST_COLUMNS):
            cells = [_text(cell, formats) for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            rows.append(cells)
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


def _check_parts(source: FeedFile) -> None:
    """Raise ``BadDataError`` for a workbook that unpacks to more than can be held, or nests deeper
    than workbooks do."""
    try:
        with open_zip(source.path, f"{source.path} is not a readable Excel workbook") as archive:
            parts = archive.infolist()
            total = sum(part.file_size for part in parts)
            texts = sum(p.file_size for p in parts if p.filename.lower().endswith("strings.xml"))
            if total > source.most_unpacked():
                raise source.refuse_unpacked("save it as CSV")
            if total > _MOST_BYTES or texts > _MOST_TEXTS:
                raise BadDataError(
                    f"{source.path} unpacks to {total >> 20} MiB, {texts >> 20} MiB of them texts; "
                    f"workbooks are read up to {_MOST_BYTES >> 20} and {_MOST_TEXTS >> 20} MiB: "
                    "save it as CSV"
                )
            for part in parts:
                name = part.filename.lower()
                if not name.endswith((".xml", ".rels")):
                    continue
                streamed = "/worksheets/" in name or name.endswith("strings.xml")
                if not streamed and part.file_size > _MOST_PART:
                    raise BadDataError(
                        f"{source.path}: its part {part.filename!r} unpacks to "
                        f"{part.file_size >> 20} MiB: save it as CSV"
                    )
                with archive.open(part) as file:
                    _check_depth(source, file)
    except BadDataError:
        raise
    # Each of the unpackers has errors of its own.
    except Exception as error:
        raise BadDataError(f"{source.path} is not a readable Excel workbook: {error}") from error


def _check_depth(source: FeedFile, file: Any) -> None:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser

    parser = DefusedXMLParser(target=object(), encoding="utf-8", forbid_dtd=True)
    expat: Any = parser.parser
    depth = 0

    def start(*_: Any) -> None:
        nonlocal depth
        depth += 1
        if depth > MOST_DEPTH:
            raise _TooDeepPartError
        if has_too_many_names(expat):
            raise refuse_names(source.path)

    def end(*_: Any) -> None:
        nonlocal depth
        depth -= 1

    expat.StartElementHandler = start
    expat.EndElementHandler = end
    expat.DefaultHandlerExpand = None
    try:
        for chunk in check_namespaces(iter(lambda: file.read(1 << 16), b""), source.path):
            parser.feed(chunk)
    except _TooDeepPartError:
        raise BadDataError(
            f"{source.path} has elements nested deeper than {MOST_DEPTH} levels, as no workbook has"
        ) from None
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise BadDataError(f"{source.path} is not a readable Excel workbook: {error}") from error


class _TooDeepPartError(Exception):
    """A part of a workbook with elements nested beyond all bounds."""


def _fits(head: FeedHead) -> int:
    if head.data.startswith(b"PK\x03\x04"):
        return 3 if b"[Content_Types].xml" in head.data or b"xl/" in head.data else 0
    return 1 if head.suffix in _SUFFIXES else 0


_SUFFIXES = (".xlsx", ".xlsm")

FORMATS.register(TableFormat("xlsx", _SUFFIXES, _fits, WorkbookTable, 50))
