"""Text in cells: trimmed, and lists in one cell taken apart."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Blanks that are seen as nothing: byte order mark, zero-width, soft hyphen at an end.
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad"
_BLANK = "".join(map(chr, (*range(0x21), 0x7F, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B))))
_ENDS = _BLANK + _INVISIBLE + "\u2028\u2029\u202f\u205f\u3000"


def trim(text: str) -> str:
    """``text`` without blanks at its ends, no-break and invisible ones too.

    >>> trim("\\u00a0 Kelp Tee \\u200b")
    'Kelp Tee'
    """
    return text.strip(_ENDS)


def unique(parts: Iterable[str]) -> tuple[str, ...]:
    """The parts that are not blank, trimmed, each once, in their order."""
    return tuple(dict.fromkeys(filter(None, map(trim, parts))))


def unbroken(text: str, line_break: str) -> str:
    r"""Text in which ``line_break`` stands for one; behind a backslash it stands for itself.

    >>> unbroken(r"Soft.\nWash cold. C:\\new", r"\n")
    'Soft.\nWash cold. C:\\new'
    """
    if line_break not in text:
        return text
    hidden = text.replace("\\" + line_break, "\0")
    return hidden.replace(line_break, "\n").replace("\0", line_break)


def split_list(text: str, separator: str = ",") -> tuple[str, ...]:
    """The parts of a cell that holds a list, each once. A part in double quotes, or with a
    backslash before the separator, may hold the separator itself.

    >>> split_list('summer, "red, dark", cotton\\\\, washed,')
    ('summer', 'red, dark', 'cotton, washed')
    """
    if '"' not in text and "\\" not in text:
        return unique(text.split(separator))
    closing = re.compile(r'"(?:"|(\s*(?:' + re.escape(separator) + r"|$)))")
    parts = []
    start = 0
    # Before this place a separator parts nothing: it is quoted.
    at = _quoted_to(text, 0, closing)
    quotes = at >= 0
    at = max(at, 0)
    while (at := text.find(separator, at)) >= 0:
        if at and text[at - 1] == "\\":
            at += len(separator)
            continue
        parts.append(text[start:at])
        start = at = at + len(separator)
        if quotes:
            closed = _quoted_to(text, start, closing)
            # Where one quote does not close, none behind it does.
            quotes = closed >= 0
            at = max(at, closed)
    parts.append(text[start:])
    return unique(_plain(part, separator) for part in parts)


def _quoted_to(text: str, start: int, closing: re.Pattern[str]) -> int:
    """Where the quoted part that begins at ``start`` ends; ``start`` where it is not quoted, -1
    where its quote does not close before a separator or the end."""
    first = start
    while text[first : first + 1].isspace():
        first += 1
    if text[first : first + 1] != '"':
        return start
    for match in closing.finditer(text, first + 1):
        if match.group(1) is not None:
            return match.start() + 1
    return -1


def _plain(part: str, separator: str) -> str:
    part = trim(part)
    if len(part) > 1 and part.startswith('"') and part.endswith('"'):
        return part[1:-1].replace('""', '"')
    return part.replace("\\" + separator, separator)
