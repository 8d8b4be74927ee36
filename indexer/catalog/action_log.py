"""Actions of a catalog: who changed what, and when."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from indexer.catalog.births import note_births
from indexer.core.actor import WriteAction, current_action, doing
from indexer.core.errors import UnknownActionError
from indexer.core.home_clock import latest_time_text
from indexer.core.sqlite import (
    META_TABLE,
    Connection,
    Database,
    chunks,
    folder_of,
    has_table,
    read_meta,
)

# Beside the catalog's first tables; a release that does not know them leaves them alone, and what
# it writes has no name.
_SCHEMA = (
    META_TABLE,
    "CREATE TABLE IF NOT EXISTS actions (action_no INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT "
    "NOT NULL UNIQUE, at TEXT NOT NULL, kind TEXT NOT NULL, actor TEXT NOT NULL, note TEXT NOT "
    "NULL, undoes TEXT, undone TEXT)",
    # The changes of one commit follow one another. New products have the numbers above first_pid.
    "CREATE TABLE IF NOT EXISTS action_changes (last INTEGER PRIMARY KEY, first INTEGER NOT NULL, "
    "first_pid INTEGER NOT NULL, last_pid INTEGER NOT NULL, action_no INTEGER NOT NULL)",
    "CREATE INDEX IF NOT EXISTS action_changes_by_action ON action_changes (action_no)",
    # What they replaced (``undo_journal``), by number of product: erasing one takes its values out.
    # Parts: JSON of {part: [before, digest of what came]}.
    "CREATE TABLE IF NOT EXISTS kept (action_no INTEGER NOT NULL, pid INTEGER NOT NULL, parts TEXT "
    "NOT NULL, PRIMARY KEY (action_no, pid)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS kept_by_pid ON kept (pid)",
    "CREATE TABLE IF NOT EXISTS kept_types (action_no INTEGER NOT NULL, name TEXT NOT NULL, "
    "before TEXT, mark INTEGER, after TEXT NOT NULL, PRIMARY KEY (action_no, name)) WITHOUT ROWID",
    # What an action replaced beside products: a model's categories.
    "CREATE TABLE IF NOT EXISTS kept_decisions (action_no INTEGER PRIMARY KEY, before TEXT NOT "
    "NULL, after TEXT NOT NULL)",
    # Plain, as older releases want it: what is looked for are the few that are no single writes.
    "CREATE INDEX IF NOT EXISTS actions_by_kind ON actions (kind)",
)
_LAST_TABLE = "kept_decisions"
_LAST_INDEX = "actions_by_kind"
# In ``meta``: what actions up to this number replaced is no longer kept.
EXPIRED = "undo_expired"
# The kind of single writes, of which there may be millions.
WRITE = "write"
_COLUMNS = "action_no, name, at, kind, actor, note, undoes, undone"


@dataclass(frozen=True)
class StoredAction:
    """An action that changed the catalog. ``undone``: the action that took it back; ``expired``:
    what it replaced is no longer kept."""

    number: int
    name: str
    # ISO 8601, UTC.
    at: str
    kind: str
    by: str
    note: str
    undoes: str | None
    undone: str | None
    expired: bool = False


@dataclass(frozen=True)
class ActionCounts:
    """Products that an action changed, added and erased; ``others``: what it replaced besides."""

    changed: int
    added: int
    erased: int
    others: int = 0

    @property
    def is_undoable(self) -> bool:
        """Whether there is something to bring back: an erased product never is."""
        return bool(self.changed or self.added or self.others)


@dataclass(frozen=True)
class KeptDecision:
    """How a model's categories were grouped before an action and after it."""

    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True)
class Marks:
    """How far numbers were given: of changes, and of products."""

    sequence: int
    pid: int

    @classmethod
    def read(cls, sql: Connection) -> Marks:
        """Inside a transaction."""
        given = dict(sql.execute("SELECT name, seq FROM sqlite_sequence"))
        return cls(int(given.get("changes", 0)), int(given.get("products", 0)))


def ensure_action_tables(sql: Connection) -> None:
    """Make the tables and indexes that are not there; inside a write transaction."""
    if not has_index(sql):
        for statement in _SCHEMA:
            sql.execute(statement)


def begin_action(sql: Connection, action: WriteAction) -> int:
    """The number of an action, which is stored if it is new; inside a write transaction."""
    ensure_action_tables(sql)
    row = sql.execute("SELECT action_no FROM actions WHERE name = ?", (action.name,)).fetchone()
    if row is not None:
        return int(row[0])
    query = "INSERT INTO actions (name, at, kind, actor, note, undoes) VALUES (?, ?, ?, ?, ?, ?)"
    # A clock that is behind would end what it replaced too early.
    at = latest_time_text(folder_of(sql))
    values = (action.name, at, action.kind, action.by, action.note, action.undoes)
    return int(sql.execute(query, values).lastrowid or 0)


def record_changes(sql: Connection, before: Marks, now: Marks, number: int) -> None:
    """Record that the changes since ``before`` are of the action ``number``; inside their
    transaction."""
    if now.pid > before.pid:
        note_births(sql, before.pid + 1, now.pid)
    sql.execute(
        "INSERT INTO action_changes (last, first, first_pid, last_pid, action_no) VALUES "
        "(?, ?, ?, ?, ?)",
        (now.sequence, before.sequence + 1, before.pid + 1, now.pid, number),
    )


class ActionLog:
    """Who did what to a catalog. Cheap to make."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def actions(self, *, limit: int = 100, writes: bool = True) -> list[StoredAction]:
        """The last ``limit`` actions, the newest first; ``writes``: single writes too."""
        with self._database.read() as sql:
            if not has_table(sql, "actions"):
                return []
            if writes:
                rows = _newest(sql, limit, "1")
            elif not has_index(sql):
                # Until somebody writes again, who makes it.
                rows = _newest(sql, limit, "kind <> ?", WRITE)
            else:
                # A log is nearly all single writes: the others are found without reading those.
                found = chain.from_iterable(
                    _newest(sql, limit, "kind = ?", kind) for kind in _kinds(sql) if kind != WRITE
                )
                rows = sorted(found, reverse=True)[:limit]
            last = _last_expired(sql)
            return [replace(StoredAction(*row), expired=row[0] <= last) for row in rows]

    def get(self, name: str) -> StoredAction:
        """The action of this name. Raises ``UnknownActionError``."""
        with self._database.read() as sql:
            return find_action(sql, name)

    def has_later(self, number: int, kinds: Sequence[str]) -> bool:
        """Whether an action of one of ``kinds`` came after this one."""
        query = (
            "SELECT 1 FROM actions WHERE action_no > ? AND kind IN "
            f"({', '.join('?' * len(kinds))}) LIMIT 1"
        )
        with self._database.read() as sql:
            return sql.execute(query, (number, *kinds)).fetchone() is not None

    def keep_decision(self, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
        """Keep how a model's categories were grouped before the current action changes that."""
        with self._database.transaction() as sql:
            number = begin_action(sql, current_action())
            query = (
                "INSERT INTO kept_decisions (action_no, before, after) VALUES (?, ?, ?) ON "
                "CONFLICT DO UPDATE SET after = excluded.after"
            )
            sql.execute(query, (number, json.dumps(before), json.dumps(after)))

    def kept_decision(self, number: int) -> KeptDecision | None:
        """What an action replaced of the model; None where it was nothing, or is kept no more."""
        with self._database.read() as sql:
            query = "SELECT before, after FROM kept_decisions WHERE action_no = ?"
            row = sql.execute(query, (number,)).fetchone()
            return None if row is None else KeptDecision(*map(json.loads, row))

    def counts(self, number: int) -> ActionCounts:
        """How many products an action changed, added and erased; what is no longer kept does not
        count."""
        with self._database.read() as sql:
            one = (number,)
            query = "SELECT count(*) FROM kept WHERE action_no = ?"
            (changed,) = sql.execute(query, one).fetchone()
            query = (
                "SELECT coalesce(sum(last_pid - first_pid + 1), 0) FROM action_changes WHERE "
                "action_no = ?"
            )
            (added,) = sql.execute(query, one).fetchone()
            query = (
                "SELECT count(*) FROM action_changes JOIN changes ON sequence BETWEEN first AND "
                "last WHERE action_no = ? AND kind = 'delete'"
            )
            (erased,) = sql.execute(query, one).fetchone()
            query = (
                "SELECT (SELECT count(*) FROM kept_types WHERE action_no = ?1) + "
                "(SELECT count(*) FROM kept_decisions WHERE action_no = ?1)"
            )
            (others,) = sql.execute(query, one).fetchone()
            return ActionCounts(int(changed), int(added), int(erased), int(others))

    def record(self, kind: str, note: str) -> None:
        """Record something that was done and changed no product, of whoever acts."""
        with self._database.transaction() as sql, doing(kind, note) as action:
            begin_action(sql, action)

    def actors(self, sequences: Iterable[int]) -> dict[int, str]:
        """Change -> who made it, of those of ``sequences`` that have a name."""
        found: dict[int, str] = {}
        with self._database.read() as sql:
            if not has_table(sql, "actions"):
                return found
            for part, marks in chunks(list(sequences)):
                query = (
                    "SELECT sequence, actor FROM changes JOIN action_changes ON last = (SELECT "
                    "min(last) FROM action_changes WHERE last >= sequence) AND first <= sequence "
                    f"JOIN actions USING (action_no) WHERE sequence IN ({marks}) AND actor <> ''"
                )
                found.update(sql.execute(query, part))
        return found


def _newest(sql: Connection, limit: int, where: str, *values: str) -> list[tuple[Any, ...]]:
    query = f"SELECT {_COLUMNS} FROM actions WHERE {where} ORDER BY action_no DESC LIMIT ?"
    return sql.execute(query, (*values, limit)).fetchall()


def _kinds(sql: Connection) -> list[str]:
    """The kinds of actions that there are, by one look into the index for each."""
    found: list[str] = []
    query = "SELECT min(kind) FROM actions WHERE kind > ?"
    while (kind := sql.execute(query, (found[-1] if found else "",)).fetchone()[0]) is not None:
        found.append(kind)
    return found


def has_index(sql: Connection) -> bool:
    """Whether actions are found by their kind; not before an older release's catalog is written."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?"
    return sql.execute(query, (_LAST_INDEX,)).fetchone() is not None


def find_action(sql: Connection, name: str) -> StoredAction:
    """The action of this name. Raises ``UnknownActionError``."""
    row = None
    if has_table(sql, _LAST_TABLE):
        query = f"SELECT {_COLUMNS} FROM actions WHERE name = ?"
        row = sql.execute(query, (name,)).fetchone()
    if row is None:
        raise UnknownActionError(f"there is no action {name[:64]!a} (see catalens undo list)")
    return replace(StoredAction(*row), expired=row[0] <= _last_expired(sql))


def _last_expired(sql: Connection) -> int:
    return int(read_meta(sql, EXPIRED) or 0)
