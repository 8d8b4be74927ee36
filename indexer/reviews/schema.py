"""Tables of the reviews: what was looked at, its photos, and the append-only log."""

from __future__ import annotations

from indexer.catalog.checksums import UNSEAL_TRIGGER, RowKinds
from indexer.core.sqlite import Schema
from indexer.core.sqlite_schema import exactly
from indexer.reviews.redaction import REDACTION_TABLES
from indexer.reviews.tallies import TALLY_TABLES

FORMAT = 1
# Products are named by pid and photos by rows of their own, so that the log need not change when a
# product is erased.
_TABLES = (
    """CREATE TABLE reviews (
        review_id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        opened TEXT NOT NULL,
        state TEXT NOT NULL,              -- open, approved, rejected
        pid INTEGER                       -- of the stored product that was looked at
    )""",
    "CREATE INDEX reviews_by_state ON reviews (state, review_id)",
    """CREATE TABLE previews (
        review_id INTEGER NOT NULL, position INTEGER NOT NULL, content_hash TEXT NOT NULL,
        jpeg BLOB NOT NULL,
        PRIMARY KEY (review_id, position)
    ) WITHOUT ROWID""",
    "CREATE INDEX previews_by_hash ON previews (content_hash)",
    """CREATE TABLE log (
        entry INTEGER PRIMARY KEY AUTOINCREMENT,
        at TEXT NOT NULL,
        kind TEXT NOT NULL,               -- opened, decided, undone, feedback
        review_id INTEGER,
        body TEXT NOT NULL
    )""",
    "CREATE INDEX log_by_review ON log (review_id)",
    "CREATE TRIGGER log_keeps BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log is "
    "append-only'); END",
    "CREATE TRIGGER log_stays BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log is "
    "append-only'); END",
)

SCHEMA = Schema(
    format=FORMAT,
    tables=_TABLES,
    # "CATV"
    application_id=0x43415456,
    noun="file of reviews",
    programs=(
        UNSEAL_TRIGGER,
        *(exactly(one) for one in (*_TABLES, *REDACTION_TABLES, *TALLY_TABLES) if "TRIGGER" in one),
    ),
)

# A review with its photos, an entry of the log: what has a checksum.
ROW_KINDS = RowKinds(
    parts={
        "reviews": ("review", "review_id"),
        "previews": ("review", "review_id"),
        "log": ("entry", "entry"),
    },
    reads={
        "review": (
            "SELECT review_id, 0, 0, name, opened, state, pid FROM reviews "
            "WHERE review_id IN ({0}) UNION ALL "
            "SELECT review_id, 1, position, content_hash, jpeg, NULL, NULL FROM previews "
            "WHERE review_id IN ({0}) ORDER BY 1, 2, 3"
        ),
        "entry": (
            "SELECT entry, 0, 0, at, kind, review_id, body FROM log WHERE entry IN ({0}) ORDER BY 1"
        ),
    },
    tables={"review": ("reviews", "review_id"), "entry": ("log", "entry")},
    summed=("meta", "alarms", "tallies", "redactions", "catalog_heads", "body_hashes"),
)
