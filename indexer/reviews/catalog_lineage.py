"""Which catalog an entry of the reviews names products of: another one gives its numbers again."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

from indexer.catalog.births import CatalogHead, catalog_head, holds_head
from indexer.core.errors import UnknownProductError
from indexer.core.sqlite import Connection, has_table

if TYPE_CHECKING:
    from indexer.catalog.store import Catalog

_ALL = 2**63 - 1
# The catalog's head as it was when the entries above the row before, up to this one, were written.
# Each row of a lineage stems from the one before; a catalog that was put back begins another.
# A release from before ignores the table.
_TABLES = (
    "CREATE TABLE catalog_heads (through INTEGER PRIMARY KEY, pid INTEGER NOT NULL, mark TEXT NOT "
    "NULL, lineage INTEGER NOT NULL)",
    "CREATE INDEX catalog_heads_by_lineage ON catalog_heads (lineage, through)",
)


class _Cut(NamedTuple):
    """A lineage that the catalog left: its last entry, the last that names products of the catalog
    only, and the highest number that entries behind that share with the catalog."""

    through: int
    sound: int
    pid: int


class KnownNumbers:
    """Up to which number the products that an entry names are those of the catalog at hand."""

    def __init__(self, cuts: list[_Cut]) -> None:
        self._cuts = cuts
        self._ends = [cut.through for cut in cuts]

    def count_foreign(self, sql: Connection) -> int:
        """How many reviews and entries of feedback were written beside another catalog, or beside
        a state that this one never had."""
        query = (
            "SELECT count(*) FROM log WHERE kind IN ('opened', 'feedback') AND entry > ? AND "
            "entry <= ?"
        )
        begins = [0, *self._ends]
        ranges = [
            (max(begin, cut.sound), cut.through)
            for begin, cut in zip(begins, self._cuts, strict=False)
        ]
        return sum(sql.execute(query, part).fetchone()[0] for part in ranges)

    def highest(self, entry: int) -> int:
        """The highest number of ``entry`` that is the catalog's."""
        place = bisect_left(self._ends, entry)
        if place == len(self._cuts) or entry <= self._cuts[place].sound:
            return _ALL
        return self._cuts[place].pid

    def own_pid(self, entry: int, pid: int | None) -> int | None:
        """A number that ``entry`` names; None where it is none of the catalog's."""
        return None if pid is None or pid > self.highest(entry) else pid

    def body(self, entry: int, body: dict[str, Any]) -> dict[str, Any]:
        """The body of ``entry`` without numbers of another catalog's products; ``foreign`` in it
        says that it was about one."""
        highest = self.highest(entry)
        if highest == _ALL:
            return body
        cleared: dict[str, Any] = _without(body, highest)
        is_foreign = body.get("pid") is not None and cleared["pid"] is None
        return {**cleared, "foreign": True} if is_foreign else cleared


class CatalogLineage:
    """Notes beside the log of reviews which catalog its entries were written beside."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog.database

    def require_product(self, pid: int | None) -> None:
        """Raise ``UnknownProductError`` where a product is erased; None is none.

        Inside the write transaction that is to keep something of it: an erasure that writes the
        reviews afterwards finds that, and after one that did before nothing is kept.
        """
        with self._catalog.read() as sql:
            query = "SELECT 1 FROM products WHERE pid = ?"
            if pid is not None and sql.execute(query, (pid,)).fetchone() is None:
                raise UnknownProductError("the product was erased meanwhile: nothing of it is kept")

    def note(self, sql: Connection, entry: int) -> None:
        """Have the entries up to ``entry`` name products of the catalog as it is now; inside a
        write transaction."""
        if not has_table(sql, "catalog_heads"):
            for statement in _TABLES:
                sql.execute(statement)
        now = catalog_head(self._catalog)
        through, known, lineage = _newest(sql) or (0, now, 1)
        if through and known == now:
            query = "UPDATE catalog_heads SET through = ? WHERE through = ?"
            sql.execute(query, (entry, through))
            return
        lineage += not holds_head(self._catalog, known)
        sql.execute("INSERT INTO catalog_heads VALUES (?, ?, ?, ?)", (entry, *now, lineage))

    def adopt(self, sql: Connection) -> None:
        """Take entries of an older release for such that were written beside the catalog as it is;
        inside a write transaction."""
        if (last := _unnoted(sql)) is not None:
            self.note(sql, last)

    def is_due(self, sql: Connection) -> bool:
        """Whether there are entries to adopt."""
        return _unnoted(sql) is not None

    def numbers(self, sql: Connection) -> KnownNumbers:
        """What the entries of a log name of this catalog."""
        newest = _newest(sql)
        if newest is None:
            return KnownNumbers([])
        _, head, lineages = newest
        # In a home whose catalog was never put back there is one lineage, and the catalog is of it.
        last = lineages - holds_head(self._catalog, head)
        return KnownNumbers([self._cut(sql, lineage) for lineage in range(1, last + 1)])

    def _cut(self, sql: Connection, lineage: int) -> _Cut:
        query = "SELECT max(through) FROM catalog_heads WHERE lineage = ?"
        (end,) = sql.execute(query, (lineage,)).fetchone()
        query = (
            "SELECT through, pid, mark FROM catalog_heads WHERE lineage = ? AND through > ? AND "
            "through <= ? ORDER BY through DESC LIMIT 1"
        )
        found = _Cut(end, 0, 0)
        low, high = 0, end
        # Of the heads of a lineage the catalog holds the first ones.
        while low < high:
            middle = (low + high + 1) // 2
            row = sql.execute(query, (lineage, low, middle)).fetchone()
            if row is None:
                low = middle
            elif holds_head(self._catalog, CatalogHead(*row[1:])):
                low, found = middle, _Cut(end, row[0], row[1])
            else:
                high = row[0] - 1
        return found


def _newest(sql: Connection) -> tuple[int, CatalogHead, int] | None:
    if not has_table(sql, "catalog_heads"):
        return None
    query = "SELECT through, pid, mark, lineage FROM catalog_heads ORDER BY through DESC LIMIT 1"
    row = sql.execute(query).fetchone()
    return None if row is None else (row[0], CatalogHead(row[1], row[2]), row[3])


def _unnoted(sql: Connection) -> int | None:
    """The last entry of the log, where no note is of it."""
    (last,) = sql.execute("SELECT max(entry) FROM log").fetchone()
    newest = _newest(sql)
    return None if last is None or (newest is not None and newest[0] >= last) else int(last)


def _without(node: Any, highest: int) -> Any:
    """A JSON value whose products of a higher number are none."""
    if isinstance(node, list):
        return [_without(value, highest) for value in node]
    if not isinstance(node, dict):
        return node
    found = {name: _without(value, highest) for name, value in node.items()}
    if isinstance(pid := found.get("pid"), int) and pid > highest:
        found["pid"] = None
    if isinstance(clicked := found.get("clicked"), list):
        found["clicked"] = [pid for pid in clicked if not isinstance(pid, int) or pid <= highest]
    return found
