"""The log of reviews keeps what was said, and no photo longer than a person may need it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.actor import acting
from indexer.core.errors import (
    AlreadyDecidedError,
    BusyError,
    MissingReviewsError,
    NewerFormatError,
    NotUndoableError,
    UnknownReviewError,
)
from indexer.core.home import Home
from indexer.core.home_clock import note_seen
from indexer.core.progress import no_progress
from indexer.core.sqlite import IntegrityError, connect
from indexer.feeds.importer import import_feed
from indexer.operations.garbage_collection import tidy
from indexer.operations.import_job import import_upload
from indexer.operations.retention import end_terms
from indexer.operations.retention_terms import RetentionTerms
from indexer.operations.verification import verify_home
from indexer.reviews import store
from indexer.reviews.erased_previews import clean
from indexer.reviews.redaction import redact_before
from indexer.reviews.schema import FORMAT
from indexer.reviews.store import Preview, Review, days_ago, forget_photos, open_reviews
from tests.indexer.feeds.test_importer import draw, feed
from tools import cli


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.create(tmp_path / "home")
    open_catalog(home).close()
    return home


def body(**more: Any) -> dict[str, Any]:
    return {"decision": "review", "prohibited": [], **more}


def test_a_review_is_decided_once(home: Home) -> None:
    """The body stays as it was opened, the decision stands beside it, a second one is refused."""
    with open_reviews(home) as reviews:
        name = reviews.open_review(body(title="杯"), [Preview("a" * 64, b"jpeg")], pid=7)
        assert (reviews.get(name).state, reviews.get(name).pid) == ("open", 7)
        done = reviews.decide(name, "approve", reason="fine", more={"by": "x"})
        assert (done.state, done.body) == ("approved", body(title="杯"))
        assert done.decided is not None
        assert (done.decided["decision"], done.decided["reason"]) == ("approve", "fine")
        assert done.decided["by"] == "x"
        with pytest.raises(AlreadyDecidedError, match="approved already"):
            reviews.decide(name, "reject", reason="")
        with pytest.raises(UnknownReviewError, match="no review 'nothing'"):
            reviews.decide("nothing", "reject", reason="")
        assert reviews.counts() == {"open": 0, "approved": 1, "rejected": 0}


def test_what_was_decided_is_answered(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read before anybody else can take it back, or decide anew."""
    with open_reviews(home) as reviews:
        name = reviews.open_review(body(), [])
        real, inside = reviews.get, list[bool]()

        def get(name: str) -> Review:
            inside.append(reviews.database.connection.in_transaction)
            return real(name)

        monkeypatch.setattr(reviews, "get", get)
        assert reviews.decide(name, "approve", reason="").state == "approved"
        assert reviews.reopen(name).state == "open"
        assert inside == [True, True]


def test_a_clock_that_is_behind_ends_no_review_early(home: Home) -> None:
    """Its photos are kept from the latest time that the home has seen."""
    seen = datetime.now(UTC).timestamp() + 40 * 86_400
    note_seen(home, seen)
    with open_reviews(home) as reviews:
        name = reviews.open_review(body(), [Preview("a" * 64, b"jpeg")])
        reviews.decide(name, "reject", reason="a fake")
        with reviews.database.read() as sql:
            rows = sql.execute("SELECT at FROM log UNION SELECT opened FROM reviews").fetchall()
    times = [datetime.fromisoformat(at).timestamp() for (at,) in rows]
    assert times == [pytest.approx(seen, abs=0.01)] * len(times)


def test_a_decision_is_taken_back_for_thirty_days(home: Home) -> None:
    """The review waits again with its photos, the log has both; decided anew it is as ever. An open
    one and an old decision are refused."""
    with open_reviews(home) as reviews:
        name = reviews.open_review(body(), [Preview("a" * 64, b"jpeg")])
        with pytest.raises(NotUndoableError, match="is open"):
            reviews.reopen(name)
        with acting("Anna"):
            reviews.decide(name, "reject", reason="a fake")
        with acting("Bo"):
            again = reviews.reopen(name)
        assert (again.state, again.decided, reviews.counts()["open"]) == ("open", None, 1)
        everything = {"decided_before": "9999", "opened_before": ""}
        assert not reviews.are_previews_due(**everything)
        assert reviews.tidy(**everything, living=lambda _: set()) == 0
        with acting("Bo"):
            done = reviews.decide(name, "approve", reason="")
        assert done.decided is not None
        assert (done.state, done.decided["by"]) == ("approved", "Bo")
        with reviews.database.read() as sql:
            rows = sql.execute("SELECT kind, json_extract(body, '$.by') FROM log ORDER BY entry")
            assert rows.fetchall() == [
                ("opened", None), ("decided", "Anna"), ("undone", "Bo"), ("decided", "Bo"),
            ]  # fmt: skip
        old = reviews.open_review(body(), [])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "latest_time_text", lambda _: "2020-01-01T00:00:00.000+00:00")
            reviews.decide(old, "approve", reason="")
        with pytest.raises(NotUndoableError, match="for 30 days"):
            reviews.reopen(old)


def test_the_queue_is_read_page_by_page_oldest_first(home: Home) -> None:
    with open_reviews(home) as reviews:
        names = [reviews.open_review(body(), [], name=f"r{number}") for number in range(5)]
        reviews.decide(names[2], "reject", reason="")
        first, total = reviews.waiting("open", limit=2)
        rest, again = reviews.waiting("open", limit=9, after=first[-1].name)
        assert [review.name for review in (*first, *rest)] == ["r0", "r1", "r3", "r4"]
        assert (total, again) == (4, 4)
        assert [review.name for review in reviews.waiting("rejected", limit=9)[0]] == ["r2"]


def test_feedback_is_kept_in_order_and_counted(home: Home) -> None:
    entries = [{"accepted": ["a", "b"], "rejected": ["c"]}, {"accepted": [], "rejected": []}]
    with open_reviews(home) as reviews:
        assert reviews.judged_tags() == (0, 0)
        assert reviews.add_feedback(entries) == 2
        assert [entry for _, entry in reviews.feedback()] == entries
        assert reviews.judged_tags() == (2, 1)


def test_decided_alarms_count_by_outcome_and_policy(home: Home) -> None:
    """A policy that allowed the listing raised no alarm; an open review is no verdict yet."""
    found = [{"policy": "weapons", "decision": "review"}, {"policy": "nudity", "decision": "allow"}]
    with open_reviews(home) as reviews:
        decided, _ = (reviews.open_review(body(prohibited=found), []) for _ in range(2))
        reviews.decide(decided, "reject", reason="a knife")
        assert reviews.decided_alarms() == [("rejected", "weapons", 1)]


@pytest.mark.parametrize("redacted", [False, True])
def test_the_log_is_append_only(home: Home, redacted: bool) -> None:
    """But for a recorded redaction, also after one."""
    with open_reviews(home) as reviews:
        reviews.open_review(body(title="of Anna"), [])
        reviews.add_feedback([{"accepted": ["x"], "rejected": []}])
        if redacted:
            assert redact_before(reviews.database, days_ago(-1)) == 1
    with connect(home.reviews_file) as raw:
        for statement in ("UPDATE log SET body = ''", "DELETE FROM log"):
            with pytest.raises(IntegrityError, match="append-only"):
                raw.execute(statement)


def test_forgotten_photos_are_in_no_preview_and_no_byte_of_the_file(home: Home) -> None:
    """Others keep their places; a home without reviews has nothing to forget, and makes no file."""
    assert forget_photos(home, ["a" * 64]) == 0
    assert not home.reviews_file.exists()
    previews = [Preview(letter * 64, letter.encode() * 40) for letter in "abc"]
    with open_reviews(home) as reviews:
        name = reviews.open_review(body(), previews)
    assert forget_photos(home, []) == 0
    assert forget_photos(home, ["b" * 64, "f" * 64]) == 1
    with open_reviews(home) as reviews:
        assert reviews.get(name).photos == {0: "a" * 64, 2: "c" * 64}
        with pytest.raises(UnknownReviewError, match="no photo 1"):
            reviews.preview(name, 1)
    with open_catalog(home) as catalog:
        clean(home, catalog)
    left = b"".join(path.read_bytes() for path in home.path.glob("reviews.sqlite3*"))
    assert b"b" * 40 not in left
    assert b"a" * 40 in left


@pytest.mark.parametrize("way", ["command", "job"])
def test_what_a_sync_deletes_is_in_no_preview(home: Home, tmp_path: Path, way: str) -> None:
    """An import that takes a product away takes its photo out of open reviews too."""
    for number in range(3):
        draw(tmp_path / f"data/i/{number}.png", number)
    rows = [f"p{number},i/{number}.png,T,A,x,1" for number in range(3)]
    import_feed(home, feed(tmp_path / "data", *rows))
    with open_catalog(home) as catalog:
        hashes = [
            catalog.photos_by_id(catalog.get(f"p{number}").photo_ids).popitem()[1].content_hash
            for number in range(3)
        ]
    with open_reviews(home) as reviews:
        name = reviews.open_review(body(), [Preview(found, b"jpeg") for found in hashes])
    data = feed(tmp_path / "data", *rows[:2])
    if way == "command":
        words = ["import", str(data), "--home", str(home.path), "--sync", "--allow-deletes", "1"]
        assert cli.run(words) == 0
    else:
        options = {"path": str(data), "root": str(data.parent), "sync": True, "allow_deletes": 1}
        done = import_upload(home, tmp_path, options, no_progress)
        assert done["deleted"] == 1
    with open_reviews(home) as reviews:
        assert reviews.get(name).photos == {0: hashes[0], 1: hashes[1]}


def test_the_end_of_previews_does_not_wait_for_a_deletion(home: Home) -> None:
    """Photos of a review decided long ago go with the next clean-up, and so do those of one that
    nobody ever decided; younger ones stay. Nothing was deleted."""
    with open_reviews(home) as reviews:
        names = [
            reviews.open_review(body(), [Preview(letter * 64, letter.encode() * 40)])
            for letter in "abcd"
        ]
        for name in names[:2]:
            reviews.decide(name, "approve", reason="")
        days = {names[0]: 31, names[1]: 29, names[2]: 181, names[3]: 179}
        with reviews.database.transaction() as sql:
            # As if that long ago: what no caller can do.
            sql.execute("DROP TRIGGER log_keeps")
            for name, age in days.items():
                query = "UPDATE reviews SET opened = ? WHERE name = ?"
                sql.execute(query, (days_ago(age), name))
                query = (
                    "UPDATE log SET at = ? WHERE kind = 'decided' AND review_id = "
                    "(SELECT review_id FROM reviews WHERE name = ?)"
                )
                sql.execute(query, (days_ago(age), name))
    tidy(home)
    with open_reviews(home) as reviews:
        assert [len(reviews.get(name).photos) for name in names] == [0, 1, 0, 1]
    held = home.reviews_file.read_bytes()
    assert [letter for letter in "abcd" if letter.encode() * 40 in held] == ["b", "d"]


def test_terms_of_zero_have_no_end(home: Home) -> None:
    with open_reviews(home) as reviews:
        name = reviews.open_review(body(), [Preview("a" * 64, b"jpeg")])
        reviews.decide(name, "approve", reason="said Anna")
    terms = RetentionTerms(review_photos=0, open_review_photos=0, review_texts=0)
    with open_catalog(home) as catalog:
        assert end_terms(home, catalog, terms).review_photos == 0
        assert end_terms(home, catalog, replace(terms, review_texts=1e-9)).review_texts == 2
        assert end_terms(home, catalog, replace(terms, review_texts=1e-9)).review_texts == 0
    with open_reviews(home) as reviews:
        found = reviews.get(name)
        assert found.decided is not None
        assert (found.decided["decision"], found.decided["reason"]) == ("approve", "")
        assert len(found.photos) == 1


def test_a_file_that_somebody_reads_says_that_it_must_be_written_anew(home: Home) -> None:
    """Deleted bytes are still in the log of the file: that is said, remembered, and done later."""
    with open_reviews(home) as reviews:
        name = reviews.open_review(body(), [Preview("a" * 64, b"p" * 40)])
        reviews.decide(name, "approve", reason="")
        assert not reviews.must_scrub()
        reader = connect(home.reviews_file)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM log").fetchone()
        assert reviews.forget(["a" * 64]) == 1
        reviews.database.connection.execute("PRAGMA busy_timeout = 1")
        with pytest.raises(BusyError, match=r"reviews\.sqlite3 is being read by another process"):
            reviews.scrub()
        assert reviews.must_scrub()
        reader.close()
    with open_catalog(home) as catalog:
        end_terms(home, catalog)
    held = b"".join(path.read_bytes() for path in home.path.glob("reviews.sqlite3*"))
    assert b"p" * 40 not in held
    with open_reviews(home) as reviews:
        assert not reviews.must_scrub()


def test_a_newer_file_is_refused(home: Home) -> None:
    open_reviews(home).close()
    with connect(home.reviews_file) as raw:
        raw.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(NewerFormatError, match=f"format {FORMAT + 1}"):
        open_reviews(home)


def test_a_file_that_was_being_made_is_made(home: Home) -> None:
    """A process that is killed, or has no room, while it makes the file leaves a page without
    tables: it holds no decision, is no damage, and hinders nobody."""
    home.reviews_file.touch()
    with connect(home.reviews_file) as raw:
        raw.execute("PRAGMA journal_mode = WAL")
    raw.close()
    assert 0 < home.reviews_file.stat().st_size <= 4096
    assert verify_home(home.path).intact
    assert forget_photos(home, ["0" * 64]) == 0
    with open_reviews(home) as reviews:
        assert reviews.waiting("open", limit=1)[1] == 0
    # What holds decisions is never taken for one of these.
    home.reviews_file.write_bytes(home.reviews_file.read_bytes()[:4096])
    with pytest.raises(MissingReviewsError, match="missing or empty"):
        open_reviews(home)
    assert [damage.where for damage in verify_home(home.path).damages] == ["reviews.sqlite3"]


def test_decisions_that_are_in_the_log_alone_are_read(home: Home) -> None:
    """As a killed process leaves them: the file is a page, all else is beside it."""
    held = store.Reviews(home.reviews_file)
    held.database.prepare()
    held.open_review({"title": "a"}, [], name="a")
    copy = Home.create(home.path.parent / "copy")
    for suffix in ("", "-wal"):
        file = home.reviews_file.with_name(home.reviews_file.name + suffix)
        (copy.path / file.name).write_bytes(file.read_bytes())
    held.close()
    copy.mark("reviews")
    assert (copy.path / "reviews.sqlite3-wal").stat().st_size
    with open_reviews(copy) as reviews:
        assert reviews.waiting("open", limit=1)[1] == 1


def test_a_body_is_stored_as_plain_json(home: Home) -> None:
    """Numbers that JSON does not know are refused before anything is written."""
    with open_reviews(home) as reviews:
        with pytest.raises(ValueError, match="JSON"):
            reviews.open_review(body(score=float("nan")), [])
        assert reviews.counts()["open"] == 0
        name = reviews.open_review(body(score=0.5), [])
        assert json.loads(json.dumps(reviews.get(name).body))["score"] == 0.5
