"""A changed body of the log is named by ``verify``; a redacted one is told as such."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.core.sqlite import connect
from indexer.operations.erasure import erase
from indexer.operations.verification import verify_home
from indexer.reviews.redaction import redact_before
from indexer.reviews.store import days_ago, open_reviews
from tests.indexer.index_build.test_pipeline import add_photo, put


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two products, a review of the first with its decision, feedback on the second."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        pids = [put(catalog, f"p{number}", add_photo(home, number)) for number in range(2)]
        with open_reviews(home, catalog) as reviews:
            reviews.open_review({"title": "of Anna"}, [], name="r", pid=pids[0])
            reviews.decide("r", "reject", reason="call Anna")
            reviews.add_feedback([{"added": ["red"], "pid": pids[1]}])
    return home


def change(home: Home, entry: int) -> None:
    """As somebody would who has the file: the triggers out of the way, the row's checksum gone."""
    with connect(home.reviews_file) as sql:
        sql.execute("DROP TRIGGER log_keeps")
        sql.execute("UPDATE log SET body = replace(body, 'Anna', 'Bert') WHERE entry = ?", (entry,))
        sql.commit()


def test_a_flipped_word_is_named(home: Home) -> None:
    assert verify_home(home.path).intact
    change(home, 2)
    (damage,) = verify_home(home.path).damages
    assert (damage.where, damage.what) == (
        "reviews.sqlite3",
        "the body of entry 2 of the log was changed",
    )
    assert "catalens restore FROM" in damage.mend


def test_a_redacted_body_is_no_changed_one(home: Home) -> None:
    """It is counted as redacted. The salt goes with the text, so that none can be guessed; what is
    changed after it is found too."""
    with connect(home.reviews_file) as sql:
        before = sql.execute("SELECT entry, salt, hash FROM body_hashes ORDER BY entry").fetchall()
    with open_catalog(home) as catalog:
        catalog.delete("p0")
    erase(home)
    found = verify_home(home.path)
    assert (found.damages, found.checked["redacted entries of reviews"]) == ([], 2)
    held = b"".join(path.read_bytes() for path in home.path.glob("reviews.sqlite3*"))
    assert [(salt in held, known in held) for _, salt, known in before] == [
        (False, False), (False, False), (True, True),
    ]  # fmt: skip
    with connect(home.reviews_file) as sql:
        sql.execute("DROP TRIGGER log_keeps")
        sql.execute("UPDATE log SET body = '{}' WHERE entry = 1")
        sql.commit()
    (damage,) = verify_home(home.path).damages
    assert "entry 1 of the log was changed" in damage.what


def test_what_an_older_release_wrote_or_redacted_is_not_called_changed(home: Home) -> None:
    """It knows no hashes: its entries have none, and a redaction of its own is told by its time."""
    with open_reviews(home) as reviews:
        redact_before(reviews.database, days_ago(-1))
    with connect(home.reviews_file) as sql:
        sql.execute("INSERT INTO log (at, kind, body) VALUES ('2026', 'feedback', '{}')")
        sql.execute("INSERT OR REPLACE INTO redactions VALUES (3, '2026-01-01', 0)")
        sql.execute("""UPDATE log SET body = '{"added": [], "pid": 2}' WHERE entry = 3""")
        sql.commit()
    assert verify_home(home.path).damages == []
