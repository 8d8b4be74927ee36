"""Checksums of a catalog's rows: what SQLite does not notice, a changed byte within a value."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from indexer.catalog.table_sums import TableSums, changed_sums, seal_sum, unsealed_rows
from indexer.core.sqlite import Connection, Database, Schema, chunks, has_table, table_names

# Beside the catalog's first tables. Rows that an older Catalens wrote have none: triggers of the
# file take away what stands there of a row that changes, and who knows checksums seals it again.
CHECKSUMS_TABLE = (
    "CREATE TABLE IF NOT EXISTS checksums (kind TEXT NOT NULL, key INTEGER NOT NULL, sequence "
    "INTEGER NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID"
)
# A product's row; its tags and photos: a new price touches the first alone.
ROW = "row"
PARTS = "parts"
PHOTO = "photo"
# Small tables, each checked as one, by reading it again.
WHOLE = ("attribute_types", "used_fields", "field_owners")
# Other tables, each checked as one, by what is written to it: the logs of changes and actions, what
# an undo needs, orders, what was deleted.
SUMMED = (
    "meta",
    "changes",
    "stamps",
    "orphans",
    "births",
    "actions",
    "action_changes",
    "kept",
    "kept_types",
    "kept_decisions",
    "orders",
    "order_items",
    "complements",
    "tombstones",
    "deletions",
    "erased_photos",
    "given_photos",
)
# Table -> the kind of row that it is part of, and the column that holds its number.
_PARTS = {
    "products": (ROW, "pid"),
    "tags": (PARTS, "pid"),
    "product_photos": (PARTS, "pid"),
    "photos": (PHOTO, "photo_id"),
    **{name: (name, "0") for name in WHOLE},
}
_READ = {
    ROW: (
        "SELECT pid, 0, sequence, product_id, title, category, attributes, fields, spellings, "
        "external_version FROM products WHERE pid IN ({0}) ORDER BY 1"
    ),
    PARTS: (
        "SELECT pid, 0, 0, NULL, NULL FROM products WHERE pid IN ({0}) UNION ALL "
        "SELECT pid, 1, position, tag, source FROM tags WHERE pid IN ({0}) UNION ALL "
        "SELECT pid, 2, position, photo_id, source FROM product_photos WHERE pid IN ({0}) "
        "ORDER BY 1, 2, 3, 4, 5"
    ),
    PHOTO: (
        "SELECT photo_id, 0, 0, content_hash, format, bytes, width, height, storage, path "
        "FROM photos WHERE photo_id IN ({0}) ORDER BY 1"
    ),
}
_PORTION = 900
# Of all releases, as SQLite keeps it: whatever it is attached to, it only has a checksum forgotten.
UNSEAL_TRIGGER = (
    r"CREATE TRIGGER unseal_\w+ AFTER (?:INSERT|UPDATE|DELETE) ON \w+ (?:WHEN new\.\w+ <= old\.\w+ "
    r")?BEGIN DELETE FROM checksums WHERE kind = '\w+' AND key = [\w.]+; END"
)


@dataclass(frozen=True)
class RowKinds:
    """What of a file has checksums.

    ``parts``: table -> the kind of row that it is part of, and the column of its number ("0": the
    table is checked as one). ``reads``: kind -> statement that gives all parts of rows by number,
    the row's number, 0 and its sequence first. ``tables``: kind -> its own table and column.
    ``sequences``: table -> its column of sequence numbers; where that rises, the checksum is known
    to be of an older state, and stays till a newer one replaces it. ``summed``: tables that are
    checked as one by ``table_sums``.
    """

    parts: Mapping[str, tuple[str, str]]
    reads: Mapping[str, str]
    tables: Mapping[str, tuple[str, str]]
    whole: tuple[str, ...] = ()
    sequences: Mapping[str, str] = field(default_factory=dict)
    summed: tuple[str, ...] = ()


CATALOG_KINDS = RowKinds(
    _PARTS,
    _READ,
    {ROW: ("products", "pid"), PARTS: ("products", "pid"), PHOTO: ("photos", "photo_id")},
    WHOLE,
    {"products": "sequence"},
    SUMMED,
)


class RowSum(NamedTuple):
    """Checksum of one product, photo or small table as it stands, and the product's sequence."""

    key: int
    sequence: int
    checksum: int
    # The same as an older Catalens would have said it.
    old: int

    def fits(self, stored: int) -> bool:
        """Whether a stored checksum is of the row as it stands."""
        return stored in (self.checksum, self.old)


# Kind, key, sequence, checksum.
StoredSum = tuple[str, int, int, int]


class TouchedRows:
    """Rows that the open transaction wrote, and the checksums that whoever wrote them knows."""

    def __init__(self, kinds: RowKinds) -> None:
        # By kind; the same sets for good, since SQLite adds to them.
        self.touched: dict[str, set[int]] = {kind: set() for kind, _ in kinds.parts.values()}
        # By kind: rows of the table ``checksums``.
        self.known: dict[str, list[StoredSum]] = {kind: [] for kind in kinds.reads}

    def clear(self) -> None:
        """Nothing is written yet."""
        for keys in self.touched.values():
            keys.clear()
        for sums in self.known.values():
            sums.clear()

    def know_product(self, row: tuple[Any, ...]) -> None:
        """The row of a product as it was just written, of the columns that ``ROW`` reads."""
        pid = row[0]
        self.touched[ROW].discard(pid)
        self.known[ROW].append((ROW, pid, row[2], _add(0, row)))

    def know_parts(
        self, pid: int, tags: Iterable[tuple[str, str]], photos: Iterable[tuple[int, str | None]]
    ) -> None:
        """Tags and photos of a product, in order, as they were just written."""
        total = _add(0, (pid, 0, 0, None, None))
        for part, entries in ((1, tags), (2, photos)):
            for position, entry in enumerate(entries):
                total = _add(total, (pid, part, position, *entry))
        self.touched[PARTS].discard(pid)
        self.known[PARTS].append((PARTS, pid, 0, total))


class CheckedDatabase(Database):
    """A file whose every transaction leaves checksums of the rows that it wrote."""

    def __init__(self, path: Path, schema: Schema, kinds: RowKinds = CATALOG_KINDS) -> None:
        super().__init__(path, schema)
        self._kinds = kinds
        self.rows = TouchedRows(kinds)
        self._sums = TableSums(kinds.summed)
        # Whether the file has its triggers, by which every release unseals what it changes.
        self._unsealed_by_all = False
        # The connection that has triggers of its own, and the schema that it had then.
        self._watching: tuple[Connection, int] | None = None
        # The schema as the open transaction found it.
        self._version = 0

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """As of any database; checksums are part of it."""
        made: tuple[Connection, int] | None = None
        with super().transaction() as connection:
            watching = self._watch(connection)
            yield connection
            # Not given up by a dry run.
            if connection.in_transaction:
                self._seal(connection)
                made = watching
        # Triggers that were made in a transaction go with one that is given up.
        if made is not None:
            self._watching = made

    def _watch(self, sql: Connection) -> tuple[Connection, int]:
        """Note the rows that this connection writes, by triggers of its own: an older Catalens
        meets none. Returns what has triggers once the transaction ends well."""
        self.rows.clear()
        self._sums.clear()
        self._version = _schema_version(sql)
        if self._watching != (sql, self._version):
            self._make_watchers(sql)
        self._sums.find(sql)
        return sql, self._version

    def _make_watchers(self, sql: Connection) -> None:
        tables = table_names(sql)
        triggers = _trigger_names_of(sql)
        self._unsealed_by_all = self._trigger_names(tables) <= triggers
        self._sums.watch(sql)
        there = {row[0] for row in sql.execute("SELECT tbl_name FROM temp.sqlite_master")}
        for kind, keys in self.rows.touched.items():
            sql.create_function(f"catalens_touched_{kind}", 1, keys.add)
        for table in tables.intersection(self._kinds.parts) - there:
            kind, key = self._kinds.parts[table]
            for event, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old")):
                number = key if key == "0" else f"{row}.{key}"
                sql.execute(
                    f"CREATE TEMP TRIGGER touched_{table}_{event} AFTER {event} ON main.{table} "
                    f"BEGIN SELECT catalens_touched_{kind}({number}); END"
                )

    def _sealed_tables(self, tables: set[str]) -> set[str]:
        return tables.intersection((*self._kinds.parts, *self._kinds.summed))

    def _trigger_names(self, tables: set[str]) -> set[str]:
        there = self._sealed_tables(tables)
        return {self._trigger(table, event) for table in there for event, _ in self._events(table)}

    def _part(self, table: str) -> tuple[str, str]:
        """The kind of row that a table is part of, and the column that holds its number."""
        return self._kinds.parts.get(table, (table, "0"))

    def _trigger(self, table: str, event: str) -> str:
        return f"unseal_{self._part(table)[0]}_by_{table}_{event}"

    def _events(self, table: str) -> tuple[tuple[str, str], ...]:
        """What takes a checksum away, and the row that says of what. A new row has none yet."""
        is_one = table in self._kinds.whole or table in self._kinds.summed
        added = (("INSERT", "new"),) if is_one else ()
        return (("UPDATE", "old"), ("DELETE", "old"), *added)

    def _make_triggers(self, sql: Connection) -> None:
        """Have all releases, older ones too, unseal what they change."""
        tables = table_names(sql)
        # Of other kinds, which this file had once.
        for name in _trigger_names_of(sql) - self._trigger_names(tables):
            if name.startswith("unseal_"):
                sql.execute(f"DROP TRIGGER {name}")
        kinds = sorted({*self.rows.touched, *self._kinds.summed})
        marks = ",".join("?" * len(kinds))
        sql.execute(f"DELETE FROM checksums WHERE kind NOT IN ({marks})", kinds)
        for table in self._sealed_tables(tables):
            kind, key = self._part(table)
            for event, row in self._events(table):
                number = key if key == "0" else f"{row}.{key}"
                column = self._kinds.sequences.get(table) if event == "UPDATE" else None
                only = f"WHEN new.{column} <= old.{column} " if column else ""
                sql.execute(
                    f"CREATE TRIGGER IF NOT EXISTS {self._trigger(table, event)} AFTER {event} ON "
                    f"{table} {only}BEGIN DELETE FROM checksums WHERE kind = '{kind}' AND key = "
                    f"{number}; END"
                )

    def _seal(self, sql: Connection) -> None:
        touched = self.rows.touched
        new_schema = self._version != _schema_version(sql)
        written = any(touched.values()) or any(self.rows.known.values())
        if not (written or new_schema or self._sums.changed):
            return
        if not self._unsealed_by_all or new_schema:
            sql.execute(CHECKSUMS_TABLE)
            self._make_triggers(sql)
        self._sums.seal(sql, new_schema)
        for kind in self._kinds.reads:
            known: Sequence[StoredSum] = self.rows.known[kind]
            # What was touched again since is read.
            if read := touched[kind]:
                known = [row for row in known if row[1] not in read]
            _store(sql, known)
            seal_rows(sql, kind, read, self._kinds)
        for name in self._kinds.whole:
            if touched[name]:
                seal_table(sql, name)


def _schema_version(sql: Connection) -> int:
    return int(sql.execute("PRAGMA schema_version").fetchone()[0])


def _trigger_names_of(sql: Connection) -> set[str]:
    return {row[0] for row in sql.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")}


def _store(sql: Connection, sums: Sequence[StoredSum]) -> None:
    """Store checksums; of a key's several the last one holds."""
    sql.executemany("INSERT OR REPLACE INTO checksums VALUES (?, ?, ?, ?)", sums)


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
        _store(sql, [(kind, row.key, row.sequence, row.checksum) for row in sums])


def seal_table(sql: Connection, name: str) -> None:
    """Store the checksum of a small table as it stands."""
    row = _table_row(sql, name)
    _store(sql, [(name, 0, 0, row.checksum)])


def table_fits(sql: Connection, name: str) -> bool:
    """Whether a small table is as its checksum says, or has none."""
    known = stored_checksums(sql, name).get(0)
    return known is None or _table_row(sql, name).fits(known[1])


def _table_row(sql: Connection, name: str) -> RowSum:
    total = old = 0
    for row in sql.execute(f"SELECT * FROM {name} ORDER BY 1"):
        total, old = _add(total, row), _add_as_before(old, row)
    return RowSum(0, 0, total, old)


def seal_unsealed(sql: Connection, kinds: RowKinds) -> tuple[dict[str, set[int]], int]:
    """Give checksums to what has none, or an older one: rows by kind, and how many rows of tables
    that are checked as one."""
    sql.execute(CHECKSUMS_TABLE)
    sealed = {kind: _unsealed_keys(sql, kind, kinds) for kind in kinds.reads}
    for kind, keys in sealed.items():
        seal_rows(sql, kind, keys, kinds)
    for name in kinds.whole:
        if not stored_checksums(sql, name):
            seal_table(sql, name)
    tables = unsealed_rows(sql, kinds.summed)
    for name in tables:
        seal_sum(sql, name)
    return sealed, sum(tables.values())


def unsealed_count(sql: Connection, kinds: RowKinds) -> int:
    """How many rows of a file without sequence numbers have no checksum."""
    count = sum(unsealed_rows(sql, kinds.summed).values())
    for kind, (table, column) in kinds.tables.items():
        query = f"SELECT count(*) FROM {table}"
        if has_table(sql, "checksums"):
            query += f" WHERE {column} NOT IN (SELECT key FROM checksums WHERE kind = '{kind}')"
        count += int(sql.execute(query).fetchone()[0])
    return count


def _unsealed_keys(sql: Connection, kind: str, kinds: RowKinds) -> set[int]:
    """Rows of a kind that have no checksum, or one of an older state: an older Catalens wrote
    them."""
    known = stored_checksums(sql, kind)
    return {
        row.key
        for row in current_checksums(sql, kind, kinds)
        if row.key not in known or known[row.key][0] != row.sequence
    }


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
            if not row.fits(checksum):
                odd.append(row.key)
        if odd:
            said.append(f"{len(odd)} rows ({kind}) do not match their checksum")
        if known:
            said.append(f"{len(known)} rows ({kind}) are lost")
    return [*said, *changed_sums(sql, kinds.summed)]


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
        total = old = 0
        sequence: int | None = None
        for row in parts:
            total, old = _add(total, row), _add_as_before(old, row)
            if row[1] == 0:
                sequence = int(row[2])
        if sequence is not None:
            yield RowSum(key, sequence, total, old)


def _add(total: int, row: tuple[Any, ...]) -> int:
    # Not ``repr``: which characters it escapes differs between versions of Python.
    return zlib.crc32(ascii(row).encode(), total)


def _add_as_before(total: int, row: tuple[Any, ...]) -> int:
    """As Catalens did before ``_add``."""
    return zlib.crc32(repr(row).encode(), total)
