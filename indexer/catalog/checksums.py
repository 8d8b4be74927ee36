"""Checksums of a catalog's rows: what SQLite does not notice, a changed byte within a value."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from indexer.core.sqlite import Connection, Database, Schema, chunks, has_table

# Beside the catalog's first tables. Rows that an older Catalens wrote have none: triggers of the
# file take away what stands there of a row that changes, and who knows checksums seals it again.
CHECKSUMS_TABLE = (
    "CREATE TABLE IF NOT EXISTS checksums (kind TEXT NOT NULL, key INTEGER NOT NULL, sequence "
    "INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID"
)
PRODUCT = "product"
PHOTO = "photo"
# Small tables, each checked as one.
WHOLE = ("attribute_types", "used_fields", "field_owners")
# Table -> the kind of row that it is part of, and the column that holds its number.
_PARTS = {
    "products": (PRODUCT, "pid"),
    "tags": (PRODUCT, "pid"),
    "product_photos": (PRODUCT, "pid"),
    "photos": (PHOTO, "photo_id"),
    **{name: (name, "0") for name in WHOLE},
}
_READ = {
    PRODUCT: (
        "SELECT pid, 0, sequence, product_id, title, category, attributes, fields, spellings, "
        "external_version FROM products WHERE pid IN ({0}) UNION ALL "
        "SELECT pid, 1, position, tag, source, NULL, NULL, NULL, NULL, NULL FROM tags "
        "WHERE pid IN ({0}) UNION ALL "
        "SELECT pid, 2, position, photo_id, source, NULL, NULL, NULL, NULL, NULL "
        "FROM product_photos WHERE pid IN ({0}) ORDER BY 1, 2, 3, 4, 5"
    ),
    PHOTO: (
        "SELECT photo_id, 0, 0, content_hash, format, bytes, width, height, storage, path "
        "FROM photos WHERE photo_id IN ({0}) ORDER BY 1"
    ),
}
_PORTION = 900


@dataclass(frozen=True)
class RowKinds:
    """What of a file has checksums.

    ``parts``: table -> the kind of row that it is part of, and the column of its number ("0": the
    table is checked as one). ``reads``: kind -> statement that gives all parts of rows by number,
    the row's number, 0 and its sequence first. ``tables``: kind -> its own table and column.
    """

    parts: Mapping[str, tuple[str, str]]
    reads: Mapping[str, str]
    tables: Mapping[str, tuple[str, str]]
    whole: tuple[str, ...] = ()


CATALOG_KINDS = RowKinds(
    _PARTS, _READ, {PRODUCT: ("products", "pid"), PHOTO: ("photos", "photo_id")}, WHOLE
)


class RowSum(NamedTuple):
    """Checksum of one product, photo or small table as it stands, and the product's sequence."""

    key: int
    sequence: int
    checksum: int


class CheckedDatabase(Database):
    """A file whose every transaction leaves checksums of the rows that it wrote."""

    def __init__(self, path: Path, schema: Schema, kinds: RowKinds = CATALOG_KINDS) -> None:
        super().__init__(path, schema)
        self._kinds = kinds
        self._touched: set[tuple[str, int]] = set()
        # Whether the file has its triggers, by which every release unseals what it changes.
        self._unsealed_by_all = False

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """As of any database; checksums are part of it."""
        with super().transaction() as connection:
            self._watch(connection)
            yield connection
            # Not given up by a dry run.
            if connection.in_transaction:
                self._seal(connection)

    def _watch(self, sql: Connection) -> None:
        """Note the rows that this connection writes, by triggers of its own: an older Catalens
        meets none."""
        self._touched.clear()
        tables = {row[0] for row in sql.execute("SELECT name FROM sqlite_master")}
        self._unsealed_by_all = self._trigger_names(tables) <= tables
        there = {row[0] for row in sql.execute("SELECT tbl_name FROM temp.sqlite_master")}
        wanted = tables.intersection(self._kinds.parts) - there
        if not wanted:
            return
        sql.create_function("catalens_touched", 2, self._touch)
        for table in wanted:
            kind, key = self._kinds.parts[table]
            for event, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old")):
                number = key if key == "0" else f"{row}.{key}"
                sql.execute(
                    f"CREATE TEMP TRIGGER touched_{table}_{event} AFTER {event} ON main.{table} "
                    f"BEGIN SELECT catalens_touched('{kind}', {number}); END"
                )

    def _trigger_names(self, tables: set[str]) -> set[str]:
        there = tables.intersection(self._kinds.parts)
        return {f"unseal_{table}_{event}" for table in there for event, _ in self._events(table)}

    def _events(self, table: str) -> tuple[tuple[str, str], ...]:
        """What takes a checksum away, and the row that says of what. A new row has none yet."""
        added = (("INSERT", "new"),) if table in self._kinds.whole else ()
        return (("UPDATE", "old"), ("DELETE", "old"), *added)

    def _make_triggers(self, sql: Connection) -> None:
        """Have all releases, older ones too, unseal what they change."""
        tables = {row[0] for row in sql.execute("SELECT name FROM sqlite_master")}
        for table in tables.intersection(self._kinds.parts):
            kind, key = self._kinds.parts[table]
            for event, row in self._events(table):
                number = key if key == "0" else f"{row}.{key}"
                sql.execute(
                    f"CREATE TRIGGER IF NOT EXISTS unseal_{table}_{event} AFTER {event} ON {table} "
                    f"BEGIN DELETE FROM checksums WHERE kind = '{kind}' AND key = {number}; END"
                )

    def _touch(self, kind: str, key: int) -> None:
        self._touched.add((kind, key))

    def _seal(self, sql: Connection) -> None:
        if not self._touched:
            return
        if not self._unsealed_by_all:
            sql.execute(CHECKSUMS_TABLE)
            self._make_triggers(sql)
        for kind in self._kinds.reads:
            rows = [key for of, key in self._touched if of == kind]
            seal_rows(sql, kind, rows, self._kinds)
        for name in {kind for kind, _ in self._touched}.intersection(self._kinds.whole):
            seal_table(sql, name)


def seal_rows(
    sql: Connection, kind: str, keys: Iterable[int], kinds: RowKinds = CATALOG_KINDS
) -> None:
    """Store the checksums of rows as they stand; those of rows that are gone go."""
    for part, marks in chunks(sorted(keys)):
        sums = list(_read_part(sql, kinds.reads[kind], part, marks))
        gone = set(part).difference(row.key for row in sums)
        sql.executemany(
            "DELETE FROM checksums WHERE kind = ? AND key = ?", [(kind, key) for key in gone]
        )
        sql.executemany(
            "INSERT OR REPLACE INTO checksums VALUES (?, ?, ?, ?)", [(kind, *row) for row in sums]
        )


def seal_table(sql: Connection, name: str) -> None:
    """Store the checksum of a small table as it stands."""
    sql.execute(
        "INSERT OR REPLACE INTO checksums VALUES (?, 0, 0, ?)", (name, table_checksum(sql, name))
    )


def table_checksum(sql: Connection, name: str) -> int:
    """The checksum of a small table as it stands."""
    total = 0
    for row in sql.execute(f"SELECT * FROM {name} ORDER BY 1"):
        total = _add(total, row)
    return total


def stored_checksums(sql: Connection, kind: str) -> dict[int, tuple[int, int]]:
    """Key -> (sequence, checksum) of the rows that have one; empty of an older catalog."""
    if not has_table(sql, "checksums"):
        return {}
    query = "SELECT key, sequence, checksum FROM checksums WHERE kind = ?"
    return {key: (sequence, known) for key, sequence, known in sql.execute(query, (kind,))}


def changed_rows(sql: Connection, kinds: RowKinds) -> list[str]:
    """What of a file without sequence numbers is not as it was written, in words."""
    said = []
    for kind in kinds.reads:
        known = stored_checksums(sql, kind)
        odd = []
        for row in current_checksums(sql, kind, kinds):
            checksum = known.pop(row.key, (0, row.checksum))[1]
            if checksum != row.checksum:
                odd.append(row.key)
        if odd:
            said.append(f"{len(odd)} rows ({kind}) do not match their checksum")
        if known:
            said.append(f"{len(known)} rows ({kind}) are lost")
    return said


def current_checksums(
    sql: Connection, kind: str, kinds: RowKinds = CATALOG_KINDS
) -> Iterator[RowSum]:
    """The checksums of all rows of a kind as they stand, by key, in little memory."""
    table, column = kinds.tables[kind]
    after = -1
    while True:
        query = f"SELECT {column} FROM {table} WHERE {column} > ? ORDER BY {column} LIMIT ?"
        keys = [row[0] for row in sql.execute(query, (after, _PORTION))]
        if not keys:
            return
        yield from _read_part(sql, kinds.reads[kind], keys, ",".join("?" * len(keys)))
        after = keys[-1]


def _read_part(sql: Connection, query: str, keys: Any, marks: str) -> Iterator[RowSum]:
    # SQLite numbers "?1" and up, so that one list serves all parts of the statement.
    numbered = ",".join(f"?{place}" for place in range(1, marks.count("?") + 1))
    rows = sql.execute(query.format(numbered), tuple(keys))
    for key, parts in groupby(rows, key=lambda row: row[0]):
        total = 0
        sequence: int | None = None
        for row in parts:
            total = _add(total, row)
            if row[1] == 0:
                sequence = int(row[2])
        if sequence is not None:
            yield RowSum(key, sequence, total)


def _add(total: int, row: tuple[Any, ...]) -> int:
    return zlib.crc32(repr(row).encode(), total)
