"""Workbook file (.xlsx): its parts, each checked while it is read, and as far as it is."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any
from xml.etree.ElementTree import ParseError

from indexer.core.errors import BadDataError
from indexer.core.nesting import MOST_DEPTH, TOO_DEEP
from indexer.feeds.archives import open_zip
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.xml_items import check_namespaces, has_too_many_names, refuse_names

if TYPE_CHECKING:
    from openpyxl import Workbook

# Bytes of a workbook's parts together, and of its texts, which are held in memory.
_MOST_BYTES = 2 << 30
_MOST_TEXTS = 96 << 20
_MOST_SHEETS = 500
# Of a part that is neither a sheet nor texts.
_MOST_PART = 32 << 20
# Elements of all parts that are read, each of which costs microseconds, as often as it is read: all
# sheets may be one part. This, or so many for each byte of the file.
FREE_ELEMENTS = 2_000_000
MOST_ELEMENTS = 4
# Rows of a sheet (and merged cells, and more of the kind), of each of which a trace is held, and
# elements of one, which is held whole. A spreadsheet has half as many rows, and 16,384 columns.
MOST_ROWS = 2_000_000
MOST_IN_ROW = 500_000
_ROW_DEPTH = 3
_INSTEAD = "save it as CSV"
# What is read of a sheet to open a workbook: its dimensions, for which one that does not say them
# would be read to its end.
_NO_SHEET = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"/>'


@contextmanager
def open_workbook(source: FeedFile) -> Iterator[Workbook]:
    """Open a workbook for reading its sheets' parts as they stream by.

    Raises ``BadDataError`` for one that unpacks to more than can be held, nests deeper than
    workbooks do, or has more elements than its bytes can stand for; also while it is read.
    """
    from openpyxl.reader.excel import ExcelReader

    _check_directory(source)
    reader = ExcelReader(source.path, read_only=True, data_only=True, keep_links=False)
    reader.archive.close()
    with _CheckedZip(source) as archive:
        reader.archive = archive
        reader.read_manifest()
        reader.read_workbook()
        _check_sheets(source, reader, archive)
        archive.unread = frozenset(part.target for _, part in reader.parser.find_sheets())
        reader.read()
        archive.unread = frozenset()
        yield reader.wb


def _check_directory(source: FeedFile) -> None:
    with open_zip(source.path, f"{source.path} is not a readable Excel workbook") as archive:
        parts = archive.infolist()
    total = sum(part.file_size for part in parts)
    texts = sum(part.file_size for part in parts if _holds_texts(part.filename))
    if total > source.most_unpacked():
        raise source.refuse_unpacked(_INSTEAD)
    if total > _MOST_BYTES or texts > _MOST_TEXTS:
        raise BadDataError(
            f"{source.path} unpacks to {total >> 20} MiB, {texts >> 20} MiB of them texts; "
            f"workbooks are read up to {_MOST_BYTES >> 20} and {_MOST_TEXTS >> 20} MiB: {_INSTEAD}"
        )
    for part in parts:
        name = part.filename.lower()
        streamed = "/worksheets/" in name or _holds_texts(name)
        if name.endswith((".xml", ".rels")) and not streamed and part.file_size > _MOST_PART:
            raise BadDataError(
                f"{source.path}: its part {part.filename!r} unpacks to "
                f"{part.file_size >> 20} MiB: {_INSTEAD}"
            )


def _check_sheets(source: FeedFile, reader: Any, archive: zipfile.ZipFile) -> None:
    """Raise ``BadDataError`` for sheets that are together more than can be read, and for texts that
    stand in another part than was counted. All sheets may be the same part."""
    from openpyxl.xml.constants import SHARED_STRINGS

    sizes = {part.filename: part.file_size for part in archive.infolist()}
    sheets = [sizes.get(part.target, 0) for _, part in reader.parser.find_sheets()]
    if sum(sheets) > _MOST_BYTES or len(sheets) > _MOST_SHEETS:
        raise BadDataError(
            f"{source.path} has {len(sheets)} sheets of {sum(sheets) >> 20} MiB; workbooks are "
            f"read up to {_MOST_SHEETS} sheets of {_MOST_BYTES >> 20} MiB: save one as CSV"
        )
    texts = reader.package.find(SHARED_STRINGS)
    if texts is not None and not _holds_texts(texts.PartName):
        raise BadDataError(
            f"{source.path} keeps its texts in the part {texts.PartName[:200]!a}, as no workbook "
            f"does: {_INSTEAD}"
        )


def _holds_texts(name: str) -> bool:
    return name.lower().endswith("strings.xml")


class _CheckedZip(zipfile.ZipFile):
    """A workbook's archive, whose parts of XML are checked before whoever asked for them has them.

    ``unread``: parts that are blank for now.
    """

    def __init__(self, source: FeedFile) -> None:
        super().__init__(source.path)
        self.unread: frozenset[str] = frozenset()
        self._source = source
        self._budget = _ElementBudget(source)

    def open(self, name: Any, *args: Any, **options: Any) -> IO[bytes]:
        """Open a part. Reading it raises ``BadDataError``."""
        part = name if isinstance(name, zipfile.ZipInfo) else self.getinfo(name)
        if part.filename in self.unread:
            return io.BytesIO(_NO_SHEET)
        file = super().open(part, *args, **options)
        checked: Any = _CheckedPart(self._source, file, self._budget)
        return checked


class _CheckedPart(io.RawIOBase):
    """A part of a workbook."""

    def __init__(self, source: FeedFile, file: IO[bytes], budget: _ElementBudget) -> None:
        self._file = file
        self._chunks = check_namespaces(self._read_chunks(), source.path)
        self._check = _PartCheck(source, budget)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._size = len(buffer)
        chunk = next(self._chunks, b"")
        buffer[: len(chunk)] = chunk
        self._check.feed(chunk)
        return len(chunk)

    def close(self) -> None:
        self._file.close()
        super().close()

    def _read_chunks(self) -> Iterator[bytes]:
        while chunk := self._file.read(self._size):
            yield chunk


class _ElementBudget:
    """Elements that may still be read of a workbook, in whichever of its parts."""

    def __init__(self, source: FeedFile) -> None:
        self.left = max(FREE_ELEMENTS, MOST_ELEMENTS * source.held)


class _PartCheck:
    """Follows the elements of a part. What is no XML is left to whoever reads it."""

    def __init__(self, source: FeedFile, budget: _ElementBudget) -> None:
        from defusedxml.ElementTree import DefusedXMLParser

        self._source = source
        self._parser: Any = DefusedXMLParser(target=object(), encoding="utf-8", forbid_dtd=True)
        self._expat = self._parser.parser
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.DefaultHandlerExpand = None
        self._depth = 0
        self._budget = budget
        self._rows = self._in_row = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes. Raises ``BadDataError``."""
        from defusedxml import DefusedXmlException

        path = self._source.path
        try:
            self._parser.feed(chunk)
        except (ParseError, DefusedXmlException, ValueError) as error:
            raise BadDataError(f"{path} is not a readable Excel workbook: {error}") from error

    def _start(self, *_: Any) -> None:
        self._depth += 1
        self._budget.left -= 1
        if self._depth == _ROW_DEPTH:
            self._rows += 1
        if self._depth < _ROW_DEPTH:
            self._rows = 0
        self._in_row = self._in_row + 1 if self._depth > _ROW_DEPTH else 0
        path = self._source.path
        if self._depth > MOST_DEPTH:
            raise BadDataError(f"{path} has elements {TOO_DEEP}, as no workbook has")
        if self._budget.left < 0:
            raise BadDataError(
                f"{path} has more elements than {FREE_ELEMENTS:,}, or {MOST_ELEMENTS} for each of "
                f"its bytes, as no feed does: {_INSTEAD} if you trust it"
            )
        if self._rows > MOST_ROWS or self._in_row > MOST_IN_ROW:
            raise BadDataError(
                f"{path} has more than {MOST_ROWS:,} rows, or a row of more than {MOST_IN_ROW:,} "
                f"elements, as no workbook has: {_INSTEAD} if you trust it"
            )
        if has_too_many_names(self._expat):
            raise refuse_names(path)

    def _end(self, *_: Any) -> None:
        self._depth -= 1
