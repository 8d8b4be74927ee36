"""XML items: elements of a feed flattened to columns while they stream through a safe parser."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from indexer.core.errors import BadDataError
from indexer.core.nesting import MOST_DEPTH
from indexer.feeds.table import LONGEST_COLUMN, MOST_COLUMNS

# Elements of one item.
_MOST_ELEMENTS = 20_000
# Names of elements and attributes of one feed, which the parser holds until its end.
_MOST_NAMES = 50_000
# Bytes of a namespace's declaration. The parser writes it out in the name of each attribute that
# has its prefix, before anybody is asked.
_LONGEST_NAMESPACE = 512
_NAMESPACE = re.compile(rb"\sxmlns(?::[^\s\"'<>=&]*+)?\s*+(?:=\s*+(?:\"[^\"<]*+|'[^'<]*+)?)?")
# Whose names come first where two have one local name: Google's, then those of no namespace and of
# Atom, then all others.
_RANKS = {
    "http://base.google.com/ns/1.0": 3,
    "http://base.google.com/cns/1.0": 3,
    "": 2,
    "http://www.w3.org/2005/Atom": 2,
}
# Google's attributes of a shop's own, whose elements say of what type they are.
_CUSTOM = "http://base.google.com/cns/1.0}"
# Attributes that say what an element is ("<param name='Colour'>red</param>").
_NAMING = ("name", "key", "code")


class TooDeepError(Exception):
    """Elements in one another, or parts of one item, beyond all that feeds have."""


class TooManyNamesError(Exception):
    """More names of elements and attributes than a feed has."""


class UnclosedItemError(Exception):
    """An item that begins within another one."""


def check_namespaces(chunks: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """Yield ``chunks`` of UTF-8. Raises ``BadDataError`` for a namespace longer than any is."""
    tail = b""
    for chunk in chunks:
        seen = tail + chunk
        for found in _NAMESPACE.finditer(seen):
            if found.end() - found.start() > _LONGEST_NAMESPACE:
                raise BadDataError(
                    f"{path} declares a namespace (xmlns) of more than "
                    f"{_LONGEST_NAMESPACE} bytes, as no feed does"
                )
        tail = seen[-_LONGEST_NAMESPACE - 8 :]
        yield chunk


def has_too_many_names(parser: Any) -> bool:
    """Whether an expat parser has met more names than a feed has: it holds them to its end."""
    return len(parser.intern) > _MOST_NAMES


def refuse_names(path: Path) -> BadDataError:
    """What is raised for a feed of more names than that."""
    return BadDataError(
        f"{path} has more than {_MOST_NAMES:,} names of elements and attributes, as no feed has"
    )


class ItemBuilder:
    """Handlers of an expat parser that build one record of each element at ``path``.

    ``path`` are local names from the root down. Finished items stand in ``done`` as (line, values).
    """

    def __init__(self, parser: Any, path: tuple[str, ...]) -> None:
        self._parser = parser
        self._path = list(path)
        self._here: list[str] = []
        self.done: list[tuple[int, dict[str, Any]]] = []
        # Byte at which the open item begins, and its line; None between items.
        self.item_at: int | None = None
        self.item_line = 0
        # Byte at which a handler raised.
        self.failed_at = 0
        self._names: dict[str, tuple[int, str]] = {}
        self._reset()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data

    def _reset(self) -> None:
        self.values: dict[str, Any] = {}
        self._ranks: dict[str, int] = {}
        # Column, rank and place of the text's first part, of each open element below the item.
        self._open: list[tuple[str, int, int]] = []
        # Whether they hold no further elements.
        self._leaf: list[bool] = []
        self._text: list[str] = []
        self._elements = 0

    def _start(self, tag: str, attributes: list[str]) -> None:
        if len(tag) > LONGEST_COLUMN or (
            attributes and max(map(len, attributes[0::2])) > LONGEST_COLUMN
        ):
            raise self._failed(_long_name())
        if self.item_at is None:
            self._check_names()
            self._here.append(tag.rpartition("}")[2])
            if len(self._here) > MOST_DEPTH:
                raise self._failed(TooDeepError())
            if self._here == self._path:
                self.item_at = self._parser.CurrentByteIndex
                self.item_line = self._parser.CurrentLineNumber
                for at in range(0, len(attributes), 2):
                    name = attributes[at].rpartition("}")[2]
                    self._add(name, 1, attributes[at + 1])
            return
        if not self._open and tag.rpartition("}")[2] == self._path[-1]:
            raise self._failed(UnclosedItemError())
        self._elements += 1
        if len(self._open) + len(self._path) >= MOST_DEPTH or self._elements > _MOST_ELEMENTS:
            raise self._failed(TooDeepError())
        known = self._names.get(tag)
        if known is None:
            uri, _, local = tag.rpartition("}")
            known = self._names[tag] = (_RANKS.get(uri, 1), local)
        rank, name = known
        if self._open:
            outer, rank, _ = self._open[-1]
            name = f"{outer}.{name}"
            self._leaf[-1] = False
        if attributes and not (tag.startswith(_CUSTOM) and attributes[0::2] == ["type"]):
            name = self._take_attributes(name, rank, attributes)
        if len(name) > LONGEST_COLUMN:
            raise self._failed(_long_name())
        self._open.append((name, rank, len(self._text)))
        self._leaf.append(True)

    def _check_names(self) -> None:
        if has_too_many_names(self._parser):
            raise TooManyNamesError

    def _failed(self, error: Exception) -> Exception:
        """``error``, noting where: the parser goes on to the end of what it was given."""
        self.failed_at = self._parser.CurrentByteIndex
        return error

    def _take_attributes(self, name: str, rank: int, attributes: list[str]) -> str:
        """Add an element's attributes as columns; its own column, which they may name."""
        given = {
            attributes[at].rpartition("}")[2]: attributes[at + 1]
            for at in range(0, len(attributes), 2)
        }
        if "href" in given and name.endswith("link"):
            kind = given.get("rel", "alternate")
            self._add(name if kind == "alternate" else f"{name}.{kind}", rank, given["href"])
            return name
        for naming in _NAMING:
            if given.get(naming):
                name = f"{name}.{given.pop(naming)}"
                break
        for attribute, value in given.items():
            self._add(f"{name}.{attribute}", rank, value)
        return name

    def _data(self, text: str) -> None:
        if self._open:
            self._text.append(text)

    def _end(self, tag: str) -> None:
        if self.item_at is None:
            self._here.pop()
            return
        if self._open:
            name, rank, at = self._open.pop()
            parts = self._text[at:]
            del self._text[at:]
            text = "".join(parts).strip()
            # An empty element says that the column is there, unless it holds others.
            if text or (self._leaf[-1] and name not in self.values):
                self._add(name, rank, text)
            self._leaf.pop()
            return
        self.done.append((self.item_line, self.values))
        self.item_at = None
        self._here.pop()
        self._reset()
        self._check_names()

    def _add(self, name: str, rank: int, value: str) -> None:
        if len(name) > LONGEST_COLUMN:
            raise self._failed(_long_name())
        known = self._ranks.get(name)
        if known is None and len(self.values) >= MOST_COLUMNS:
            raise self._failed(TooDeepError())
        if known is None or rank > known:
            self.values[name] = value
            self._ranks[name] = rank
        elif rank == known and value:
            old = self.values[name]
            if isinstance(old, list):
                old.append(value)
            else:
                self.values[name] = [old, value] if old else value


def _long_name() -> TooDeepError:
    return TooDeepError(f"a name of more than {LONGEST_COLUMN:,} characters")
