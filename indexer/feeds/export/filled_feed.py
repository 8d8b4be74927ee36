"""Files of a filled feed: first the rows as they were, then the rows with proposals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer.core.errors import BadRequestError
from indexer.feeds.export.feed_filler import FeedFiller
from indexer.feeds.export.feed_writer import write_feed
from indexer.feeds.export.text_copy import TextCopy, keeps_form
from indexer.feeds.formats.delimited import DelimitedTable
from indexer.feeds.notice import Notice

_SHOWN = 10


@dataclass(frozen=True)
class FilledFeed:
    """Numbers of rows that were written, and of cells that changed by column."""

    rows: int
    undo_rows: int
    changed: dict[str, int]


def write_filled(filler: FeedFiller, out: Path, undo: Path) -> FilledFeed:
    """Write what ``filler`` gives to ``out``, and to ``undo`` the touched rows as they were.

    Delimited text keeps its form; other formats become the table that the suffix of ``out`` names.
    ``undo`` is whole before ``out`` appears, which may replace the feed itself. Raises as
    ``write_feed``, and ``BadRequestError`` where ``undo`` is the feed.
    """
    table = filler.table
    if undo.absolute() == table.source.path.absolute():
        raise BadRequestError(
            f"{undo} would be written with the rows as they were, and is the feed: choose another "
            "--out"
        )
    if keeps_form(table, out):
        assert isinstance(table, DelimitedTable)
        copy = TextCopy(table)
        undo_rows = copy.write(undo, filler.touched_rows(), whole=False, undo=True)
        rows = copy.write(out, filler.rows(), whole=not filler.options.changes, undo=False)
        filler.notices += copy.notices[:_SHOWN]
        more = len(copy.notices) - _SHOWN
        if more > 0:
            filler.notices.append(Notice(table.name, f"{more} more were left as they are"))
        changed = Counter(filler.changed)
        changed.subtract(copy.left)
        return FilledFeed(
            rows, undo_rows, {name: count for name, count in changed.items() if count}
        )
    # Google's tables part several photos by commas.
    joint = "," if filler.profile.name == "google" and out.suffix.lower() != ".jsonl" else None
    old_rows = (_joined(row, joint) for row in filler.old_rows())
    undo_rows = write_feed(undo, table.columns, old_rows, blanks=True)
    new_rows = (_joined(row.values, joint) for row in filler.rows())
    rows = write_feed(out, table.columns, new_rows, blanks=True)
    changed = Counter(filler.changed)
    filler.notices.append(
        Notice(
            table.name,
            f"is {table.format.upper()}, and is written as a table with the same columns; what the "
            "file says beside its rows is not in it",
            "other-form",
        )
    )
    if filler.lost:
        filler.notices.append(
            Notice(table.name, f"{filler.lost} lines are no rows and are left out", "lost-lines")
        )
    return FilledFeed(rows, undo_rows, dict(changed))


def _joined(values: dict[str, Any], joint: str | None) -> dict[str, Any]:
    """A row whose lists are one cell each."""
    if joint is None:
        return values
    return {
        name: joint.join(map(str, value)) if isinstance(value, list) else value
        for name, value in values.items()
    }
