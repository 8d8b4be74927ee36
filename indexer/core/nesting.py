"""Nesting of values that others send: one bound of levels, well below what recursion can do."""

from __future__ import annotations

from typing import Any

# Levels of elements, objects and lists in one another.
MOST_DEPTH = 64
# What is said of a value with more.
TOO_DEEP = f"nested deeper than {MOST_DEPTH} levels"
# Names that tell a place in a document.
_NAMES = 4
# A tuple is asked for its kinds twice as fast as a union.
_HOLDERS = (dict, list)


def is_deeper(value: object, most: int = MOST_DEPTH) -> bool:
    """Whether objects and lists lie in one another for more levels than ``most``.

    >>> is_deeper([[]], 2), is_deeper([[[]]], 2)
    (False, True)
    """
    if not isinstance(value, _HOLDERS):
        return False
    level: list[Any] = [value]
    for _ in range(most):
        below: list[Any] = []
        for part in level:
            below.extend(part.values() if isinstance(part, dict) else part)
        level = [part for part in below if isinstance(part, _HOLDERS)]
        if not level:
            return False
    return bool(level)


def find_deeper(document: object, most: int = MOST_DEPTH) -> str | None:
    """Where a document is nested for more levels than ``most``, by its first names; None where it
    is not.

    >>> find_deeper({"title": "t", "attributes": {"a": [[1]]}}, 3)
    'attributes.a.0'
    """
    if not is_deeper(document, most):
        return None
    names: list[str] = []
    part: Any = document
    while isinstance(part, _HOLDERS) and most > len(names) < _NAMES:
        left = most - len(names) - 1
        entries = part.items() if isinstance(part, dict) else enumerate(part)
        name, part = next((name, one) for name, one in entries if is_deeper(one, left))
        names.append(str(name))
    return ".".join(names)
