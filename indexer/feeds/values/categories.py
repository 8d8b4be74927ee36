"""Categories in cells: separators of levels and of several categories, found and split."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from indexer.core.category_path import CategoryPath
from indexer.feeds.values.html_text import unescape
from indexer.feeds.values.text_cells import trim

# In the order in which they are believed: the first rarely stand in a name.
SEPARATORS = (">", "»", "›", "→", "|", "/")
# Read as ">" too.
_ARROWS = re.compile(r"[»›→]")
# The sign that joins levels, standing for itself.
_ALONE = re.compile(r"(?:(?<=\s)|^)>(?=\s|$)")
_MAX_LEVELS = 32
_MAX_PATHS = 64
_GOOGLE_ID = re.compile(r"\d{1,7}", re.ASCII)
_GOOGLE_BOTH = re.compile(r"(\d{1,7})\s+-\s+(\S.*)", re.ASCII | re.DOTALL)
_INTERNAL = re.compile(
    r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|p(?:cat|col|typ)_[0-9A-Z]{20,32}",
    re.IGNORECASE,
)


def split(
    text: str, separator: str | None = ">", several: str | None = None
) -> tuple[CategoryPath, ...]:
    """The category paths of a cell, in order, each once; levels trimmed, blank ones left out.

    ``separator`` parts levels (None: the cell is one level), ``several`` parts categories (None:
    there is one). Either stands for itself behind a backslash. ``>`` may also be written ``&gt;``,
    ``»``, ``›`` or ``→``. Raises ``ValueError`` where a path has more than 32 levels or a cell more
    than 64 paths.

    >>> split("Clothing > Tshirts, Sale,", several=",")
    (('Clothing', 'Tshirts'), ('Sale',))
    """
    if "&" in text:
        text = unescape(text)
    cells = _cut(text, several) if several else [text]
    paths: dict[CategoryPath, None] = {}
    for cell in cells:
        path = tuple(filter(None, map(trim, _levels(cell, separator))))
        if len(path) > _MAX_LEVELS:
            raise ValueError(
                f"a category of {len(path)} levels is no path (at most {_MAX_LEVELS}): "
                f"{cell[:40]!r}"
            )
        if path:
            paths[path] = None
    if len(paths) > _MAX_PATHS:
        raise ValueError(f"a cell with {len(paths)} categories is no list (at most {_MAX_PATHS})")
    return tuple(paths)


def google(text: str) -> tuple[str | None, CategoryPath | None]:
    """Number and path of a ``google_product_category``, which has one of the two or both.

    >>> google("212"), google("212 - Apparel &gt; Shirts"), google("Apparel > Shirts")
    (('212', None), ('212', ('Apparel', 'Shirts')), (None, ('Apparel', 'Shirts')))
    """
    plain = trim(text)
    if _GOOGLE_ID.fullmatch(plain):
        return plain, None
    both = _GOOGLE_BOTH.fullmatch(plain)
    number = both.group(1) if both else None
    paths = split(both.group(2) if both else plain)
    return number, paths[0] if paths else None


def is_internal_id(level: str) -> bool:
    """Whether a level is a shop system's own id for a category (a UUID, as Shopware exports them,
    or like Medusa's) and no name.

    >>> is_internal_id("0b9e57ed0f1b4c0c8e2d0a5d0f7a4f11"), is_internal_id("T-Shirts")
    (True, False)
    """
    return _INTERNAL.fullmatch(level) is not None


def _levels(cell: str, separator: str | None) -> list[str]:
    if separator is None:
        return [cell]
    if separator.strip() in (">", "»", "›", "→"):
        if not cell.isascii():
            cell = _ARROWS.sub(">", cell)
        return _cut(cell, ">")
    levels = []
    for level in _cut(cell, separator.strip() or separator):
        # The text of a path is joined by " > ", so no level may hold that.
        levels += _ALONE.split(level)
    return levels


def _cut(text: str, separator: str) -> list[str]:
    if "\\" not in text:
        return text.split(separator)
    hidden = text.replace("\\" + separator, "\0")
    return [part.replace("\0", separator) for part in hidden.split(separator)]


@dataclass
class CategoryColumn:
    """A column of categories as a whole: which separator its values have.

    Show it values with ``see``, all or a sample.
    """

    values: int = 0
    _holding: dict[str, int] = field(default_factory=dict)
    _tops: dict[str, set[str]] = field(default_factory=dict)

    def see(self, text: str) -> None:
        """Count the separators that a present cell holds inside."""
        self.values += 1
        if "&" in text:
            text = unescape(text)
        inside = text[:1000].strip(" ,;>/|»›→")
        for sign in SEPARATORS:
            if sign in inside:
                self._holding[sign] = self._holding.get(sign, 0) + 1
                tops = self._tops.setdefault(sign, set())
                if len(tops) < 1000:
                    tops.add(inside.split(sign)[0].strip())

    def share(self, separator: str) -> float:
        """Of all values, those that hold ``separator`` between other text."""
        return self._holding.get(separator, 0) / self.values if self.values else 0.0

    @property
    def separator(self) -> str | None:
        """What parts the levels; None where the values are single levels.

        An arrow does wherever it stands. A bar or slash does where most values have it and their
        first levels come again ("T-Shirts/Tops" alone is a name).
        """
        for sign in SEPARATORS[:4]:
            if self._holding.get(sign):
                return sign
        for sign in SEPARATORS[4:]:
            held = self._holding.get(sign, 0)
            if held > 1 and self.share(sign) > 0.5 and len(self._tops[sign]) <= held / 2:
                return sign
        return None


def detect(values: Iterable[str]) -> CategoryColumn:
    """A column that has seen the present ``values``."""
    column = CategoryColumn()
    for value in values:
        if value.strip():
            column.see(value)
    return column
