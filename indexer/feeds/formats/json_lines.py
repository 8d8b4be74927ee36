"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from indexer.core.nesting import TOO_DEEP
from indexer.feeds.feed_file import FeedFile
from indexer.feeds.json_values import may_hold_surrogates, say_fault, too_deep, without_surrogates
from indexer.feeds.notice import Notice
from indexer.feeds.table import (
    LONGEST_COLUMN,
    MOST_COLUMNS,
    MOST_RECORD,
    LostLines,
    ReadOptions,
    Record,
    Table,
)
from indexer.feeds.table_format import FORMATS, FeedHead, TableFormat
from indexer.feeds.text_encoding import find_encoding

# Records by which the columns are found.
SAMPLE = 1_000


class JsonLinesTable(Table):
    """Objects, each on a line of its own."""

    format = "jsonl"
    text = False

    def __init__(self, source: FeedFile, options: ReadOptions) -> None:
        super().__init__(source)
        self.encoding = find_encoding(source, options.encoding)
        if self.encoding.guess:
            self.notice(self.encoding.guess, "guessed-encoding", line=self.encoding.line)
        self.sample(SAMPLE)

    def records(self, lost: LostLines) -> Iterator[Record]:
        known = dict.fromkeys(self.columns)
        for number, line in self._lines(lost):
            where = f"{self.name}:{number}"
            values = read_object(line, where, lost)
            if values is not None:
                note_columns(values, known, self.columns)
                yield Record(where, values)
        if self.source.damage:
            lost.lose(self.name, self.source.damage, code="damaged-file")

    def _lines(self, lost: LostLines) -> Iterator[tuple[int, str]]:
        """Line numbers and lines that are not blank."""
        with self.encoding.lines(self.source) as text:
            for number, line in enumerate(long_lines(text), 1):
                if line is None:
                    reason = f"has more than {MOST_RECORD} characters"
                    lost.lose(f"{self.name}:{number}", reason, code="long-line")
                elif not line.isspace():
                    yield number, line


def long_lines(text: TextIO) -> Iterator[str | None]:
    """Lines with their ends; None for each that is longer than a record may be."""
    readline = text.readline
    while line := readline(MOST_RECORD):
        if len(line) < MOST_RECORD or line[-1] in "\r\n":
            yield line
            continue
        while (part := readline(MOST_RECORD)) and part[-1] not in "\r\n":
            continue
        yield None


def read_object(text: str, where: str, lost: LostLines) -> dict[str, Any] | None:
    """The object that ``text`` is, or None where it is none, which is a lost line."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        lost.lose(where, f"is not readable as JSON: {say_fault(error)}")
        return None
    return checked_object(values, text, where, lost)


def checked_object(values: Any, text: str, where: str, lost: LostLines) -> dict[str, Any] | None:
    """``values``, read from ``text``, as a record may have them, or None."""
    if not isinstance(values, dict):
        lost.lose(where, f"is not a JSON object but {type(values).__name__}")
        return None
    if len(values) > MOST_COLUMNS:
        lost.lose(where, f"has {len(values):,} columns, more than {MOST_COLUMNS:,}")
        return None
    if any(len(name) > LONGEST_COLUMN for name in values):
        lost.lose(where, f"has a column's name of more than {LONGEST_COLUMN:,} characters")
        return None
    if too_deep(text, values):
        lost.lose(where, f"is {TOO_DEEP}")
        return None
    if may_hold_surrogates(text):
        values, changed = without_surrogates(values)
        if changed:
            reason = "has half a character (\\ud800 to \\udfff), which is read as \ufffd"
            lost.warn(Notice(where, reason, "half-character"))
    return values


def note_columns(values: dict[str, Any], known: dict[str, None], columns: list[str]) -> None:
    """Add the names of ``values`` that are new to ``columns``, as far as a feed may have them."""
    if values.keys() <= known.keys():
        return
    for name in values:
        if name not in known and len(known) < MOST_COLUMNS:
            known[name] = None
            columns.append(name)


def _fits(head: FeedHead) -> int:
    if head.suffix in _SUFFIXES:
        return 2
    first, _, rest = head.text.partition("\n")
    if not first.startswith("{") or not first.rstrip().endswith("}"):
        return 0
    following = rest.lstrip()
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return 0
    return 3 if following.startswith("{") else 0


_SUFFIXES = (".jsonl", ".ndjson", ".jl")

FORMATS.register(TableFormat("jsonl", _SUFFIXES, _fits, JsonLinesTable, 30))
