"""List file: a photo a line, with its label behind a tab, another delimiter or a blank."""

from __future__ import annotations

import re
from collections.abc import Iterator

from indexer.feeds.feed_file import FeedFile
from indexer.feeds.formats.json_lines import long_lines
from indexer.feeds.photo_files import IMAGE_SUFFIXES
from indexer.feeds.table import MOST_RECORD, LostLines, ReadOptions, Record, Table
from indexer.feeds.table_format import FORMATS, FeedHead, TableFormat
from indexer.feeds.text_encoding import find_encoding

_SUFFIX = "|".join(suffix.lstrip(".") for suffix in IMAGE_SUFFIXES)
# The path up to its suffix, and what follows a delimiter after it.
_LINE = re.compile(
    rf'"?(?P<path>[^\t"]*?\.(?:{_SUFFIX}))"?(?:(?:\t|[ ]*[,;|][ ]*|[ ]+)"?(?P<label>[^\t"]*?)"?)?',
    re.IGNORECASE,
)


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
                    found = _LINE.fullmatch(line.strip())
                    if found is None:
                        lost.lose(where, "names no photo and label, as the lines before it do")
                        continue
                    label = found["label"] or ""
                    yield Record(where, {"image": found["path"], "category": label.strip()})
        if self.source.damage:
            lost.lose(self.name, self.source.damage, code="damaged-file")


def _fits(head: FeedHead) -> int:
    lines = [line.strip() for line in head.text[:4096].splitlines()[:-1] or [head.text[:4096]]]
    lines = [line for line in lines if line][:20]
    listed = sum(_LINE.fullmatch(line) is not None for line in lines)
    if not lines or not _LINE.fullmatch(lines[0]):
        return 0
    return 3 if listed > 0.8 * len(lines) else 0


_SUFFIXES = (".lst", ".list", ".txt")

FORMATS.register(TableFormat("list", _SUFFIXES, _fits, ListTable, 60))
