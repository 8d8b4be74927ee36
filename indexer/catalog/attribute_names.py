"""Names of attributes that no product has any more, and how they are forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable

from indexer.catalog.deletions import NAME, Deletions
from indexer.catalog.store import Catalog
from indexer.core.sqlite import has_table

# Up to so many cost nothing worth mentioning, and a filter may name one that comes back.
_FEW = 200
_PORTION = 2000
# Of ``attribute_types.fixed``: a person gave the type, so it stays.
_GIVEN = 1


def forget_unused_names(catalog: Catalog) -> int:
    """Forget the attributes that no product has, where a catalog has many; how many were forgotten.

    Products are read in portions before anything is locked; what was written meanwhile is looked at
    inside the transaction.
    """
    if catalog.database.read_only or len(catalog.types()) <= _FEW:
        return 0
    return _forget(catalog, set(catalog.types()) - catalog.given_types())


def forget_erased_names(catalog: Catalog) -> int:
    """As ``forget_unused_names``, the attributes of products that were deleted and are not erased
    yet, however few there are."""
    deletions = Deletions(catalog.database)
    salted = deletions.salted()
    marks = {mark.digest for one in deletions.pending() for mark in one.marks if mark.kind == NAME}
    if catalog.database.read_only or salted is None or not marks:
        return 0
    names = set(catalog.types())
    with catalog.database.read() as sql:
        if has_table(sql, "kept_types"):
            names.update(name for (name,) in sql.execute("SELECT DISTINCT name FROM kept_types"))
    mine = {name for name in names if salted.digest(name).hex() in marks}
    return _forget(catalog, mine - catalog.given_types())


def _forget(catalog: Catalog, unused: set[str]) -> int:
    """Forget those of these names that no product has, and what types they had before."""
    sequence = catalog.last_sequence()
    after = 0
    while unused:
        with catalog.database.read() as sql:
            query = "SELECT pid, attributes FROM products WHERE pid > ? ORDER BY pid LIMIT ?"
            rows = sql.execute(query, (after, _PORTION)).fetchall()
        if not rows:
            break
        unused -= _names(text for _, text in rows)
        after = rows[-1][0]
    if not unused:
        return 0
    with catalog.database.transaction() as sql:
        query = (
            "SELECT attributes FROM products WHERE pid IN (SELECT pid FROM changes WHERE sequence "
            "> ?)"
        )
        unused -= _names(text for (text,) in sql.execute(query, (sequence,)))
        query = f"SELECT name FROM attribute_types WHERE fixed = {_GIVEN}"
        unused -= {name for (name,) in sql.execute(query)}
        rows = [(name,) for name in sorted(unused)]
        sql.executemany("DELETE FROM attribute_types WHERE name = ?", rows)
        if has_table(sql, "kept_types"):
            sql.executemany("DELETE FROM kept_types WHERE name = ?", rows)
    return len(unused)


def _names(texts: Iterable[str]) -> set[str]:
    """The names in attributes as they are stored."""
    return set[str]().union(*(json.loads(text) for text in texts))
