"""Feed reader: the door to every format."""

from __future__ import annotations

from pathlib import Path

from indexer.core.errors import BadDataError
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.feed_source import FeedSource, find_feed, inner_folder, is_archive
from indexer.feeds.table import LostLines, ReadOptions, Record, Table
from indexer.feeds.table_format import FORMATS, FeedHead, TableFormat, read_head, suffixes

__all__ = [
    "FeedSource",
    "LostLines",
    "Record",
    "Table",
    "check_feed",
    "find_feed",
    "inner_folder",
    "is_archive",
    "is_workbook",
    "open_table",
]

_FOREIGN = (
    (b"\xd0\xcf\x11\xe0", "is an old Excel file (.xls): save it as .xlsx or CSV"),
    (b"%PDF", "is a PDF document, not a feed"),
    (b"Rar!", "is a RAR archive: unpack it first"),
    (b"7z\xbc\xaf", "is a 7-Zip archive: unpack it first"),
    (b"\xfd7zXZ", "is an xz file: unpack it first"),
    (b"BZh", "is a bzip2 file: unpack it first"),
    (b"SQLite format 3", "is a database, not a feed: export it as CSV"),
)
_TAR = slice(257, 262)


def open_table(
    path: Path,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    within: Path | None = None,
) -> Table:
    """Recognise a feed's format, encoding, delimiter and columns; nothing else is read yet.

    ``encoding`` and ``delimiter`` are what the user says of it; ``within``: the folder that it must
    not lead out of. Raises ``BadDataError`` where the
    file cannot be read at all or is no feed, saying what to do.
    """
    source = FeedFile(Path(path), within)
    try:
        head = read_head(source)
        table = _format(source, head).open(source, ReadOptions(encoding, delimiter))
    except OSError as error:
        raise BadDataError(f"{path} cannot be read: {error.strerror or error}") from error
    if source.damage:
        table.notice(source.damage, "damaged-file")
    return table


def check_feed(path: Path) -> None:
    """Raise ``BadDataError`` where a file begins like none that can be read as a feed."""
    source = FeedFile(Path(path))
    try:
        _format(source, read_head(source))
    except OSError as error:
        raise BadDataError(f"{path} cannot be read: {error.strerror or error}") from error


def is_workbook(path: Path) -> bool:
    """Whether a file is a workbook of Excel, which is a zip too."""
    return FORMATS["xlsx"].fits(read_head(FeedFile(Path(path)))) >= 3


def _format(source: FeedFile, head: FeedHead) -> TableFormat:
    for magic, said in _FOREIGN:
        if head.data.startswith(magic):
            raise BadDataError(f"{source.path} {said}")
    if head.data[_TAR] == b"ustar":
        raise BadDataError(f"{source.path} is a tar archive: unpack it, or make a zip of it")
    if head.text[:300].lower().lstrip("<").startswith(("!doctype html", "html")):
        raise BadDataError(
            f"{source.path} is a page of HTML, not a feed: was it saved from a browser, or is it "
            "the answer to a login?"
        )
    best = max(FORMATS, key=lambda format_: format_.fits(head))
    if not best.fits(head):
        raise BadDataError(
            f"{source.path} is no feed that can be read: expected one of {', '.join(suffixes())}"
        )
    return best
