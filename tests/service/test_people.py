"""Promises about people in the loop: the queue, decisions made once, feedback, precision, erasure."""

from __future__ import annotations

import csv
import sqlite3
from pathlib import Path

import pytest

from indexer.erasure import erase
from indexer.errors import AlreadyDecided, BadData, BadRequest, UnknownProduct, UnknownRequest, UnknownReview
from indexer.feedback import export_feedback
from indexer.home import Home
from indexer.reviews import Preview, open_reviews
from service.engine import Engine, Source
from service.people import Said
from service.settings import Settings
from tests.service.conftest import photo, product_id

BODY = {
    "verdict": "review",
    "prohibited": [{"policy": "logos", "decision": "review", "score": 0.7, "evidence": []}],
    "duplicates": [{"product_id": "ring-blue", "title": "blue ring", "kind": "same_photo"}],
    "tags": [{"tag": "ring", "confidence": 0.9, "neighbours": [{"product_id": "a/similar", "score": 0.8}]}],
}


def submit(engine: Engine, *, content_hash: str = "ab" * 32) -> str:
    return engine.people.submit(BODY, [Preview(content_hash, b"jpeg")], product_id=None)


def tags_of(engine: Engine, request_id: str = "r1") -> list[str]:
    found = engine.tags(Source(image=photo("ring", "red", turn=30)))
    engine.people.remember(request_id, found)
    return [entry["tag"] for entry in found["tags"]]


def test_the_queue_gives_the_oldest_first_page_by_page(own: Engine) -> None:
    names = [submit(own) for _ in range(3)]
    first = own.people.queue("open", limit=2, after=None)
    assert [entry["review_id"] for entry in first["reviews"]] == names[:2]
    assert (first["total"], first["next_after"]) == (3, names[1])
    rest = own.people.queue("open", limit=2, after=names[1])
    assert [entry["review_id"] for entry in rest["reviews"]] == names[2:]
    assert rest["next_after"] is None


def test_a_decision_is_made_once_and_keeps_its_reason_and_versions(own: Engine) -> None:
    name = submit(own)
    decided = own.people.decide(name, "reject", "a banned logo")["decided"]
    assert (decided["decision"], decided["reason"]) == ("reject", "a banned logo")
    assert decided["index_version"] == "v000001"
    with pytest.raises(AlreadyDecided, match="rejected already"):
        own.people.decide(name, "approve", "")
    assert own.people.review(name)["state"] == "rejected"
    with pytest.raises(UnknownReview, match="'nope'"):
        own.people.decide("nope", "reject", "")


def test_a_category_can_be_put_right_after_classify(own: Engine) -> None:
    """An answer with categories alone can be named too; tags of a stored product are no suggestions."""
    own.people.remember("c1", own.classify(Source(image=photo("ring", "red", turn=30))))
    assert own.people.feedback(Said("c1", category=("Shapes", "cross")))["stored"] == 1
    own.people.remember("p1", own.product("ring-blue"))
    with pytest.raises(BadRequest, match="'ring' was not in answer p1"):
        own.people.feedback(Said("p1", accepted=["ring"]))


def test_the_log_cannot_be_changed(own: Engine) -> None:
    submit(own)
    with sqlite3.connect(own.home.reviews_file) as direct:
        for change in ("UPDATE log SET body = '{}'", "DELETE FROM log"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                direct.execute(change)


def test_precision_counts_what_people_confirmed(own: Engine) -> None:
    """Two of three alarms of a policy confirmed, one of two tags accepted."""
    for decision in ("reject", "reject", "approve"):
        own.people.decide(submit(own), decision, "")
    accepted, rejected, *_ = tags_of(own)
    own.people.feedback(Said("r1", accepted=[accepted], rejected=[rejected]))
    found = own.people.precision()
    assert found["policies"]["logos"] == {"rejected": 2, "approved": 1, "precision": 2 / 3}
    assert found["tags"] == {"accepted": 1, "rejected": 1, "precision": 0.5}


def test_feedback_must_be_about_what_was_answered(own: Engine) -> None:
    tags = tags_of(own)
    with pytest.raises(UnknownRequest, match="'never'"):
        own.people.feedback(Said("never", accepted=tags))
    with pytest.raises(BadRequest, match="accepted: 'velvet' was not in answer r1"):
        own.people.feedback(Said("r1", accepted=["velvet"]))
    with pytest.raises(BadRequest, match="clicked: 'ring-blue' was not in answer"):
        own.people.feedback(Said("r1", clicked=["ring-blue"]))
    with pytest.raises(BadRequest, match="accepted and rejected at once"):
        own.people.feedback(Said("r1", accepted=tags[:1], rejected=tags[:1]))
    with pytest.raises(BadRequest, match="nothing said"):
        own.people.feedback(Said("r1"))
    with pytest.raises(UnknownProduct, match="'gone'"):
        own.people.feedback(Said("r1", accepted=tags[:1], product_id="gone"))
    assert own.people.precision()["tags"]["precision"] is None, "nothing refused was stored"


def test_an_export_is_a_manifest_with_the_tags_people_left(own: Engine, tmp_path: Path) -> None:
    wanted = product_id("stripes", "red")
    accepted = tags_of(own)[0]
    own.people.feedback(Said("r1", accepted=[accepted], added=["new"], category=("Shapes", "bars"), product_id=wanted))
    own.people.feedback(Said("r1", rejected=[tag for tag in tags_of(own) if tag == "red"], added=["x"]))
    report = export_feedback(own.home, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert (report.products, report.rows, report.feedback) == (1, 2, 2)
    assert report.skipped == {"no product_id was given with it": 1}
    assert {row["product_id"] for row in rows} == {wanted}
    assert rows[0]["category"] == "Shapes > bars"
    assert rows[0]["tags"].split("|") == list(dict.fromkeys(["stripes", "red", accepted, "new"]))
    assert Path(rows[0]["image"]).read_bytes() == photo("stripes", "red")


def test_an_export_of_nothing_says_so(own: Engine, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no feedback to train from"):
        export_feedback(own.home, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_an_erased_product_is_in_no_review(own_home: Path) -> None:
    """Its id is given as null, its photo's preview is gone, and no byte of either is left in the file."""
    with Engine(Settings(home=own_home), watch=False) as engine:
        content_hash = engine.product("ring-blue")["images"][0]["hash"]
        # A real review: its duplicates name the product's photo by hash, in two places.
        found = engine.review([photo("ring", "blue")], queue=False)
        assert found["duplicates"][0]["photo"] == content_hash
        name = engine.people.submit(
            {**BODY, "duplicates": found["duplicates"]}, [Preview(content_hash, b"jpeg")], product_id=None
        )
        shown = engine.people.review(name)["review"]["duplicates"][0]
        assert (shown["product_id"], shown["photo"]) == ("ring-blue", content_hash)
        assert engine.people.review(name)["review"]["duplicates"][0]["product_id"] == "ring-blue"
        engine.delete("ring-blue")
        found = engine.people.review(name)
        first = found["review"]["duplicates"][0]
        assert (first["product_id"], first["kind"], "photo" in first) == (None, "same_photo", False)
        assert found["review"]["tags"][0]["neighbours"][0]["product_id"] == "a/similar"
        with pytest.raises(UnknownReview, match="no photo 0"):
            engine.people.preview(name, 0)
    erase(Home(own_home))
    held = b"".join(path.read_bytes() for path in own_home.glob("reviews.sqlite3*"))
    assert b"ring-blue" not in held
    assert content_hash.encode() not in held


def test_previews_of_decided_reviews_go_with_time(own: Engine) -> None:
    """Those of open reviews and of listed photos decided lately stay."""
    listed = own.product("ring-blue")["images"][0]["hash"]
    waiting, kept, gone = submit(own), submit(own, content_hash=listed), submit(own)
    for name in (kept, gone):
        own.people.decide(name, "approve", "")
    with open_reviews(own.home) as reviews:
        assert reviews.tidy(decided_before="2020-01-01", living=lambda hashes: hashes & {listed}) == 1
        assert [len(reviews.get(name).photos) for name in (waiting, kept, gone)] == [1, 1, 0]
        assert reviews.tidy(decided_before="9999-01-01", living=lambda hashes: hashes) == 1
        assert [len(reviews.get(name).photos) for name in (waiting, kept)] == [1, 0]


def test_feedback_and_decisions_over_http(open_web) -> None:  # type: ignore[no-untyped-def]
    """The whole way: tags, feedback by request id, the queue, a decision, a second one refused, numbers in /metrics."""
    web = open_web()
    answer = web.post("/v1/tags", json={"product_id": "ring-blue"}, headers={"X-Request-Id": "ask-1"}).get_json()
    tag = answer["tags"][0]["tag"]
    assert web.post("/v1/feedback", json={"request_id": "ask-1", "accepted": [tag]}).get_json()["stored"] == 1
    lost = web.post("/v1/feedback", json={"request_id": "other", "accepted": [tag]})
    assert (lost.status_code, lost.get_json()["code"]) == (404, "unknown-request")
    engine = web.application.extensions["catalens"]
    name = submit(engine)
    queue = web.get("/v1/reviews?state=open").get_json()
    assert [entry["review_id"] for entry in queue["reviews"]] == [name]
    assert web.get(queue["reviews"][0]["previews"][0]).data == b"jpeg"
    decided = web.post(f"/v1/reviews/{name}:decide", json={"decision": "reject", "reason": "logo"})
    assert decided.get_json()["state"] == "rejected"
    again = web.post(f"/v1/reviews/{name}:decide", json={"decision": "approve"})
    assert (again.status_code, again.get_json()["code"]) == (409, "already-decided")
    numbers = web.get("/metrics").get_data(as_text=True)
    assert 'catalens_reviews{state="rejected"} 1.0' in numbers
    assert 'catalens_alarm_precision{policy="logos"} 1.0' in numbers
    assert 'catalens_tags_judged_total{outcome="accepted"} 1.0' in numbers
