"""Marks of product numbers, so that one which is given again is not taken for the first."""

from __future__ import annotations

import os
from typing import NamedTuple

from indexer.core.sqlite import Connection, Database, OperationalError, has_table, read_meta

# One row for each commit that added products, kept for ever: the numbers that it gave, and a random
# mark. Numbers from before this table, and those that an older release gave, have none.
_TABLE = (
    "CREATE TABLE IF NOT EXISTS births (last INTEGER PRIMARY KEY, first INTEGER NOT NULL, "
    "mark TEXT NOT NULL)"
)


class CatalogHead(NamedTuple):
    """The last number that a catalog gave to a product, and the mark of the commit that gave it.

    Numbers are given in order: two catalogs that share a head share all numbers up to it.
    """

    pid: int
    mark: str


def note_births(sql: Connection, first: int, last: int) -> None:
    """Mark the numbers that the open transaction gave."""
    row = (last, first, os.urandom(8).hex())
    try:
        sql.execute("INSERT OR REPLACE INTO births VALUES (?, ?, ?)", row)
    except OperationalError:  # an older catalog; anything else is raised again
        sql.execute(_TABLE)
        sql.execute("INSERT OR REPLACE INTO births VALUES (?, ?, ?)", row)


def catalog_head(database: Database) -> CatalogHead:
    """The head of a catalog as it is now."""
    with database.read() as sql:
        last = _last_given(sql)
        return CatalogHead(last, _mark(sql, last) or read_meta(sql, "identity") or "")


def holds_head(database: Database, head: CatalogHead) -> bool:
    """Whether the numbers up to ``head`` mean the same products in this catalog."""
    with database.read() as sql:
        mark = _mark(sql, head.pid)
        if mark is not None:
            return mark == head.mark
        # A catalog of an older release had no identity before its next write.
        return head.pid <= _last_given(sql) and head.mark in (read_meta(sql, "identity"), "")


def _last_given(sql: Connection) -> int:
    row = sql.execute("SELECT seq FROM sqlite_sequence WHERE name = 'products'").fetchone()
    return 0 if row is None else int(row[0])


def _mark(sql: Connection, pid: int) -> str | None:
    if not has_table(sql, "births"):
        return None
    query = "SELECT mark FROM births WHERE last >= ?1 AND first <= ?1 ORDER BY last LIMIT 1"
    row = sql.execute(query, (pid,)).fetchone()
    return None if row is None else str(row[0])
