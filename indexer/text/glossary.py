"""Editable glossary: terms of another language to the catalog's words."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from indexer.core.atomic_files import write_atomic
from indexer.core.csv_text import CsvWriter
from indexer.core.errors import BadDataError
from indexer.core.home import Home
from indexer.core.regular_files import read_small

# In the home; its rows come before the shipped ones.
FILE = "glossary.csv"
HEADER = ("term", "words")
_MOST_BYTES = 4 * 2**20
MOST_TERMS = 50_000
_LONGEST = 200
_WORD_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")


def glossary_file(home: Home) -> Path:
    """Where a home's own glossary lies, if it has one."""
    return home.path / FILE


class Glossary:
    """Replaces the terms that it knows in a text, the longest first; case is folded. Immutable."""

    def __init__(self, entries: Mapping[str, str]) -> None:
        self.entries = {term.casefold(): meaning for term, meaning in entries.items()}
        # No pattern of all terms: to compile one of many takes a process for a minute.
        lengths: dict[str, set[int]] = {}
        for term in self.entries:
            lengths.setdefault(term[0], set()).add(len(term))
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}

    def translate(self, text: str) -> str:
        """``text`` with its terms replaced: "红色连衣裙" is " red  dresses ".

        What is no term stays.
        """
        if not self.entries:
            return text
        text = text.casefold()
        parts, place = [], 0
        while place < len(text):
            term = self._term_at(text, place)
            parts.append(text[place] if term is None else f" {self.entries[term]} ")
            place += 1 if term is None else len(term)
        return "".join(parts)

    def _term_at(self, text: str, place: int) -> str | None:
        """The longest term that begins at ``place`` of a folded text.

        One that begins or ends in a letter of an alphabet is a word of its own there, not a part of
        one: "T" in "top" is none.
        """
        for length in self._lengths.get(text[place], ()):
            term, end = text[place : place + length], place + length
            if (
                term in self.entries
                and not (_is_letter(term[0]) and place and text[place - 1] in _WORD_CHARACTERS)
                and not (_is_letter(term[-1]) and end < len(text) and text[end] in _WORD_CHARACTERS)
            ):
                return term
        return None


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


def glossary_damage(home: Home) -> str | None:
    """Why the home's own glossary cannot be read, by its name in the home; None where it can, or
    there is none."""
    path = glossary_file(home)
    try:
        if path.is_file():
            read_glossary(path)
    except BadDataError as error:
        return str(error).replace(str(path), FILE)
    return None


def read_glossary(path: Path) -> dict[str, str]:
    """A CSV file with the columns ``term`` and ``words``, UTF-8. Raises ``BadDataError`` naming
    file and line."""
    try:
        data = read_small(path, _MOST_BYTES)
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
    CsvWriter(stream).writerows([HEADER, *entries.items()])
    data = stream.getvalue().encode()
    if len(data) > _MOST_BYTES:
        raise BadDataError(f"{path} makes {len(data):,} bytes, a glossary may have {_MOST_BYTES:,}")
    write_atomic(glossary_file(home), data)
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
            if len(entries) > MOST_TERMS:
                raise BadDataError(
                    f"{where}, line {rows.line_num}: a glossary may have {MOST_TERMS:,} terms"
                )
    except csv.Error as error:
        raise BadDataError(f"{where}, line {rows.line_num}: {error}") from error
    return entries


def _is_letter(character: str) -> bool:
    return character.isascii() and character.isalnum()
