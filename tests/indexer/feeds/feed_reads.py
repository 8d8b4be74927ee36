"""Helpers of reader tests: write a feed, read all of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.feeds.reader import LostLines, Record, Table, open_table


@dataclass
class FeedRead:
    """All that reading one feed gives."""

    table: Table
    records: list[Record]
    lost: LostLines

    @property
    def lines(self) -> list[int]:
        """Where the records stand: lines, rows or items."""
        return [int(record.where.replace(":", " ").split()[-1]) for record in self.records]

    def values(self, column: str) -> list[Any]:
        """One column of all records."""
        return [record.values.get(column) for record in self.records]

    @property
    def codes(self) -> list[str]:
        """Kinds of all that was said: of the feed, of kept records, of lost ones."""
        said = [*self.table.notices, *self.lost.warnings, *self.lost.skipped]
        return [notice.code for notice in said]


def read(
    folder: Path, content: str | bytes, name: str = "feed.csv", **options: str | None
) -> FeedRead:
    """Write a feed and read it, twice the same."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_file(path, **options)


def read_file(path: Path, **options: str | None) -> FeedRead:
    """Read a feed to its end, twice the same."""
    table = open_table(path, **options)
    lost = LostLines(id_columns=("product_id", "id"))
    records = list(table.records(lost))
    assert list(table.records(LostLines())) == records
    return FeedRead(table, records, lost)
