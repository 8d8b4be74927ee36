"""Checksums of whole tables that are kept up with each row written, without reading the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from indexer.core.sqlite import Connection, has_table, table_names

_WIDTH = 64
# A table without a checksum (an older Catalens wrote to it) is given one by the next write while it
# is as small as this; larger ones by ``catalens migrate``.
_SMALL = 10_000
_EVENTS = {"INSERT": ((1, "new"),), "UPDATE": ((-1, "old"), (1, "new")), "DELETE": ((-1, "old"),)}


class TableSums:
    """What the open transaction adds to the checksums of some tables, counted by triggers of one
    connection.

    A table's checksum is the sum of its rows' (64 bits), in any order, so that a row that is
    written or deleted changes it by its own alone. Stored in ``checksums`` as key 0 of the table's
    name; in the place of a sequence stands the number of columns that were counted.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._added: defaultdict[str, int] = defaultdict(int)
        # How many rows more than before, by table.
        self._rows: defaultdict[str, int] = defaultdict(int)
        # Stored checksums as the transaction found them, before the file's triggers take them away.
        self._found: dict[str, tuple[int, int]] = {}
        # Tables with triggers of this connection, and the columns that these count.
        self._watched: Mapping[str, tuple[str, ...]] = {}
        # Whether the file had the table of checksums as they were made.
        self._has_sums = False

    def clear(self) -> None:
        """Nothing is written yet."""
        self._added.clear()
        self._rows.clear()

    def watch(self, sql: Connection) -> None:
        """Make the triggers anew: for a new connection, or a schema that changed."""
        if not self._names:
            return
        # Or a row that replaces another one would take that away unseen.
        sql.execute("PRAGMA recursive_triggers = ON")
        sql.create_function("catalens_sum", -1, self._add)
        self._watched = _columns(sql, self._names)
        self._has_sums = has_table(sql, "checksums")
        for table, columns in self._watched.items():
            for event, parts in _EVENTS.items():
                calls = "; ".join(
                    f"SELECT catalens_sum('{table}', {sign}, {_values(columns, f'{row}.')})"
                    for sign, row in parts
                )
                sql.execute(f"DROP TRIGGER IF EXISTS temp.sum_{table}_{event}")
                sql.execute(
                    f"CREATE TEMP TRIGGER sum_{table}_{event} AFTER {event} ON main.{table} "
                    f"BEGIN {calls}; END"
                )

    def find(self, sql: Connection) -> None:
        """Read the stored checksums: as a transaction begins."""
        self._found = _read_sums(sql, self._names) if self._has_sums else {}

    @property
    def changed(self) -> bool:
        """Whether the transaction wrote to one of the tables."""
        return bool(self._added)

    def seal(self, sql: Connection, new_schema: bool) -> None:
        """Store what the tables' checksums are now: as the transaction ends. ``new_schema``: it
        made or changed tables."""
        columns = _columns(sql, self._names) if new_schema else self._watched
        sums = []
        for table, now in columns.items():
            if now != self._watched.get(table):
                sums.append((table, len(now), _table_sum(sql, table, now)))
            elif table in self._added:
                count, before = self._found.get(table, (0, 0))
                if self._rows[table] < 0 and _is_small(sql, table, 0):
                    # Whatever its rows were: none of them is left to be wrong.
                    sums.append((table, len(now), 0))
                elif count == len(now):
                    sums.append((table, count, _wrap(before + self._added[table])))
                elif _is_small(sql, table, _SMALL):
                    sums.append((table, len(now), _table_sum(sql, table, now)))
        _store(sql, sums)

    def _add(self, table: str, sign: int, *values: Any) -> None:
        self._added[table] += sign * _row_sum(values)
        self._rows[table] += sign


def stored_sums(sql: Connection, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Table -> (number of columns counted, checksum), of those of ``names`` that have one; empty
    of an older catalog."""
    return _read_sums(sql, names) if has_table(sql, "checksums") else {}


def _read_sums(sql: Connection, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    marks = ",".join("?" * len(names))
    query = f"SELECT kind, sequence, checksum FROM checksums WHERE key = 0 AND kind IN ({marks})"
    return {kind: (count, checksum) for kind, count, checksum in sql.execute(query, tuple(names))}


def changed_sums(sql: Connection, names: Sequence[str]) -> Iterator[str]:
    """Tables whose rows are not what was written, in words."""
    stored = stored_sums(sql, names)
    there = _columns(sql, names)
    for table, (count, checksum) in stored.items():
        if table not in there:
            yield f"the table {table} is lost"
        elif count == len(there[table]) and checksum != _table_sum(sql, table, there[table]):
            yield f"the table {table} does not match its checksum"


def unsealed_rows(sql: Connection, names: Sequence[str]) -> dict[str, int]:
    """Table -> its number of rows, of those of ``names`` that have no checksum."""
    stored = stored_sums(sql, names)
    return {
        name: int(sql.execute(f"SELECT count(*) FROM {name}").fetchone()[0])
        for name, columns in _columns(sql, names).items()
        if name not in stored or stored[name][0] != len(columns)
    }


def seal_sum(sql: Connection, table: str) -> None:
    """Store the checksum of a table as it stands; reads all of it."""
    columns = _columns(sql, [table]).get(table)
    if columns is not None:
        _store(sql, [(table, len(columns), _table_sum(sql, table, columns))])


def _store(sql: Connection, sums: Sequence[tuple[str, int, int]]) -> None:
    """Store checksums: table, number of its columns, checksum."""
    sql.executemany("INSERT OR REPLACE INTO checksums VALUES (?, 0, ?, ?)", sums)


def _table_sum(sql: Connection, table: str, columns: Sequence[str]) -> int:
    rows = sql.execute(f"SELECT {_values(columns)} FROM {table}")
    return _wrap(sum(map(_row_sum, rows)))


def _wrap(total: int) -> int:
    """A sum as the signed number of 64 bits that SQLite stores."""
    half = 1 << (_WIDTH - 1)
    return (total + half) % (2 * half) - half


def _row_sum(values: Sequence[Any]) -> int:
    said = list(values)
    if float in map(type, values):
        # A whole number in a column of type REAL is 3 for a trigger, 3.0 for who reads it.
        said = [
            int(value) if isinstance(value, float) and value.is_integer() else value
            for value in values
        ]
    digest = blake2b(repr(said).encode(), digest_size=_WIDTH // 8).digest()
    return int.from_bytes(digest, "big")


def _columns(sql: Connection, names: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """The columns of those of the tables that are there, in order."""
    found = {}
    for name in table_names(sql).intersection(names):
        found[name] = tuple(row[1] for row in sql.execute(f"PRAGMA main.table_info({name})"))
    return found


def _values(columns: Sequence[str], row: str = "") -> str:
    # Text as its bytes: a function gets it up to the first NUL alone, and which characters Python
    # escapes differs between its versions.
    return ", ".join(
        f"CASE typeof({row}{one}) WHEN 'text' THEN CAST({row}{one} AS BLOB) ELSE {row}{one} END"
        for one in columns
    )


def _is_small(sql: Connection, table: str, most: int) -> bool:
    query = f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT {most + 1})"
    return int(sql.execute(query).fetchone()[0]) <= most
