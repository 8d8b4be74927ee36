"""Checks of everything that a catalog holds: pages, relations, checksums of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from indexer.catalog.checksums import (
    CATALOG_KINDS,
    PARTS,
    PHOTO,
    ROW,
    SUMMED,
    WHOLE,
    current_checksums,
    seal_unsealed,
    stored_checksums,
    table_fits,
)
from indexer.catalog.schema import is_old
from indexer.catalog.store import Catalog
from indexer.catalog.table_sums import changed_sums, unsealed_rows
from indexer.core.sqlite import Connection, Database

_NAMED = 5
# What must hold between tables: (words, query that gives offending rows).
_RELATIONS = (
    (
        "photos of products name {} that are not there",
        "SELECT DISTINCT photo_id FROM product_photos LEFT JOIN photos USING (photo_id) "
        "WHERE content_hash IS NULL",
    ),
    (
        "photos are of products {} that are not there",
        "SELECT DISTINCT pid FROM product_photos LEFT JOIN products USING (pid) "
        "WHERE product_id IS NULL",
    ),
    (
        "tags are of products {} that are not there",
        "SELECT DISTINCT pid FROM tags LEFT JOIN products USING (pid) WHERE product_id IS NULL",
    ),
    (
        "photos {} are of no product",
        "SELECT photo_id FROM photos LEFT JOIN product_photos USING (photo_id) WHERE pid IS NULL",
    ),
    (
        "photos {} have no content hash",
        "SELECT photo_id FROM photos WHERE length(content_hash) <> 64 "
        "OR content_hash GLOB '*[^0-9a-f]*'",
    ),
    (
        "products {} have another last change than the log says",
        "SELECT pid FROM (SELECT pid, max(sequence) AS last, kind FROM changes GROUP BY pid) "
        "JOIN products USING (pid) WHERE kind = 'delete' OR last <> sequence",
    ),
    (
        "the counter of {} is below a number that was given",
        "SELECT name FROM sqlite_sequence WHERE seq < CASE name "
        "WHEN 'products' THEN (SELECT max(pid) FROM products) "
        "WHEN 'photos' THEN (SELECT max(photo_id) FROM photos) "
        "WHEN 'changes' THEN (SELECT max(sequence) FROM changes) ELSE seq END",
    ),
)
_JSON = ("category", "attributes", "fields", "spellings")


@dataclass
class CatalogCheck:
    """What a check of a catalog found."""

    damages: list[str] = field(default_factory=list)
    products: int = 0
    # Rows that an older Catalens wrote: they have no checksum.
    unchecked: int = 0


def page_damages(database: Database) -> list[str]:
    """What SQLite's own check finds in a file; empty where all is well. Raises as a read does."""
    with database.read() as sql:
        found = [str(row[0]) for row in sql.execute("PRAGMA integrity_check(10)")]
    return [line for line in found if line != "ok"]


def check_catalog(catalog: Catalog) -> CatalogCheck:
    """Everything the catalog holds, in one consistent snapshot. Raises ``BadHomeError`` where its
    file cannot be read at all."""
    state = CatalogCheck(page_damages(catalog.database))
    if state.damages:
        return state
    with catalog.database.read() as sql:
        state.products = int(sql.execute("SELECT count(*) FROM products").fetchone()[0])
        for words, query in _RELATIONS:
            if rows := sql.execute(f"{query} LIMIT {_NAMED + 1}").fetchall():
                state.damages.append(words.format(_named(row[0] for row in rows)))
        if is_old(sql):
            state.unchecked = state.products
            return state
        state.damages += _bad_json(sql)
        _check_rows(sql, "product", (ROW, PARTS), state)
        _check_rows(sql, "photo", (PHOTO,), state)
        state.damages += _changed_tables(sql)
        state.unchecked += sum(unsealed_rows(sql, SUMMED).values())
    return state


def seal_catalog(catalog: Catalog) -> int:
    """Give checksums to rows that have none or an older one; returns to how many."""
    with catalog.database.transaction() as sql:
        sealed, others = seal_unsealed(sql, CATALOG_KINDS)
    return len(sealed[ROW] | sealed[PARTS]) + len(sealed[PHOTO]) + others


def _check_rows(sql: Connection, noun: str, kinds: Sequence[str], state: CatalogCheck) -> None:
    """Compare the checksums of what belongs to one product, or photo, with what stands there."""
    changed: set[int] = set()
    unchecked: set[int] = set()
    gone: set[int] = set()
    for kind in kinds:
        known = stored_checksums(sql, kind)
        for row in current_checksums(sql, kind):
            sequence, checksum = known.pop(row.key, (-1, 0))
            if sequence == row.sequence:
                if not row.fits(checksum):
                    changed.add(row.key)
            elif sequence > row.sequence:
                changed.add(row.key)
            else:
                # Of an older Catalens.
                unchecked.add(row.key)
        # One that was deleted by any release has lost its checksum too.
        gone.update(known)
    state.unchecked += len(unchecked - changed)
    if changed:
        where = _words(sql, noun, sorted(changed))
        state.damages.append(f"{len(changed)} {noun}s do not match their checksum: {where}")
    if gone:
        state.damages.append(f"{len(gone)} {noun}s are lost: {_named(sorted(gone))}")


def _changed_tables(sql: Connection) -> Iterator[str]:
    for name in WHOLE:
        if not table_fits(sql, name):
            yield f"the table {name} does not match its checksum"
    yield from changed_sums(sql, SUMMED)


def _bad_json(sql: Connection) -> Iterator[str]:
    """Products whose stored values cannot be read."""
    bad = []
    for pid, *values in sql.execute(f"SELECT pid, {', '.join(_JSON)} FROM products"):
        try:
            for value in values:
                if value is not None:
                    json.loads(value)
        except (ValueError, TypeError):
            bad.append(pid)
    if bad:
        where = _words(sql, "product", bad)
        yield f"values of {len(bad)} products cannot be read: {where}"


def _words(sql: Connection, noun: str, keys: list[int]) -> str:
    if noun != "product":
        return _named(keys)
    query = "SELECT product_id FROM products WHERE pid = ?"
    names = []
    for key in keys[: _NAMED + 1]:
        row = sql.execute(query, (key,)).fetchone()
        names.append(ascii(row[0]) if row else str(key))
    return _named(names)


def _named(values: Iterator[object] | list[object] | list[int] | list[str]) -> str:
    shown = [str(value) for value in values]
    more = ", ..." if len(shown) > _NAMED else ""
    return ", ".join(shown[:_NAMED]) + more
