"""JSON document: a list of objects, at the top or within objects (``{"products": [...]}``)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from indexer.core.errors import BadDataError
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.formats.json_lines import SAMPLE, checked_object, note_columns
from indexer.feeds.json_stream import BrokenJsonError, JsonStream
from indexer.feeds.table import LostLines, ReadOptions, Record, Table
from indexer.feeds.table_format import FORMATS, FeedHead, TableFormat
from indexer.feeds.text_encoding import find_encoding

# Levels of objects around the list.
_MOST_LEVELS = 8
# What systems call their list of products; of others only the first counts.
_LISTS = frozenset(
    {
        *("products", "items", "offers", "entries", "results", "data", "rows", "records"),
        *("nodes", "edges", "hits", "articles", "resources", "listings", "product", "item"),
        *("produkte", "artikel", "catalog", "documents", "docs", "value", "list"),
    }
)
# Broken objects in a row after which a file is given up.
_MOST_BROKEN = 1_000
# Places at which another record is looked for behind a broken one.
_MOST_TRIES = 200
# What says that an object is a product itself.
_OWN = frozenset({"id", "product_id", "sku", "handle", "gtin", "image", "item_sku"})


class JsonTable(Table):
    """Objects of a list; their lists and objects (variants, images) stay as they are."""

    format = "json"
    text = False

    def __init__(self, source: FeedFile, options: ReadOptions) -> None:
        super().__init__(source)
        self.encoding = find_encoding(source, options.encoding)
        if self.encoding.guess:
            self.notice(self.encoding.guess, "guessed-encoding", line=self.encoding.line)
        with self.encoding.lines(source) as text:
            try:
                self._path = _ListSearch().run(JsonStream(text))
            except BrokenJsonError as error:
                raise BadDataError(f"{source.path} is not readable as JSON: {error}") from error
        if self._path is None:
            raise BadDataError(f"{source.path} is JSON without a list of objects")
        self.sample(SAMPLE)

    def records(self, lost: LostLines) -> Iterator[Record]:
        known = dict.fromkeys(self.columns)
        with self.encoding.lines(self.source) as text:
            stream = JsonStream(text)
            # Lost elements since the last record.
            lost_before = lost.count
            for number, (line, value, part) in enumerate(self._elements(stream, lost), 1):
                values = checked_object(_unwrapped(value), part, f"{self.name}:{line}", lost)
                if values is not None:
                    note_columns(values, known, self.columns)
                    lost_before = lost.count
                    yield Record(f"{self.name} item {number}", values)
                elif lost.count - lost_before > _MOST_BROKEN:
                    reason = f"what follows is not read: {_MOST_BROKEN} in a row are no products"
                    lost.lose(f"{self.name}:{line}", reason, code="cut-off")
                    break
        if self.source.damage:
            lost.lose(self.name, self.source.damage, code="damaged-file")

    def _elements(self, stream: JsonStream, lost: LostLines) -> Iterator[tuple[int, Any, str]]:
        """(line, element, its text) of the list."""
        assert self._path is not None
        try:
            for name in self._path:
                _enter(stream, name)
            if stream.peek() != "[":
                line = stream.line
                yield (line, *stream.value())
                return
            stream.take("[")
        except BrokenJsonError as error:
            reason = f"is not readable as JSON: {error}"
            lost.lose(f"{self.name}:{stream.line}", reason)
            return
        broken = 0
        while broken <= _MOST_BROKEN:
            following = stream.peek()
            if following == "]":
                return
            line = stream.line
            try:
                if following == ",":
                    stream.take(",")
                    continue
                if not following:
                    raise BrokenJsonError("the file ends before the list does: is it cut off?")
                found = (line, *stream.value())
            except BrokenJsonError as error:
                broken += 1
                if not self._resume(stream, line, error, lost):
                    return
                continue
            broken = 0
            yield found
        reason = f"what follows is not read: {broken} objects in a row are broken"
        lost.lose(f"{self.name}:{stream.line}", reason, code="cut-off")

    def _resume(
        self, stream: JsonStream, line: int, error: BrokenJsonError, lost: LostLines
    ) -> bool:
        """Lose what is broken and go on with the next object that looks like a record; whether
        there is one."""
        # Brackets say where an element ends, unless its quotes are what is broken.
        known = bool(self.columns)
        if (not known and stream.skip_element()) or self._skip_to_record(stream):
            reason = f"is not readable as JSON: {error}; read again from line {stream.line}"
            lost.lose(f"{self.name}:{line}", reason)
            return True
        reason = f"and what follows is not readable as JSON: {error}"
        if stream.weary:
            reason += "; too much before it was broken to look further"
        lost.lose(f"{self.name}:{line}", reason, code="cut-off")
        return False

    def _skip_to_record(self, stream: JsonStream) -> bool:
        tries = 0
        while tries < _MOST_TRIES and not stream.weary and stream.skip_to_object():
            tries += 1
            try:
                if self._is_alike(stream.peek_value(), tries):
                    return True
            except BrokenJsonError:
                continue
        return False

    def _is_alike(self, value: Any, tries: int) -> bool:
        """Whether an object has the columns of records, rather than those of objects in them; where
        none was read yet, whether it has others in it, as objects in them rarely have."""
        value = _unwrapped(value)
        if not isinstance(value, dict) or not value:
            return False
        if not self.columns:
            return tries > 2 or any(isinstance(part, dict | list) for part in value.values())
        shared = len(value.keys() & set(self.columns))
        return 2 * shared > len(value) and self.columns[0] in value


class _ListSearch:
    """Looks for the list of records in a document, as far as that is needed."""

    def __init__(self) -> None:
        # The first list of objects under a name of its own.
        self._first: tuple[str, ...] | None = None

    def run(self, stream: JsonStream) -> tuple[str, ...] | None:
        """Names that lead to the list, or to one object where the document is that; None where
        there is neither."""
        if stream.peek() == "[":
            return ()
        if stream.peek() != "{":
            return None
        names: list[str] = []
        try:
            found = self._object(stream, (), names)
        except BrokenJsonError:
            if self._first is None:
                raise
            return self._first
        if found is not None:
            return found
        return () if _OWN & set(names) or self._first is None else self._first

    def _object(
        self, stream: JsonStream, path: tuple[str, ...], names: list[str]
    ) -> tuple[str, ...] | None:
        """The path of a list under a known name in an object; notes the object's own names."""
        stream.take("{")
        while stream.peek() != "}":
            name = str(stream.value()[0])
            names.append(name)
            stream.take(":")
            here = (*path, name)
            following = stream.peek()
            if following == "[":
                stream.take("[")
                if stream.peek() == "{":
                    if name.lower() in _LISTS:
                        return here
                    self._first = self._first or here
                _pass_list(stream)
            elif following == "{" and len(here) < _MOST_LEVELS:
                found = self._object(stream, here, [])
                if found is not None:
                    return found
            else:
                stream.value()
            if stream.peek() == ",":
                stream.take(",")
        stream.take("}")
        return None


def _pass_list(stream: JsonStream) -> None:
    while stream.peek() != "]":
        stream.value()
        if stream.peek() == ",":
            stream.take(",")
    stream.take("]")


def _enter(stream: JsonStream, wanted: str) -> None:
    """Move the cursor to the value of the name ``wanted`` in an object."""
    stream.take("{")
    while True:
        name = stream.value()[0]
        stream.take(":")
        if name == wanted:
            return
        if stream.peek() == "[":
            stream.take("[")
            _pass_list(stream)
        else:
            stream.value()
        stream.take(",")


def _unwrapped(value: Any) -> Any:
    """The object in ``{"node": {...}}``, as GraphQL has it."""
    if isinstance(value, dict) and "node" in value and value.keys() <= {"node", "cursor"}:
        return value["node"]
    return value


def _fits(head: FeedHead) -> int:
    inner = head.text[1:].lstrip()
    if head.text.startswith("[") and inner.startswith(("{", "]")):
        return 3
    if head.text.startswith("{") and inner.startswith('"'):
        return 2
    return int(head.suffix in _SUFFIXES)


_SUFFIXES = (".json",)

FORMATS.register(TableFormat("json", _SUFFIXES, _fits, JsonTable, 35))
