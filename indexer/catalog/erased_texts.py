"""Search of free text for deleted products, of which only salted digests are known."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from indexer.catalog.deletions import NAME, DeletedProduct, Mark, Salted

COVER = "[erased]"
# Shorter ids stand in any text by chance, so they are looked for as whole words only (bytes).
SHORT_ID = 6
# Shorter texts are looked for as whole values only.
_SHORT_TEXT = 4
# What was covered already: how many texts, up to which length.
_REMEMBERED = 100_000
_LONG = 1000
_HASH = re.compile("[0-9a-f]{64}")
# Messages and JSON hold a text in Python's or JSON's escapes, a message in JSON in both.
_ESCAPED_TIMES = 2
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|x[0-9a-fA-F]{2}"
    r"|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[\\'\"/])"
)

# Length -> quick check -> digest -> kind.
_Marks = dict[int, dict[int, dict[bytes, str]]]


class ErasedTexts:
    """What names deleted products, to be covered wherever it stands.

    ``living``: gives the texts of products that are there, and of models, that hold a text. What is
    itself such a text names nobody; an id inside a longer one is not the id.
    """

    def __init__(
        self,
        salted: Salted,
        products: Iterable[DeletedProduct],
        photos: Iterable[bytes],
        living: Callable[[str], Iterable[str]],
    ) -> None:
        self._salted = salted
        self._photos = frozenset(photos)
        self._marks: _Marks = {}
        self._living = living
        self._held: dict[str, frozenset[str]] = {}
        self._covered: dict[str, str] = {}
        self._id_lengths: set[int] = set()
        pids = []
        for product in products:
            pids.append(product.pid)
            for mark in product.marks:
                if mark.kind != NAME:
                    self._add(mark)
        self.pids = frozenset(pids)

    def _add(self, mark: Mark) -> None:
        found = self._marks.setdefault(mark.length, {}).setdefault(mark.check, {})
        digest = bytes.fromhex(mark.digest)
        if mark.kind == "id":
            self._id_lengths.add(mark.length)
        # An id is looked for more closely than another text.
        found[digest] = "id" if "id" in (mark.kind, found.get(digest)) else mark.kind

    @property
    def is_empty(self) -> bool:
        return not self._marks and not self._photos

    def holds_id(self, text: str) -> bool:
        """Whether ``text`` is the id of a deleted product, and no living text."""
        return self._kind(text) == "id" and text not in self._others(text)

    def is_erased_photo(self, content_hash: str) -> bool:
        """Whether a photo lost its last product lately."""
        return self._salted.digest(content_hash) in self._photos

    def cover(self, text: str) -> str:
        """``text`` with each name of a deleted product covered; empty where it is nothing else."""
        if (known := self._covered.get(text)) is not None:
            return known
        covered = self._cover(text)
        if len(self._covered) < _REMEMBERED and len(text) < _LONG:
            self._covered[text] = covered
        return covered

    def _cover(self, text: str) -> str:
        spans = sorted(self._found_escaped(text))
        if (0, len(text)) in spans:
            return ""
        covered = []
        end = 0
        for begin, stop in spans:
            if begin >= end:
                covered += [text[end:begin], COVER]
            end = max(end, stop)
        return "".join([*covered, text[end:]])

    def cover_all(self, value: Any) -> Any:
        """A JSON value with all its texts covered, names of objects included."""
        if isinstance(value, str):
            return self.cover(value)
        if isinstance(value, list):
            return [self.cover_all(entry) for entry in value]
        if isinstance(value, dict):
            return {self.cover(name): self.cover_all(entry) for name, entry in value.items()}
        return value

    def _found_escaped(self, text: str) -> Iterator[tuple[int, int]]:
        """As ``_found``, and where an escaped form of it stands."""
        yield from self._found(text)
        # Where each character, and the end, stands in the text itself.
        places: Sequence[int] = range(len(text) + 1)
        for _ in range(_ESCAPED_TIMES):
            if "\\" not in text:
                return
            text, places = _unescaped(text, places)
            for begin, end in self._found(text):
                yield places[begin], places[end]

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        for match in _HASH.finditer(text) if self._photos else ():
            if self.is_erased_photo(match[0]):
                yield match.span()
        starts: list[int] | None = None
        for length in self._marks:
            if length > len(text):
                continue
            places: Iterable[int] = range(len(text) - length + 1)
            # An id may stand in the middle of a word, another text may not.
            if length not in self._id_lengths:
                starts = _word_starts(text) if starts is None else starts
                places = starts
            for begin in places:
                window = text[begin : begin + length]
                if len(window) == length and self._names(window, text, begin):
                    yield begin, begin + length

    def _names(self, window: str, text: str, begin: int) -> bool:
        """Whether ``window``, which begins there in ``text``, names a deleted product."""
        kind = self._kind(window)
        if kind is None:
            return False
        whole = len(window) == len(text)
        if kind == "text" and len(window) < _SHORT_TEXT and not whole:
            return False
        bounded = kind == "text" or len(window.encode("utf-8", "surrogatepass")) < SHORT_ID
        if bounded and not _is_bounded(text, begin, begin + len(window)):
            return False
        others = self._others(window)
        return window not in others and not _inside(window, text, begin, others)

    def _kind(self, text: str) -> str | None:
        found = self._marks.get(len(text), {}).get(self._salted.check(text))
        return None if found is None else found.get(self._salted.digest(text))

    def _others(self, text: str) -> frozenset[str]:
        if text not in self._held:
            self._held[text] = frozenset(self._living(text))
        return self._held[text]


def _unescaped(text: str, places: Sequence[int]) -> tuple[str, list[int]]:
    """A text without one layer of escapes, and of which place each of its characters is."""
    parts: list[str] = []
    kept: list[int] = []
    end = 0
    for match in _ESCAPE.finditer(text):
        parts += [text[end : match.start()], _character(match[0])]
        kept += [*places[end : match.start()], places[match.start()]]
        end = match.end()
    return "".join([*parts, text[end:]]), [*kept, *places[end:]]


def _character(escape: str) -> str:
    if escape[1] not in "xuU":
        return escape[1]
    if len(escape) == 12:
        high, low = int(escape[2:6], 16), int(escape[8:], 16)
        return chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00)
    number = int(escape[2:], 16)
    return chr(number) if number <= sys.maxunicode else escape[0]


def _word_starts(text: str) -> list[int]:
    """The places at which no letter or digit continues one before."""
    word = [letter.isalnum() for letter in text]
    return [place for place in range(len(text)) if not (place and word[place - 1] and word[place])]


def _is_bounded(text: str, begin: int, end: int) -> bool:
    """Whether no letter or digit continues a part of ``text`` on either side."""
    before = begin > 0 and text[begin - 1].isalnum() and text[begin].isalnum()
    after = end < len(text) and text[end].isalnum() and text[end - 1].isalnum()
    return not before and not after


def _inside(part: str, text: str, begin: int, others: Iterable[str]) -> bool:
    """Whether this part of ``text`` is only a part of one of ``others``."""
    for other in others:
        at = other.find(part)
        while at >= 0:
            start = begin - at
            if len(other) > len(part) and start >= 0 and text.startswith(other, start):
                return True
            at = other.find(part, at + 1)
    return False
