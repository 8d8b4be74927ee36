"""Editable glossary: terms of another language to the catalog's words."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from indexer.core.atomic_files import write_atomic
from indexer.core.errors import BadDataError
from indexer.core.home import Home
from indexer.core.regular_files import read_small

# In the home; its rows come before the shipped ones.
FILE = "glossary.csv"
HEADER = ("term", "words")
_MOST_BYTES = 4 * 2**20
_LONGEST = 200


def glossary_file(home: Home) -> Path:
    """Where a home's own glossary lies, if it has one."""
    return home.path / FILE


class Glossary:
    """Replaces the terms that it knows in a text, the longest first; case is folded. Immutable."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self.entries = {term.casefold(): meaning for term, meaning in entries.items()}
        longest = sorted(self.entries, key=lambda term: (-len(term), term))
        self._pattern = re.compile("|".join(map(_pattern, longest))) if longest else None

    def translate(self, text: str) -> str:
        """``text`` with its terms replaced: "红色连衣裙" is " red  dresses ".

        What is no term stays.
        """
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: f" {self.entries[found.group()]} ", text.casefold())


def shipped() -> dict[str, str]:
    """The terms that come with Catalens: common colours, garments and occasions, Chinese to
    English."""
    return _read(files("indexer.text").joinpath(FILE).read_text(encoding="utf-8"), FILE)


def open_glossary(home: Home) -> Glossary:
    """The shipped terms and over them the home's own; an empty ``words`` takes a term out. Raises
    ``BadDataError``."""
    path = glossary_file(home)
    own = read_glossary(path) if path.is_file() else {}
    return Glossary({term: meaning for term, meaning in {**shipped(), **own}.items() if meaning})


def read_glossary(path: Path) -> dict[str, str]:
    """A CSV file with the columns ``term`` and ``words``, UTF-8. Raises ``BadDataError`` naming
    file and line."""
    try:
        data = read_small(path)
        if len(data) > _MOST_BYTES:
            raise BadDataError(
                f"{path} has {len(data):,} bytes, a glossary may have {_MOST_BYTES:,}"
            )
        return _read(data.decode("utf-8-sig"), str(path))
    except OSError as error:
        raise BadDataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise BadDataError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error


def set_glossary(home: Home, path: Path) -> int:
    """Make the file at ``path`` the home's own glossary, replacing an earlier one; returns how many
    terms it has."""
    entries = read_glossary(path)
    stream = io.StringIO()
    csv.writer(stream).writerows([HEADER, *entries.items()])
    write_atomic(glossary_file(home), stream.getvalue().encode())
    return len(entries)


def _read(text: str, where: str) -> dict[str, str]:
    rows = csv.reader(io.StringIO(text))
    try:
        if tuple(name.strip() for name in next(rows, ())) != HEADER:
            raise BadDataError(f"{where}: the first line must be {','.join(HEADER)}")
        entries: dict[str, str] = {}
        for row in rows:
            if not row:
                continue
            if len(row) != 2 or not row[0].strip() or max(map(len, row)) > _LONGEST:
                raise BadDataError(
                    f"{where}, line {rows.line_num}: give a term and its words, up to {_LONGEST} "
                    "characters"
                )
            entries[row[0].strip()] = row[1].strip()
    except csv.Error as error:
        raise BadDataError(f"{where}, line {rows.line_num}: {error}") from error
    return entries


def _pattern(term: str) -> str:
    # A term that ends in a letter of an alphabet is a word of its own, not a part of one: "T" in
    # "top" is none.
    before = r"(?<![a-z0-9])" if term[0].isascii() and term[0].isalnum() else ""
    after = r"(?![a-z0-9])" if term[-1].isascii() and term[-1].isalnum() else ""
    return before + re.escape(term) + after
