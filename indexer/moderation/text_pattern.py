"""Regular expression of a policy on a text of a stranger, bounded in time."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

# Seconds that all patterns of a section may take on one photo.
PATTERN_S = 0.5
# A group that is repeated and holds what is repeated: "(a+)+", "(\d*,)*".
_NESTED = re.compile(r"\((?:[^()\\]|\\.)*[+*}](?:[^()\\]|\\.)*\)[+*{]")
# What RE2 would read as a class of its own, where Python reads a plain set.
_POSIX = "[["


class PatternTimeoutError(Exception):
    """A pattern took longer on a text than it may."""


@dataclass
class PatternTime:
    """Time that is left for the patterns of one section on one photo."""

    until: float = field(default_factory=lambda: time.monotonic() + PATTERN_S)

    @property
    def left_s(self) -> float:
        """Seconds left. Raises ``PatternTimeoutError`` where there are none."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise PatternTimeoutError
        return left


class TextPattern:
    """A regular expression of Python, in any case; safe to share between threads.

    Python's own engine may take for ever on a text that was made for it, with Python's lock held.
    So a text of ASCII, where both mean the same, is matched by RE2, in time that grows with the
    text; what RE2 has not, and other texts, by the package regex, which lets other threads work and
    can be stopped. Raises ``re.error`` where it is none.
    """

    def __init__(self, pattern: str) -> None:
        import regex

        re.compile(pattern, re.IGNORECASE)
        self.pattern = pattern
        try:
            self._stoppable = regex.compile(pattern, regex.IGNORECASE | regex.VERSION0)
        except regex.error as error:
            raise re.error(str(error)) from error

    @cached_property
    def _linear(self) -> Any:
        """The expression for RE2; None where it has parts that RE2 does not know."""
        import re2

        if _POSIX in self.pattern:
            return None
        options = re2.Options()
        options.case_sensitive = False
        options.log_errors = False
        try:
            return re2.compile(self.pattern, options)
        except re2.error:
            return None

    @property
    def risk(self) -> str | None:
        """Why some texts may take it to its time limit; None where none is known to."""
        if self._linear is None:
            return "looks around or back, which only an engine that tries all ways can do"
        if _NESTED.search(self.pattern):
            return "repeats what is repeated already"
        return None

    def search(self, text: str, time_left: PatternTime) -> bool:
        """Whether it is found anywhere in ``text``. Raises ``PatternTimeoutError``."""
        if self._linear is not None and text.isascii():
            return self._linear.search(text) is not None
        return self._stopped("search", text, time_left)

    def fullmatch(self, text: str, time_left: PatternTime) -> bool:
        """Whether it is all of ``text``. Raises ``PatternTimeoutError``."""
        if self._linear is not None and text.isascii():
            return self._linear.fullmatch(text) is not None
        return self._stopped("fullmatch", text, time_left)

    def _stopped(self, how: str, text: str, time_left: PatternTime) -> bool:
        match = getattr(self._stoppable, how)
        try:
            return match(text, timeout=time_left.left_s, concurrent=True) is not None
        except TimeoutError:
            raise PatternTimeoutError from None
