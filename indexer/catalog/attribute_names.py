"""Names of attributes that no product has any more, and how they are forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable

from indexer.catalog.store import Catalog

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
    sequence = catalog.last_sequence()
    unused = set(catalog.types()) - catalog.given_types()
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
        query = f"DELETE FROM attribute_types WHERE name = ? AND fixed <> {_GIVEN}"
        sql.executemany(query, [(name,) for name in sorted(unused)])
    return len(unused)


def _names(texts: Iterable[str]) -> set[str]:
    """The names in attributes as they are stored."""
    return set[str]().union(*(json.loads(text) for text in texts))
