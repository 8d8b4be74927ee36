"""Tallies of reviews and feedback, kept in rows so that no figure is computed from the log."""

from __future__ import annotations

import json
from typing import Any

from indexer.core.sqlite import Connection, has_table

# Entries of the log that one step counts.
_PORTION = 200
_ADD = "ON CONFLICT (kind, name) DO UPDATE SET count = count + excluded.count"
# Triggers, so that a release from before, which knows nothing of tallies, keeps them too.
TALLY_TABLES = (
    # What asked for a person: one row for each policy of a review.
    "CREATE TABLE alarms (review_id INTEGER NOT NULL, policy TEXT NOT NULL, PRIMARY KEY "
    "(review_id, policy)) WITHOUT ROWID",
    # kind: a state of reviews; alarms of reviews in a state; judged tags; the log's last counted
    # entry.
    "CREATE TABLE tallies (kind TEXT NOT NULL, name TEXT NOT NULL, count INTEGER NOT NULL, "
    "PRIMARY KEY (kind, name)) WITHOUT ROWID",
    "INSERT INTO tallies SELECT 'state', state, count(*) FROM reviews GROUP BY state",
    "CREATE TRIGGER reviews_opened AFTER INSERT ON reviews BEGIN "
    f"INSERT INTO tallies VALUES ('state', NEW.state, 1) {_ADD}; END",
    "CREATE TRIGGER reviews_moved AFTER UPDATE OF state ON reviews WHEN OLD.state <> NEW.state "
    "BEGIN "
    f"INSERT INTO tallies VALUES ('state', OLD.state, -1), ('state', NEW.state, 1) {_ADD}; "
    "INSERT INTO tallies SELECT 'alarms ' || OLD.state, policy, -1 FROM alarms WHERE review_id = "
    f"NEW.review_id {_ADD}; "
    "INSERT INTO tallies SELECT 'alarms ' || NEW.state, policy, 1 FROM alarms WHERE review_id = "
    f"NEW.review_id {_ADD}; END",
    "CREATE TRIGGER alarms_raised AFTER INSERT ON alarms BEGIN "
    "INSERT INTO tallies SELECT 'alarms ' || state, NEW.policy, 1 FROM reviews WHERE review_id = "
    f"NEW.review_id {_ADD}; END",
)


def ensure_tallies(sql: Connection) -> None:
    """Make the tables where a file has none; inside a write transaction."""
    if not has_table(sql, "tallies"):
        for statement in TALLY_TABLES:
            sql.execute(statement)


def count_log(sql: Connection) -> bool:
    """Count the next entries of the log; inside a write transaction. Whether none are left."""
    ensure_tallies(sql)
    counted = _count(sql, "log", "counted")
    query = "SELECT entry, kind, review_id, body FROM log WHERE entry > ? ORDER BY entry LIMIT ?"
    rows = sql.execute(query, (counted, _PORTION)).fetchall()
    for _, kind, review_id, body in rows:
        if kind == "opened":
            alarms = [(review_id, policy) for policy in _alarms(json.loads(body))]
            sql.executemany("INSERT OR IGNORE INTO alarms VALUES (?, ?)", alarms)
        elif kind == "feedback":
            _count_feedback(sql, json.loads(body))
    if rows:
        sql.execute("INSERT OR REPLACE INTO tallies VALUES ('log', 'counted', ?)", (rows[-1][0],))
    return len(rows) < _PORTION


def is_counted(sql: Connection) -> bool:
    """Whether all entries of the log are counted."""
    (last,) = sql.execute("SELECT max(entry) FROM log").fetchone()
    return last is None or (has_table(sql, "tallies") and _count(sql, "log", "counted") >= last)


def tallied(sql: Connection, kind: str) -> dict[str, int]:
    """The counts of a kind by name."""
    if not has_table(sql, "tallies"):
        return {}
    return dict(sql.execute("SELECT name, count FROM tallies WHERE kind = ?", (kind,)))


def _count(sql: Connection, kind: str, name: str) -> int:
    query = "SELECT count FROM tallies WHERE kind = ? AND name = ?"
    row = sql.execute(query, (kind, name)).fetchone()
    return 0 if row is None else int(row[0])


def _alarms(body: dict[str, Any]) -> set[str]:
    """The policies that asked for a person."""
    found = body.get("prohibited") or ()
    return {one["policy"] for one in found if one.get("decision") != "allow" and "policy" in one}


def _count_feedback(sql: Connection, body: dict[str, Any]) -> None:
    counts = [("tags", name, len(body.get(name) or ())) for name in ("accepted", "rejected")]
    sql.executemany(f"INSERT INTO tallies VALUES (?, ?, ?) {_ADD}", counts)
