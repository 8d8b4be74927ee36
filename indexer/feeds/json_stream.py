"""JSON text read a value at a time, so that only one of a list is in memory."""

from __future__ import annotations

import json
import re
from typing import Any, TextIO

from indexer.core.nesting import MOST_DEPTH
from indexer.feeds.json_values import say_fault
from indexer.feeds.table import MOST_RECORD

_CHUNK = 1 << 18
_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
# Strings, of one line, and brackets; of a string that its line does not close, all of the line.
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*+(?P<end>"?)|[\[\]{}]')
_BRACKET = re.compile(r"[\[\]{}]")
# Characters of broken values that are read: so many, and so many for each of the text.
_FREE_BROKEN = 32 << 20
_MOST_BROKEN = 4
# Between two objects of a list.
_NEXT_OBJECT = re.compile(r"\}\s*,\s*(?=\{\s*\")")


class BrokenJsonError(Exception):
    """JSON that does not go on as it must."""


class JsonStream:
    """A cursor in JSON text. ``line`` is that of the cursor."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._held = ""
        self._at = 0
        self._ended = False
        self.line = 1
        # Characters of the text that were read, and of values that were broken.
        self._read = 0
        self._broken = 0

    @property
    def weary(self) -> bool:
        """Whether so much of what was read was broken that nothing more is looked for behind it."""
        return self._broken > _FREE_BROKEN + _MOST_BROKEN * self._read

    def peek(self) -> str:
        """The next character that is no blank, or "" at the end."""
        while True:
            end = _BLANK.match(self._held, self._at).end()  # type: ignore[union-attr]
            self._move(end)
            if end < len(self._held):
                return self._held[end]
            if not self._more():
                return ""

    def take(self, wanted: str) -> None:
        """Pass over the character ``wanted``. Raises ``BrokenJsonError``."""
        found = self.peek()
        if found != wanted:
            raise BrokenJsonError(f"expected {wanted!r}, found {found[:1]!r}")
        self._move(self._at + 1)

    def value(self) -> tuple[Any, str]:
        """The next value and its text. Raises ``BrokenJsonError`` where it is broken, cut off, or
        longer than a record may be; the cursor then stays."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._held, self._at)
            except json.JSONDecodeError as error:
                # Far from the end of what is held, more text would change nothing.
                open_string = "Unterminated" in error.msg
                settled = error.pos < len(self._held) - 64 and not open_string
                self._broken += (len(self._held) if open_string else error.pos) - self._at
                if settled or not self._longer():
                    raise BrokenJsonError(error.msg) from None
                continue
            except (ValueError, RecursionError) as error:
                self._broken += len(self._held) - self._at
                raise BrokenJsonError(say_fault(error)) from None
            # A number may go on.
            if end == len(self._held) and self._longer():
                continue
            text = self._held[self._at : end]
            self._move(end)
            return value, text

    def peek_value(self) -> Any:
        """The next value, without moving the cursor. Raises ``BrokenJsonError``."""
        line = self.line
        value, text = self.value()
        # What was held up to the value's end is held still.
        self._at -= len(text)
        self.line = line
        return value

    def skip_element(self) -> bool:
        """Move past a broken element of a list to the next object, by its brackets; whether there
        is one. Else the cursor stays."""
        start = self._at
        at = start
        depth = 0
        # Where a string is not closed in its line, the line's end: no quote before it closes one.
        open_to = 0
        while True:
            while found := (_TOKEN if at >= open_to else _BRACKET).search(self._held, at):
                token = found.group()
                if found.group().startswith('"') and not found["end"]:
                    if found.end() + 1 >= len(self._held):
                        break
                    open_to = found.end()
                    at = found.start() + 1
                    continue
                if token in "[{":
                    depth += 1
                    if depth > 2 * MOST_DEPTH:
                        return False
                elif token in "]}":
                    depth -= 1
                    if depth <= 0 and _NEXT_OBJECT.match(self._held, found.start()):
                        self._move(found.end())
                        return True
                at = found.end()
            size = len(self._held) - start
            if size > MOST_RECORD or not self._more(max(_CHUNK, size)):
                return False
            # What was held begins at the cursor now.
            at -= start
            open_to -= start
            start = 0

    def skip_to_object(self) -> bool:
        """Move to where another object of the list begins; whether there is one."""
        found = _NEXT_OBJECT.search(self._held, self._at + 1)
        while found is None:
            keep = max(self._at, len(self._held) - 4096)
            self._move(keep)
            if not self._more():
                return False
            found = _NEXT_OBJECT.search(self._held, self._at)
        self._move(found.end())
        return True

    def _move(self, at: int) -> None:
        self.line += self._held.count("\n", self._at, at)
        self._at = at

    def _longer(self) -> bool:
        """Read on within a value, twice as far each time; whether that was possible."""
        size = len(self._held) - self._at
        if size > MOST_RECORD:
            raise BrokenJsonError(f"longer than {MOST_RECORD} characters")
        return self._more(max(_CHUNK, size))

    def _more(self, size: int = _CHUNK) -> bool:
        if self._ended:
            return False
        part = self._text.read(size)
        self._read += len(part)
        self._ended = not part
        self._held = self._held[self._at :] + part
        self._at = 0
        return bool(part)
