"""Category paths: levels from the top down, as text ``"A > B"``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

CategoryPath = tuple[str, ...]
SEPARATOR = " > "


def parse_path(text: str) -> CategoryPath:
    """The levels of ``"A > B"``, spaces around them kept.

    >>> parse_path("Apparel > T-Shirt")
    ('Apparel', 'T-Shirt')
    """
    return tuple(text.split(SEPARATOR))


def format_path(levels: Iterable[str]) -> str:
    """The text of a path; "" for one without levels.

    >>> format_path(("Apparel", "T-Shirt"))
    'Apparel > T-Shirt'
    """
    return SEPARATOR.join(levels)


def prefixes(path: Sequence[str]) -> tuple[str, ...]:
    """The texts of a path and of all that it lies below, the top level first.

    >>> prefixes(("A", "B", "C"))
    ('A', 'A > B', 'A > B > C')
    """
    return tuple(format_path(path[:depth]) for depth in range(1, len(path) + 1))
