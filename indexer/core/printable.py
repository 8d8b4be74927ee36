"""Text for terminals: what one would obey instead of showing is escaped.

Titles, tags, ids and names of files come from anybody. So is what no terminal can be sent: bytes
of a path that are no UTF-8, which Python holds as halves of surrogate pairs.
"""

from __future__ import annotations

# Controls, of C1 too, and what turns the direction of writing or parts lines.
_OBEYED = {*range(0x20), *range(0x7F, 0xA0), 0x061C, 0x200E, 0x200F, 0x2028, 0x2029}
_OBEYED |= {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_HALVES = range(0xD800, 0xE000)
# The byte that one of them stands for (PEP 383).
_BYTES = {0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}
_LINE = {code: ascii(chr(code))[1:-1] for code in (*_OBEYED, *_HALVES)} | _BYTES
_TEXT = {code: shown for code, shown in _LINE.items() if chr(code) not in "\n\t"}
# JSON itself has escaped those below 0x20, and knows no other form.
_JSON = {code: f"\\u{code:04x}" for code in (*_OBEYED, *_HALVES) if code >= 0x7F}


def plain_text(text: str) -> str:
    """Text of any number of lines.

    >>> plain_text("red\\x1b[2J shirt\\nblue")
    'red\\\\x1b[2J shirt\\nblue'
    """
    return text.translate(_TEXT)


def plain_line(text: str) -> str:
    """Text that stays one line, such as a cell of a table."""
    return text.translate(_LINE)


def is_utf8(text: str) -> bool:
    """Whether a text can be stored: half of a surrogate pair is none, such as of a path's bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain_json(document: str) -> str:
    """A JSON document, which means the same as before."""
    return document.translate(_JSON)
