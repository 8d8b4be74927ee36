"""XML: RSS, Atom and any list of like elements, read by a parser that expands nothing."""

from __future__ import annotations

import contextlib
import html
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import ParseError

from indexer.core.errors import BadDataError
from indexer.core.nesting import MOST_DEPTH, TOO_DEEP
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.notice import Notice
from indexer.feeds.table import (
    MOST_COLUMNS,
    MOST_RECORD,
    LostLines,
    ReadOptions,
    Record,
    Table,
)
from indexer.feeds.table_format import FORMATS, FeedHead, TableFormat
from indexer.feeds.text_encoding import find_encoding
from indexer.feeds.xml_items import (
    ItemBuilder,
    TooDeepError,
    TooManyNamesError,
    UnclosedItemError,
    check_namespaces,
    refuse_names,
)

_CHUNK = 1 << 16
# Bytes by which the items are found, and items by which the columns are.
_HEAD = 1 << 20
_MOST_HEAD = 16 << 20
_SAMPLE = 500
# Broken items in a row after which a file is given up.
_MOST_BROKEN = 300
# Places of elements that are told apart.
_MOST_NAMES = 20_000
# Bytes of the start tags around the items, which are read again behind each broken one.
_MOST_OPENING = 1 << 16
# Characters that XML does not allow, not even as references.
_CONTROLS = bytes(code for code in range(32) if code not in (9, 10, 13))
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._:-]+)[\"']")
_DECLARATION = re.compile(r"\A\s*<\?xml\s[^>]*\?>")
_START_TAG = re.compile(rb"<(?:[^>\"']|\"[^\"]*\"|'[^']*')*>")
# An ampersand that begins none of XML's own names; what is in CDATA stays.
_AMPERSAND = re.compile(
    rb"<!\[CDATA\[.*?(?:\]\]>|\Z)|&(?!(?:amp|lt|gt|quot|apos);)(#?\w{2,31};)?",
    re.DOTALL,
)
# What shops' systems call a product, the likelier first.
_ITEMS = (
    *("item", "entry", "product", "offer", "article", "produkt", "artikel", "shopitem"),
    *("good", "listing", "record", "row"),
)


# What the items' handlers raise.
_UNUSUAL = (TooDeepError, TooManyNamesError, UnclosedItemError)


class XmlTable(Table):
    """Elements of one kind, each flattened to columns."""

    format = "xml"
    text = True

    def __init__(self, source: FeedFile, options: ReadOptions) -> None:
        super().__init__(source)
        declared = _DECLARED.match(source.head(1024).lstrip(b"\xef\xbb\xbf \t\r\n"))
        self.encoding = find_encoding(
            source, options.encoding, declared=declared.group(1).decode() if declared else None
        )
        if self.encoding.guess:
            self.notice(self.encoding.guess, "guessed-encoding", line=self.encoding.line)
        layout = _Layout(source)
        for chunk in self._chunks():
            layout.feed(chunk)
            if layout.is_enough():
                break
        self._path, self._opening = layout.found()
        self.sample(_SAMPLE)

    def records(self, lost: LostLines) -> Iterator[Record]:
        known = dict.fromkeys(self.columns)
        for line, values in _Items(self, self._path, self._opening, lost).read(self._chunks()):
            if not values.keys() <= known.keys():
                for name in values:
                    if name not in known and len(known) < MOST_COLUMNS:
                        known[name] = None
                        self.columns.append(name)
            yield Record(f"{self.name}:{line}", values)
        if self.source.damage:
            lost.lose(self.name, self.source.damage, code="damaged-file")

    def _chunks(self) -> Iterator[bytes]:
        """The file as UTF-8, without characters that XML does not allow. Raises
        ``BadDataError``."""
        return check_namespaces(self._encoded(), self.source.path)

    def _encoded(self) -> Iterator[bytes]:
        with self.encoding.lines(self.source) as text:
            # Its encoding is settled, and blanks before a declaration would be an error.
            part = _DECLARATION.sub(_line_ends, text.read(_CHUNK), count=1)
            yield part.encode("utf-8", "replace").translate(None, _CONTROLS)
            while part := text.read(_CHUNK):
                yield part.encode("utf-8", "replace").translate(None, _CONTROLS)


def _parser() -> Any:
    """A parser that refuses document types, entities and what they refer to."""
    from defusedxml.ElementTree import DefusedXMLParser

    parser = DefusedXMLParser(target=object(), encoding="utf-8", forbid_dtd=True)
    # Comments and the like go nowhere.
    parser.parser.DefaultHandlerExpand = None
    return parser


def _refused(source: FeedFile, error: Exception) -> BadDataError:
    from defusedxml import DefusedXmlException

    if isinstance(error, DefusedXmlException):
        return BadDataError(
            f"{source.path} has a document type or entities (<!DOCTYPE>, <!ENTITY>), which are not "
            "read since they can be used to attack: take them out"
        )
    if isinstance(error, TooDeepError):
        return BadDataError(
            f"{source.path} has elements {TOO_DEEP}, or too many of "
            "them, or of attributes, in one item, as no feed has"
        )
    return BadDataError(f"{source.path} is not readable as XML: {error}")


class _Layout:
    """Finds the elements that are the items, by the beginning of a file."""

    def __init__(self, source: FeedFile) -> None:
        self._source = source
        self._parser = _parser()
        self._expat = self._parser.parser
        self._expat.StartElementHandler = self._start
        self._expat.EndElementHandler = self._end
        self._expat.CharacterDataHandler = None
        self._data = bytearray()
        self._here: list[tuple[str, int]] = []
        self._counts: Counter[tuple[str, ...]] = Counter()
        # Paths of elements that have further ones in them, or attributes.
        self._rich: set[tuple[str, ...]] = set()
        self._openings: dict[tuple[str, ...], list[int]] = {}
        self._error: Exception | None = None

    def feed(self, chunk: bytes) -> None:
        from defusedxml import DefusedXmlException

        self._data += chunk
        try:
            self._parser.feed(chunk)
        except (ParseError, TooDeepError, DefusedXmlException, ValueError) as error:
            self._error = error
            known = isinstance(error, TooDeepError) and self._best() is not None
            if not known and not isinstance(error, ParseError):
                raise _refused(self._source, error) from error

    def is_enough(self) -> bool:
        size = len(self._data)
        return (
            self._error is not None
            or size >= _MOST_HEAD
            or len(self._counts) > _MOST_NAMES
            or (size >= _HEAD and self._best() is not None)
        )

    def _start(self, tag: str, attributes: list[str]) -> None:
        self._here.append((tag.rpartition("}")[2], self._expat.CurrentByteIndex))
        if len(self._here) > MOST_DEPTH:
            raise TooDeepError
        if len(self._here) > 8:
            return
        path = tuple(name for name, _ in self._here)
        if len(self._counts) > _MOST_NAMES and path not in self._counts:
            return
        self._counts[path] += 1
        if len(path) > 1:
            self._rich.add(path[:-1])
        if len(attributes) >= 4:
            self._rich.add(path)
        if path not in self._openings:
            self._openings[path] = [at for _, at in self._here[:-1]]

    def _end(self, tag: str) -> None:
        self._here.pop()

    def _best(self) -> tuple[str, ...] | None:
        rich = [path for path in self._counts if path in self._rich and len(path) > 1]
        for name in _ITEMS:
            named = [path for path in rich if path[-1].lower() == name]
            if named:
                return min(named, key=lambda path: (len(path), -self._counts[path]))
        several = [path for path in rich if self._counts[path] > 1]
        if several:
            return min(several, key=lambda path: (len(path), -self._counts[path]))
        return None

    def found(self) -> tuple[tuple[str, ...], bytes]:
        """The items' path, and the start tags of the elements around them. Raises ``BadDataError``
        where there are no items."""
        path = self._best()
        if path is None:
            single = [path for path in self._counts if path in self._rich and len(path) == 2]
            if len(single) == 1:
                path = single[0]
        if path is None:
            if self._error is not None:
                raise _refused(self._source, self._error)
            root = next(iter(self._counts), ("",))[0]
            raise BadDataError(
                f"{self._source.path} is XML without a list of products: <{root}> holds no "
                "elements that stand several times"
            )
        tags = [_START_TAG.match(self._data, at) for at in self._openings[path]]
        opening = b"".join(tag.group() for tag in tags if tag)
        if len(opening) > _MOST_OPENING:
            raise BadDataError(
                f"{self._source.path} has {len(opening)} bytes in the tags of the elements around "
                f"its items, more than {_MOST_OPENING}"
            )
        return path, opening


class _Items:
    """Reads items from chunks of UTF-8; a broken one is mended, or lost and named, and reading goes
    on with the next."""

    def __init__(
        self, table: Table, path: tuple[str, ...], opening: bytes, lost: LostLines
    ) -> None:
        self._table = table
        self._path = path
        self._opening = opening
        self._lost = lost
        name = re.escape(path[-1].encode())
        self._next_item = re.compile(rb"<(?:[\w.-]+:)?" + name + rb"(?=[\s>/])")
        # What the parser was given since the last item's end, and line ends before that.
        self._window = b""
        self._lines = 0
        self._mended_last = False
        # Items that were broken since the last whole one.
        self._broken = 0

    def read(self, chunks: Iterator[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
        """(line, values) of each item."""
        self._begin(b"")
        for chunk in chunks:
            self._window += chunk
            error = self._feed(chunk)
            yield from self._finished()
            while error is not None:
                mended = self._mend(error, chunks)
                if mended is not None:
                    self._broken = 0
                    yield mended
                elif self._broken > _MOST_BROKEN:
                    reason = f"what follows is not read: {_MOST_BROKEN} items in a row are broken"
                    self._lost.lose(f"{self._table.name}:{self._lines + 1}", reason, code="cut-off")
                    return
                self._broken += 1
                error = self._feed(self._window)
                yield from self._finished()
            self._forget()
        yield from self._close()

    def _begin(self, opening: bytes) -> None:
        """A new parser, inside the elements around the items where ``opening`` is given."""
        self._parser = _parser()
        self._expat = self._parser.parser
        self._builder = ItemBuilder(self._expat, self._path)
        self._parser.feed(opening)
        # Of the window's first byte, as the parser counts; and what its lines lack.
        self._at = len(opening)
        self._shift = self._lines - opening.count(b"\n")

    def _feed(self, data: bytes) -> Exception | None:
        from defusedxml import DefusedXmlException

        try:
            self._parser.feed(data)
        except DefusedXmlException as error:
            raise _refused(self._table.source, error) from error
        except TooManyNamesError:
            raise refuse_names(self._table.source.path) from None
        except (ParseError, TooDeepError, UnclosedItemError, ValueError) as error:
            return error
        if len(self._window) > MOST_RECORD:
            self._builder.failed_at = max(self._expat.CurrentByteIndex, 0)
            return TooDeepError(f"more than {MOST_RECORD} bytes in one")
        return None

    def _finished(self) -> Iterator[tuple[int, dict[str, Any]]]:
        if self._builder.done:
            self._broken = 0
        for line, values in self._builder.done:
            yield line + self._shift, values
        self._builder.done.clear()

    def _forget(self) -> None:
        """Cut the window to the open item, or to what the parser has still to read."""
        begin = self._builder.item_at
        if begin is None:
            begin = self._expat.CurrentByteIndex
        cut = min(max(begin - self._at, 0), len(self._window))
        self._cut(cut)
        self._at += cut

    def _cut(self, size: int) -> None:
        self._lines += self._window.count(b"\n", 0, size)
        self._window = self._window[size:]

    def _close(self) -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            self._parser.close()
        except (ParseError, *_UNUSUAL, ValueError) as error:
            if not self._window and self._mended_last:
                return
            yield from self._finished()
            if self._builder.item_at is not None:
                self._lose_open("is cut off: the file ends within it")
                self._lost.cut_off(self._table.name)
            else:
                reason = f"is cut off after its last whole item ({error})"
                self._lost.lose(self._table.name, reason, code="cut-off")

    def _lose_open(self, reason: str) -> None:
        """Lose the item that is open."""
        known = self._builder.values
        named = [known[name] for name in self._lost.id_columns if isinstance(known.get(name), str)]
        where = f"{self._table.name}:{self._builder.item_line + self._shift}"
        self._lost.lose(where, reason, named[:1], code="broken-item")

    def _mend(self, error: Exception, chunks: Iterator[bytes]) -> tuple[int, dict[str, Any]] | None:
        """Pass over what is broken, to the next item; the broken item, where it could be read."""
        failed = self._builder.failed_at
        if isinstance(error, ParseError):
            failed = self._expat.ErrorByteIndex
        begin = self._builder.item_at
        begin = None if begin is None else begin - self._at
        place = max(failed - self._at, 0 if begin is None else begin + 1)
        found = self._next_item.search(self._window, place)
        while found is None and (chunk := next(chunks, None)) is not None:
            place = max(len(self._window) - 256, place)
            self._window += chunk
            if len(self._window) > 2 * MOST_RECORD:
                # Too long to be an item.
                drop = len(self._window) - (1 << 16)
                self._cut(drop)
                place = max(place - drop, 0)
                begin = None
            found = self._next_item.search(self._window, place)
        end = found.start() if found else len(self._window)
        line = self._builder.item_line + self._shift
        values = None
        if begin is not None and end - begin <= MOST_RECORD:
            values = self._repaired(self._window[begin:end])
        what = _said(error)
        if values is not None:
            where = f"{self._table.name}:{line}"
            reason = f"has an unescaped & or an unknown entity, read as text ({what})"
            self._lost.warn(Notice(where, reason, "unescaped"))
        elif self._builder.item_at is not None:
            self._lose_open(f"is not readable as XML ({what}); left out")
        else:
            where = f"{self._table.name}:{self._lines + 1}"
            self._lost.lose(where, f"is not readable as XML ({what})", code="broken-item")
        self._cut(end)
        self._mended_last = found is None
        self._begin(self._opening)
        return None if values is None else (line, values)

    def _repaired(self, item: bytes) -> dict[str, Any] | None:
        """The values of an item once its ampersands are escaped, or None."""
        parser = _parser()
        builder = ItemBuilder(parser.parser, self._path)
        with contextlib.suppress(ParseError, *_UNUSUAL, ValueError):
            parser.feed(self._opening + _AMPERSAND.sub(_reference, item))
        return builder.done[0][1] if builder.done else None


def _reference(found: re.Match[bytes]) -> bytes:
    """An ampersand as XML writes it: of a name of HTML or a number its character, where XML allows
    that; else itself."""
    if found.group().startswith(b"<!"):
        return found.group()
    name = found.group(1)
    if name is None:
        return b"&amp;"
    character = html.unescape(found.group().decode("ascii", "replace"))
    if character.startswith("&"):
        return b"&amp;" + name
    return "".join(f"&#{ord(part)};" for part in character if part >= " ").encode()


def _line_ends(found: re.Match[str]) -> str:
    return "\n" * found.group().count("\n")


def _said(error: Exception) -> str:
    if isinstance(error, TooDeepError):
        return str(error) or TOO_DEEP
    if isinstance(error, UnclosedItemError):
        return "the element is not closed before the next begins"
    return str(error)


def _fits(head: FeedHead) -> int:
    if head.text.startswith("<?xml") or re.match(r"<[A-Za-z_!][\w:.-]*[\s>/-]", head.text):
        return 3
    return 1 if head.suffix in _SUFFIXES else 0


_SUFFIXES = (".xml", ".rss", ".atom")

FORMATS.register(TableFormat("xml", _SUFFIXES, _fits, XmlTable, 40))
