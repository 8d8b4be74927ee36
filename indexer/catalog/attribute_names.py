"""Names of attributes that no product has any more, and how they are forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from indexer.catalog.deletions import NAME, Deletions
from indexer.catalog.store import Catalog
from indexer.core.sqlite import Connection, has_table

# Up to so many cost nothing worth mentioning, and a filter may name one that comes back.
_FEW = 200
# Beyond so many, names whose type a person gave go too: a catalog takes a thousand more.
_CROWDED = 9_000
_PORTION = 2000
# Of ``attribute_types.fixed``: a person gave the type.
_GIVEN = 1


def forget_unused_names(catalog: Catalog) -> int:
    """Forget the attributes that no product has, where a catalog has many; how many were forgotten.

    Those whose type a person gave stay, unless there are so many that others soon find no room.
    Products are read in portions before anything is locked; what was written meanwhile is looked at
    inside the transaction.
    """
    names = set(catalog.types())
    if catalog.database.read_only or len(names) <= _FEW:
        return 0
    crowded = len(names) > _CROWDED
    return _forget(catalog, names if crowded else names - catalog.given_types(), given=crowded)


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


def take_types_back(catalog: Catalog, types: Mapping[str, str]) -> None:
    """Forget those of these attributes that no product has and that still have these types; what is
    kept of them stays, by which an undo is done again that was interrupted."""
    unused, sequence = _unused(catalog, set(types))
    with catalog.database.transaction() as sql:
        unused -= _written_since(sql, sequence)
        rows = [(name, types[name]) for name in sorted(unused)]
        sql.executemany("DELETE FROM attribute_types WHERE name = ? AND type = ?", rows)


def _forget(catalog: Catalog, names: set[str], *, given: bool = False) -> int:
    """Forget those of these names that no product has, and what types they had before; ``given``:
    also where a person gave one meanwhile."""
    unused, sequence = _unused(catalog, names)
    if not unused:
        return 0
    with catalog.database.transaction() as sql:
        unused -= _written_since(sql, sequence)
        if not given:
            query = f"SELECT name FROM attribute_types WHERE fixed = {_GIVEN}"
            unused -= {name for (name,) in sql.execute(query)}
        rows = [(name,) for name in sorted(unused)]
        sql.executemany("DELETE FROM attribute_types WHERE name = ?", rows)
        if has_table(sql, "kept_types"):
            sql.executemany("DELETE FROM kept_types WHERE name = ?", rows)
    return len(unused)


def _unused(catalog: Catalog, names: set[str]) -> tuple[set[str], int]:
    """Those of these names that no product has, as of a change; products are read in portions."""
    unused = set(names)
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
    return unused, sequence


def _written_since(sql: Connection, sequence: int) -> set[str]:
    """The names of products that were written since."""
    query = (
        "SELECT attributes FROM products WHERE pid IN (SELECT pid FROM changes WHERE sequence > ?)"
    )
    return _names(text for (text,) in sql.execute(query, (sequence,)))


def _names(texts: Iterable[str]) -> set[str]:
    """The names in attributes as they are stored."""
    return set[str]().union(*(json.loads(text) for text in texts))
