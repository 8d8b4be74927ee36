"""Columns of a feed as a profile names them: whatever their case and blanks, or by a template."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

from indexer.core.lru import cache_texts

# What may stand where a template has a name in braces.
_PLACEHOLDERS = {
    "n": r"\d{1,3}",
    "locale": r"[a-z]{2,3}(?:[ _-][a-z0-9]{2,8}){0,2}",
    "currency": r"[a-z]{3}",
    "market": r".+",
    "name": r".+?",
    "any": r".+?",
}
_PLACEHOLDER = re.compile(r"\{(" + "|".join(_PLACEHOLDERS) + r")\}")
_GAPS = re.compile(r"[\s_\u00a0]+")
# Before the name of one column that is meant as written, with no template in it.
EXACT = "="
# Characters of a column's name that a template is compared with.
_LONGEST = 1000
# Google's own names in XML.
_PREFIX = re.compile(r"^[gc]:")


@dataclass(frozen=True)
class FoundColumn:
    """A column of the feed that a template names, and what stands in its placeholders."""

    column: str
    parts: dict[str, str]


@cache_texts(8192)
def plain(name: str) -> str:
    """A name as it is compared: ``Image_Link``, ``g:image_link`` and ``image link`` are one.

    >>> plain("g:Image_Link "), plain("Option1 Name")
    ('image link', 'option1 name')
    """
    text = _GAPS.sub(" ", name.strip().lstrip("\ufeff")).strip()
    return _PREFIX.sub("", text.casefold())


class ColumnIndex:
    """The columns of one feed, found by name, template or pattern. ``aliases``: a name to those
    that other languages have for it. Columns of ``apart`` are found by ``=`` and their name
    only."""

    def __init__(
        self,
        columns: Iterable[str],
        aliases: Mapping[str, Sequence[str]] | None = None,
        apart: Collection[str] = (),
    ) -> None:
        self.columns = list(columns)
        self._aliases = {plain(name): names for name, names in (aliases or {}).items()}
        self._by_name: dict[str, list[str]] = {}
        self._exact: dict[str, list[str]] = {}
        hidden = frozenset(map(plain, apart))
        for column in self.columns:
            self._exact.setdefault(plain(column), []).append(column)
            if plain(column) not in hidden:
                self._by_name.setdefault(plain(column), []).append(column)
        self._seen = [column for column in self.columns if plain(column) not in hidden]

    def find(self, name: str) -> list[str]:
        """The columns of that name, the one that is written like it first."""
        found = self._by_name.get(plain(name), [])
        return sorted(found, key=lambda column: column != name) if len(found) > 1 else found

    def all(self, names: Sequence[str]) -> list[FoundColumn]:
        """The columns of these names and templates, in the order of the names; those of one
        template by number, then in the feed's order."""
        found: dict[str, FoundColumn] = {}
        for name in names:
            for column in self.match(name):
                found.setdefault(column.column, column)
        return list(found.values())

    def has(self, names: Sequence[str]) -> bool:
        """Whether the feed has one of these."""
        return any(self.match(name) for name in names)

    def match(self, name: str) -> list[FoundColumn]:
        """The columns of a name, a template (``Option{n} Name``) or a pattern (``SEO *``), or those
        of its aliases where it has none."""
        found = self._match(name)
        for alias in () if found else self._aliases.get(plain(name), ()):
            found += self._match(alias)
        return found

    def _match(self, name: str) -> list[FoundColumn]:
        if name.startswith(EXACT):
            found = self._exact.get(plain(name.removeprefix(EXACT)), [])
            return [FoundColumn(column, {}) for column in found]
        if "{" not in name and "*" not in name:
            return [FoundColumn(column, {}) for column in self.find(name)]
        expression = compiled(name)
        matches = []
        for column in self._seen:
            if len(column) > _LONGEST:
                continue
            match = expression.fullmatch(_GAPS.sub(" ", column.strip()))
            if match:
                matches.append(FoundColumn(column, match.groupdict()))
        if "{n}" in name:
            matches.sort(key=lambda column: int(column.parts["n"]))
        return matches


@cache_texts(1024)
def compiled(template: str) -> re.Pattern[str]:
    """A template or pattern as an expression over names with single blanks."""
    if "{" not in template:
        return re.compile("(?:[gc]:)?" + translate(plain(template)), re.IGNORECASE)
    pieces = []
    at = 0
    named: set[str] = set()
    for match in _PLACEHOLDER.finditer(template):
        name = match.group(1)
        pieces.append(re.escape(_GAPS.sub(" ", template[at : match.start()])))
        # Of one that stands twice, the first is what counts.
        group = "(?:" if name in named else f"(?P<{name}>"
        pieces.append(f"{group}{_PLACEHOLDERS[name]})")
        named.add(name)
        at = match.end()
    pieces.append(re.escape(_GAPS.sub(" ", template[at:])))
    return re.compile("(?:[gc]:)?" + "".join(pieces), re.IGNORECASE)


@cache_texts(8192)
def snake_case(name: str) -> str:
    """An attribute's name: lower case, what is neither letter nor digit one underscore.

    >>> snake_case("Shoe Size (EU)"), snake_case("g:custom_label_0")
    ('shoe_size_eu', 'custom_label_0')
    """
    text = _PREFIX.sub("", name.strip().lower())
    return re.sub(r"[^\w]+|_+", "_", text).strip("_")
