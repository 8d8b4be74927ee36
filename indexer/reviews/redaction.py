"""Redaction of the review log: free text that names erased products, or came to its end."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from indexer.catalog.erased_texts import ErasedTexts
from indexer.core.sqlite import META_TABLE, Connection, Database, chunks, has_table, write_meta
from indexer.reviews.body_hashes import hash_bodies
from indexer.reviews.catalog_lineage import KnownNumbers

MUST_SCRUB = "must_scrub"
# Of an entry of the log with its review: the entry that opened it, or itself.
OPENED = (
    "coalesce((SELECT min(entry) FROM log AS first WHERE first.review_id = log.review_id), entry)"
)
_PORTION = 200
# Values that name no product and no person: codes, versions, what was decided and by whom.
_CODES = frozenset(
    {
        *("verdict", "decision", "policy", "code", "level", "kind", "reasons", "by"),
        *("model_version", "index_version", "request_id"),
    }
)
# Columns of reviews that are no free text.
_FIXED = frozenset({"review_id", "name", "opened", "state", "pid"})
# Entries are never removed and never change but for this: a body whose redaction is recorded.
# A release from before ignores the table and reads the log as ever.
REDACTION_TABLES = (
    "CREATE TABLE redactions (entry INTEGER PRIMARY KEY, at TEXT NOT NULL, done INTEGER NOT NULL)",
    "DROP TRIGGER IF EXISTS log_keeps",
    "CREATE TRIGGER log_keeps BEFORE UPDATE ON log WHEN NOT (NEW.entry = OLD.entry AND "
    "NEW.at = OLD.at AND NEW.kind = OLD.kind AND NEW.review_id IS OLD.review_id AND EXISTS "
    "(SELECT 1 FROM redactions WHERE entry = OLD.entry AND NOT done)) "
    "BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END",
)


class _LogEntry(NamedTuple):
    """One entry of the log; ``pid``: of the stored product that its review looked at, which the
    entry ``opened`` began."""

    entry: int
    review_id: int | None
    body: dict[str, Any]
    pid: int | None
    opened: int


def redact_erased(database: Database, erased: ErasedTexts, known: KnownNumbers) -> int:
    """Take what names erased products out of all entries; how many changed.

    What people and checks said of such a product goes whole, but for codes and counts; of other
    reviews and feedback only the parts that name it. ``known``: which numbers in it are the
    catalog's.
    """
    reviews, count = _redact_rows(database, erased, known)
    for entries in _portions(database):
        changed = {}
        for entry in entries:
            named = {
                known.own_pid(entry.opened, entry.pid),
                known.own_pid(entry.entry, entry.body.get("pid")),
            }
            own = entry.review_id in reviews or bool(named & erased.pids)
            body = _without_texts(entry.body) if own else erased.cover_all(entry.body)
            if body != entry.body:
                changed[entry.entry] = body
        count += _replace(database, changed)
    return count


def count_named(database: Database, erased: ErasedTexts) -> int:
    """How many entries and rows beside them name an erased product; nothing is changed."""
    count = 0
    with database.read() as sql:
        columns = [row[1] for row in sql.execute("PRAGMA table_info(reviews)")]
        texts = [column for column in columns if column not in _FIXED]
        rows = sql.execute(f"SELECT {', '.join(texts)} FROM reviews") if texts else ()
        count += sum(erased.cover_all(list(row)) != list(row) for row in rows)
    for entries in _portions(database):
        for entry in entries:
            said = _without_codes(entry.body)
            count += erased.cover_all(said) != said
    return count


def redact_reviews(database: Database, review_ids: Sequence[int]) -> int:
    """Take the free text out of all that was said in these reviews; how many entries changed."""
    count = 0
    for part, marks in chunks(review_ids):
        for entries in _portions(database, f"review_id IN ({marks})", tuple(part)):
            bodies = {entry.entry: _without_texts(entry.body) for entry in entries}
            changed = {row.entry for row in entries if bodies[row.entry] != row.body}
            count += _replace(database, {entry: bodies[entry] for entry in changed})
    return count


def redact_before(database: Database, time: str) -> int:
    """Take the free text out of decided reviews and of feedback from before ``time`` (ISO 8601);
    how many entries changed."""
    count = 0
    query = (
        "(kind = 'feedback' OR review_id IN (SELECT review_id FROM log WHERE kind = 'decided' AND "
        "at < ?1)) AND at < ?1 AND entry NOT IN (SELECT entry FROM redactions WHERE done = 2)"
    )
    with database.transaction() as sql:
        _ensure(sql)
    for entries in _portions(database, query, (time,)):
        bodies = {entry.entry: _without_texts(entry.body) for entry in entries}
        count += _replace(database, bodies, done=2)
    return count


def note_removal(sql: Connection) -> None:
    """Remember that deleted bytes may still be in the file; inside a write transaction."""
    sql.execute(META_TABLE)
    write_meta(sql, MUST_SCRUB, uuid.uuid4().hex)


def _redact_rows(
    database: Database, erased: ErasedTexts, known: KnownNumbers
) -> tuple[set[int], int]:
    """Cover texts beside the reviews' bodies; those that were of an erased product, and how many
    rows changed."""
    own: set[int] = set()
    changed = []
    with database.transaction() as sql:
        columns = [row[1] for row in sql.execute("PRAGMA table_info(reviews)")]
        texts = [column for column in columns if column not in _FIXED]
        if not texts:
            return own, 0
        query = (
            f"SELECT review_id, pid, (SELECT min(entry) FROM log WHERE log.review_id = "
            f"reviews.review_id), {', '.join(texts)} FROM reviews"
        )
        for review_id, pid, opened, *values in sql.execute(query).fetchall():
            given = [value for value in values if isinstance(value, str)]
            if known.own_pid(opened, pid) in erased.pids or any(
                erased.holds_id(value) for value in given
            ):
                own.add(review_id)
                covered = ["" if isinstance(value, str) else value for value in values]
            else:
                covered = [erased.cover_all(value) for value in values]
            if covered != values:
                changed.append((*covered, review_id))
        if changed:
            note_removal(sql)
            sets = ", ".join(f"{column} = ?" for column in texts)
            sql.executemany(f"UPDATE reviews SET {sets} WHERE review_id = ?", changed)
    return own, len(changed)


def _portions(
    database: Database, where: str = "1", values: tuple[str | int, ...] = ()
) -> Iterator[list[_LogEntry]]:
    """The entries of the log in order, read a portion at a time, so that writers wait for none."""
    after = 0
    query = (
        f"SELECT entry, review_id, body, pid, {OPENED} FROM log LEFT JOIN reviews USING "
        f"(review_id) WHERE entry > {{}} AND {where} ORDER BY entry LIMIT {_PORTION}"
    )
    while True:
        with database.read() as sql:
            rows = sql.execute(query.format(after), values).fetchall()
        if not rows:
            return
        yield [
            _LogEntry(entry, review_id, json.loads(body), pid, opened)
            for entry, review_id, body, pid, opened in rows
        ]
        after = rows[-1][0]


def _replace(database: Database, bodies: dict[int, dict[str, Any]], *, done: int = 1) -> int:
    if not bodies:
        return 0
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    with database.transaction() as sql:
        _ensure(sql)
        sql.executemany(
            "INSERT OR REPLACE INTO redactions VALUES (?, ?, 0)", [(entry, at) for entry in bodies]
        )
        texts = [(entry, dump_body(body)) for entry, body in bodies.items()]
        rows = [(text, entry) for entry, text in texts]
        sql.executemany("UPDATE log SET body = ? WHERE entry = ?", rows)
        hash_bodies(sql, texts, redacted=at)
        for part, marks in chunks(list(bodies)):
            query = f"UPDATE redactions SET done = {done} WHERE entry IN ({marks})"
            sql.execute(query, part)
        note_removal(sql)
    return len(bodies)


def dump_body(body: dict[str, Any]) -> str:
    """A body as it stands in the log."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _ensure(sql: Connection) -> None:
    if not has_table(sql, "redactions"):
        for statement in REDACTION_TABLES:
            sql.execute(statement)


def _without_codes(value: Any) -> Any:
    """A JSON value without what ``_without_texts`` keeps of its texts."""
    if isinstance(value, dict):
        return {n: _without_codes(entry) for n, entry in value.items() if n not in _CODES}
    return [_without_codes(entry) for entry in value] if isinstance(value, list) else value


def _without_texts(value: Any, *, code: bool = False) -> Any:
    """A JSON value whose texts are empty but for codes; its shape and numbers stay."""
    if isinstance(value, dict):
        return {name: _without_texts(entry, code=name in _CODES) for name, entry in value.items()}
    if isinstance(value, list):
        return [_without_texts(entry, code=code) for entry in value]
    return "" if isinstance(value, str) and not code else value
