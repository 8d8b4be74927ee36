"""JSON values of a feed: nesting held to a bound, text that can be stored."""

from __future__ import annotations

import json
import re
from typing import Any

from indexer.core.nesting import MOST_DEPTH, is_deeper

_SURROGATE = re.compile("[\ud800-\udfff]")
# A surrogate's escape in JSON text.
_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def too_deep(text: str, value: Any) -> bool:
    """Whether ``value``, read from ``text``, has more levels than a feed may have."""
    return text.count("[") + text.count("{") > MOST_DEPTH and is_deeper(value)


def say_fault(error: ValueError | RecursionError) -> str:
    """Why JSON text could not be read, as ``json`` failed at it."""
    if isinstance(error, RecursionError):
        return "nested too deep"
    # What is no syntax is a whole number that Python does not convert.
    return str(error) if isinstance(error, json.JSONDecodeError) else "a number is too long"


def may_hold_surrogates(text: str) -> bool:
    """Whether JSON text has half a character in it, as cutting an emoji in two leaves it."""
    return "\\u" in text and _ESCAPE.search(text) is not None


def without_surrogates(value: Any) -> tuple[Any, bool]:
    """``value`` with \ufffd for each half of a character, and whether there was one."""
    if isinstance(value, str):
        return _SURROGATE.subn("\ufffd", value)[0], _SURROGATE.search(value) is not None
    if isinstance(value, list):
        parts = [without_surrogates(part) for part in value]
        return [part for part, _ in parts], any(found for _, found in parts)
    if isinstance(value, dict):
        changed = False
        clean = {}
        for name, part in value.items():
            name, odd_name = without_surrogates(name)
            clean[name], odd = without_surrogates(part)
            changed = changed or odd or odd_name
        return clean, changed
    return value, False
