"""A file of reviews of the release before is read as it stands, and stays one that it can write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.errors import NewerFormatError
from indexer.core.home import Home
from indexer.core.sqlite import connect
from indexer.operations.verification import verify_home
from indexer.reviews.store import open_reviews

# As that release made it: frozen, not taken from the code.
BEFORE = """
CREATE TABLE reviews (review_id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
    opened TEXT NOT NULL, state TEXT NOT NULL, pid INTEGER);
CREATE INDEX reviews_by_state ON reviews (state, review_id);
CREATE TABLE previews (review_id INTEGER NOT NULL, position INTEGER NOT NULL, content_hash TEXT
    NOT NULL, jpeg BLOB NOT NULL, PRIMARY KEY (review_id, position)) WITHOUT ROWID;
CREATE INDEX previews_by_hash ON previews (content_hash);
CREATE TABLE log (entry INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, kind TEXT NOT NULL,
    review_id INTEGER, body TEXT NOT NULL);
CREATE INDEX log_by_review ON log (review_id);
CREATE TRIGGER log_keeps BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only');
    END;
CREATE TRIGGER log_stays BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only');
    END;
PRAGMA application_id = 0x43415456;
PRAGMA user_version = 1;
"""
WRITES = (
    "INSERT INTO reviews (name, opened, state, pid) VALUES (?, '2026-01-01', 'open', 7)",
    "INSERT INTO previews VALUES (last_insert_rowid(), 0, 'aa', x'ff')",
    "INSERT INTO log (at, kind, review_id, body) VALUES ('2026-01-01', 'opened', "
    "(SELECT max(review_id) FROM reviews), ?)",
    "INSERT INTO log (at, kind, body) VALUES ('2026-01-02', 'feedback', ?)",
)
BODY = json.dumps({"prohibited": [{"policy": "logos", "decision": "review"}]})
SAID = json.dumps({"accepted": ["a"], "rejected": [], "added": ["b"], "category": None, "pid": 7})


def write(home: Home, name: str) -> None:
    """What that release writes, by its own statements."""
    with connect(home.reviews_file) as sql:
        for statement, values in zip(WRITES, ((name,), (), (BODY,), (SAID,)), strict=True):
            sql.execute(statement, values)
        sql.execute("UPDATE reviews SET state = 'approved' WHERE name = ?", (name,))
        sql.commit()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.create(tmp_path / "home")
    open_catalog(home).close()
    home.reviews_file.touch()
    with connect(home.reviews_file) as sql:
        sql.executescript(BEFORE)
    write(home, "r1")
    return home


def test_every_field_is_read_after_the_upgrade_and_after_a_downgrade_between(home: Home) -> None:
    for names in (("r1",), ("r1", "r2")):
        with open_catalog(home) as catalog, open_reviews(home, catalog) as reviews:
            found, total = reviews.waiting("approved", limit=9)
            assert tuple(review.name for review in found) == names
            assert total == len(names)
            for review in found:
                assert (review.opened, review.pid, review.body, review.photos) == (
                    "2026-01-01", 7, json.loads(BODY), {0: "aa"},
                )  # fmt: skip
                assert reviews.preview(review.name, 0) == b"\xff"
            assert [body for _, body in reviews.feedback()] == [json.loads(SAID)] * len(names)
            assert reviews.count_some()
            assert reviews.judged_tags() == (len(names), 0)
            assert reviews.decided_alarms() == [("approved", "logos", len(names))]
        assert verify_home(home.path).damages == []
        if names == ("r1",):
            write(home, "r2")


def test_a_newer_file_is_refused_with_both_formats(home: Home) -> None:
    with connect(home.reviews_file) as sql:
        sql.execute("PRAGMA user_version = 2")
    with pytest.raises(NewerFormatError, match=r"format 2, this Catalens knows up to 1"):
        open_reviews(home)
