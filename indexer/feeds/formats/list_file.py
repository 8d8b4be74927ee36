"""List file: a photo a line, with its label behind a tab, another delimiter or a blank."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from indexer.feeds.feed_file import FeedFile
from indexer.feeds.formats.json_lines import long_lines
from indexer.feeds.photo_files import IMAGE_SUFFIXES
from indexer.feeds.table import MOST_RECORD, LostLines, ReadOptions, Record, Table
from indexer.feeds.table_format import FORMATS, FeedHead, TableFormat
from indexer.feeds.text_encoding import find_encoding

# The longer first: ".jpe" would hide ".jpeg".
_SUFFIX = "|".join(sorted((one.lstrip(".") for one in IMAGE_SUFFIXES), key=len, reverse=True))
# The suffix of a path, and what parts it from a label.
_END = re.compile(rf"\.(?:{_SUFFIX})", re.IGNORECASE)
_DELIMITER = re.compile(r'"?(?P<delimiter>(?:\t|[ ]*[,;|][ ]*|[ ]+)"?)?')


@dataclass(frozen=True)
class _Line:
    """A photo's path and its label, "" where there is none."""

    path: str
    label: str


def _read_line(line: str) -> _Line | None:
    """Part a line into a path that ends with a photo's suffix and a label; None where it is not so.

    Neither holds a tab or a quote but those around it. Each character is looked at a few times,
    however many suffixes there are.
    """
    start = int(line.startswith('"'))
    # Up to the first of them a path may go, and behind the last a label begins.
    places = [line.find(sign, start) for sign in '\t"']
    first = min((at for at in places if at >= 0), default=len(line))
    last = max(line.rfind("\t"), line.rfind('"', 0, -1))
    for found in _END.finditer(line, start, first):
        rest = _DELIMITER.match(line, found.end())
        end = found.end() if rest is None else rest.end()
        labelled = rest is not None and rest["delimiter"] is not None and last < end
        if labelled or end == len(line):
            return _Line(line[start : found.end()], line[end:].removesuffix('"').strip())
    return None


class ListTable(Table):
    """Photos and labels, without a header; read as the columns ``image`` and ``category``."""

    format = "list"
    text = True

    def __init__(self, source: FeedFile, options: ReadOptions) -> None:
        super().__init__(source)
        self.encoding = find_encoding(source, options.encoding)
        if self.encoding.guess:
            self.notice(self.encoding.guess, "guessed-encoding", line=self.encoding.line)
        self.columns = ["image", "category"]
        self.notice(
            "has no header and begins with a photo: each line is read as a photo and its label",
            "no-header",
        )

    def records(self, lost: LostLines) -> Iterator[Record]:
        with self.encoding.lines(self.source) as text:
            for number, line in enumerate(long_lines(text), 1):
                where = f"{self.name}:{number}"
                if line is None:
                    reason = f"has more than {MOST_RECORD} characters"
                    lost.lose(where, reason, code="long-line")
                elif line.strip():
                    found = _read_line(line.strip())
                    if found is None:
                        lost.lose(where, "names no photo and label, as the lines before it do")
                        continue
                    yield Record(where, {"image": found.path, "category": found.label})
        if self.source.damage:
            lost.lose(self.name, self.source.damage, code="damaged-file")


def _fits(head: FeedHead) -> int:
    lines = [line.strip() for line in head.text[:4096].splitlines()[:-1] or [head.text[:4096]]]
    lines = [line for line in lines if line][:20]
    listed = sum(_read_line(line) is not None for line in lines)
    if not lines or _read_line(lines[0]) is None:
        return 0
    return 3 if listed > 0.8 * len(lines) else 0


_SUFFIXES = (".lst", ".list", ".txt")

FORMATS.register(TableFormat("list", _SUFFIXES, _fits, ListTable, 60))
