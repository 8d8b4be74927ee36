"""The review queue: its order, decisions made once, previews, erasure."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from indexer.core.errors import (
    AlreadyDecidedError,
    BusyError,
    UnknownReviewError,
)
from indexer.core.home import Home
from indexer.core.sqlite import IntegrityError, connect
from indexer.operations.erasure import erase
from indexer.operations.erasure_audit import find_traces
from indexer.reviews.store import Preview, open_reviews
from service.app import create_app
from service.engine import Engine
from service.products import writer
from service.review import review
from service.review.queue import ListingName, TagPrecision
from service.review.result import ReviewResult
from service.settings import Settings
from tests.service.api.routes.test_queries import assert_problem
from tests.service.conftest import photo

BODY = {
    "verdict": "review",
    "prohibited": [{"policy": "logos", "decision": "review", "score": 0.7, "evidence": []}],
    "duplicates": [{"product_id": "ring-blue", "title": "blue ring", "kind": "same_photo"}],
    "tags": [
        {
            "tag": "ring",
            "confidence": 0.9,
            "neighbours": [{"product_id": "a/similar", "score": 0.8}],
        }
    ],
}


def submit(engine: Engine, *, content_hash: str = "ab" * 32) -> str:
    return engine.reviews.submit(BODY, [Preview(content_hash, b"jpeg")], product_id=None)


def test_the_queue_gives_the_oldest_first_page_by_page(own: Engine) -> None:
    names = [submit(own) for _ in range(3)]
    first = own.reviews.list("open", limit=2, after=None)
    assert [entry.review_id for entry in first.content.reviews] == names[:2]
    assert (first.content.total, first.content.next_after) == (3, names[1])
    rest = own.reviews.list("open", limit=2, after=names[1])
    assert [entry.review_id for entry in rest.content.reviews] == names[2:]
    assert rest.content.next_after is None


def test_a_decision_is_made_once_and_keeps_its_reason_and_versions(own: Engine) -> None:
    name = submit(own)
    decided = own.reviews.decide(name, "reject", "a banned logo").content.decided
    assert (decided["decision"], decided["reason"]) == ("reject", "a banned logo")
    assert decided["index_version"] == "v000001"
    with pytest.raises(AlreadyDecidedError, match="rejected already"):
        own.reviews.decide(name, "approve", "")
    assert own.reviews.get(name).content.state == "rejected"
    with pytest.raises(UnknownReviewError, match="'nope'"):
        own.reviews.decide("nope", "reject", "")


def test_the_log_cannot_be_changed(own: Engine) -> None:
    submit(own)
    with connect(own.home.reviews_file) as direct:
        for change in ("UPDATE log SET body = '{}'", "DELETE FROM log"):
            with pytest.raises(IntegrityError, match="append-only"):
                direct.execute(change)


def test_an_erased_product_is_in_no_review(own_home: Path) -> None:
    """Its id is given as null, its photo's preview is gone, and no byte of either is left in the
    file."""
    with Engine(Settings(home=own_home), watch=False) as engine:
        content_hash = engine.products.get("ring-blue").content.images[0].hash
        # A real review: its duplicates name the product's photo by hash, in two places.
        found = engine.review([photo("ring", "blue")], queue=False)
        assert found.content.duplicates[0].photo == content_hash
        name = engine.reviews.submit(
            {**BODY, "duplicates": found.to_json()["duplicates"]},
            [Preview(content_hash, b"jpeg")],
            product_id=None,
        )
        shown = engine.reviews.get(name).content.review["duplicates"][0]
        assert (shown["product_id"], shown["photo"]) == ("ring-blue", content_hash)
        assert engine.reviews.get(name).content.review["duplicates"][0]["product_id"] == "ring-blue"
        engine.products.delete("ring-blue")
        found = engine.reviews.get(name)
        first = found.content.review["duplicates"][0]
        assert (first["product_id"], first["kind"], "photo" in first) == (None, "same_photo", False)
        assert found.content.review["tags"][0]["neighbours"][0]["product_id"] == "a/similar"
        with pytest.raises(UnknownReviewError, match="no photo 0"):
            engine.reviews.preview(name, 0)
    erase(Home(own_home))
    held = b"".join(path.read_bytes() for path in own_home.glob("reviews.sqlite3*"))
    assert b"ring-blue" not in held
    assert content_hash.encode() not in held


@pytest.mark.parametrize("way", ["one", "batch"])
def test_an_erasure_by_http_that_is_asked_for_again_ends_a_late_review(
    own: Engine, open_web: Callable[..., Any], way: str
) -> None:
    """What an older release queued after the first one; the product is unknown all the same."""
    pid = own.catalog.pid("ring-blue")
    own.products.delete("ring-blue")
    with open_reviews(own.home) as reviews:
        name = reviews.open_review(BODY, [Preview("ab" * 32, b"jpeg")], pid=pid)
    web = open_web()
    if way == "one":
        assert web.delete("/v1/products/never-there").status_code == 404
        assert own.reviews.preview(name, 0) == b"jpeg"
        assert web.delete("/v1/products/ring-blue").status_code == 404
    else:
        asked = {"items": [{"op": "delete", "product_id": "ring-blue"}]}
        (row,) = web.post("/v1/products:batch", json=asked).get_json()["results"]
        assert row["status"] == 404
    with pytest.raises(UnknownReviewError, match="no photo 0"):
        own.reviews.preview(name, 0)
    with open_reviews(own.home) as reviews:
        assert reviews.must_scrub()


def test_free_text_about_an_erased_product_goes(own_home: Path) -> None:
    """Reasons, added tags, texts read from photos: what was said of the product goes whole but for
    codes and counts; where others' entries name it only that is covered."""
    with Engine(Settings(home=own_home), watch=False) as engine:
        read = {"policy": "text", "decision": "review", "score": 0.5}
        about = {**BODY, "prohibited": [{**read, "evidence": [{"text": "call Anna"}]}]}
        own = engine.reviews.submit(about, [], product_id="ring-blue")
        other = engine.reviews.submit(BODY, [], product_id="cross-red")
        engine.reviews.decide(own, "reject", "Anna wrote")
        engine.reviews.decide(other, "approve", "not ring-blue, it is ring-blue-2")
        entry = {"accepted": ["rings"], "rejected": ["a", "b"], "added": ["of Anna"]}
        pid = engine.catalog.pid("ring-blue")
        with open_reviews(engine.home) as reviews:
            reviews.add_feedback([{**entry, "category": ["X"], "pid": pid}])
            reviews.add_feedback([{**entry, "added": ["like ring-blue"], "pid": pid + 1}])
        engine.products.delete("ring-blue")
    done = erase(Home(own_home))
    # Five of the reviews and feedback, and the note of the deletion, which names the product.
    assert done.texts == 6
    with Engine(Settings(home=own_home), watch=False) as engine:
        shown = engine.reviews.get(own).content
        assert shown.decided["reason"] == ""
        assert (shown.decided["decision"], shown.decided["index_version"]) == ("reject", "v000001")
        assert shown.review["prohibited"] == [{**read, "evidence": [{"text": ""}]}]
        assert engine.reviews.get(other).content.decided["reason"] == (
            "not [erased], it is [erased]-2"
        )
        assert engine.reviews.precision().tags == TagPrecision(2, 4, 2 / 6)
        with open_reviews(engine.home) as reviews:
            added = [entry["added"] for _, entry in reviews.feedback()]
        assert added == [[""], ["like [erased]"]]
        found = find_traces(engine.home, engine.catalog, "ring-blue")
    assert found.found == []
    held = b"".join(path.read_bytes() for path in own_home.glob("reviews.sqlite3*"))
    assert b"Anna" not in held


def test_what_an_erased_product_said_before_goes_from_others_reviews(own_home: Path) -> None:
    """Its earlier titles, tags and values as its last ones, as long as an undo keeps them; the
    ticket knows them, so the search finds what is left."""
    texts = ["Wjold lamp", "Wjoldtag", "Wjoldval", "Wjmid lamp", "Wjnew lamp", "Wjnewtag"]
    said = "it repeats " + ", ".join(texts)
    with Engine(Settings(home=own_home), watch=False) as engine:
        for given in (
            {"title": texts[0], "tags": [texts[1]], "attributes": {"note": texts[2]}},
            {"title": texts[3], "attributes": {"note": None}},
            {"title": texts[4], "tags": [texts[5]]},
        ):
            engine.catalog.patch("ring-blue", given)
        body = {**BODY, "title": f"a copy of {texts[0]}", "tags": [{"tag": texts[1]}]}
        other = engine.reviews.submit(body, [], product_id="cross-red")
        engine.reviews.decide(other, "approve", said)
        ticket = engine.products.delete("ring-blue", ticket=True).content.ticket
        assert ticket is not None
        assert set(texts) <= set(ticket["texts"])
        left = find_traces(engine.home, engine.catalog, "ring-blue", ticket=ticket)
        assert {"where": "reviews.sqlite3", "what": "its title, tags or values in 2 entries"} in (
            left.found
        )
    erase(Home(own_home))
    with Engine(Settings(home=own_home), watch=False) as engine:
        shown = engine.reviews.get(other).content
        assert shown.decided["reason"] == "it repeats " + ", ".join(6 * ["[erased]"])
        assert (shown.review["title"], shown.review["tags"]) == (
            "a copy of [erased]",
            [{"tag": ""}],
        )
        found = find_traces(engine.home, engine.catalog, "ring-blue", ticket=ticket)
        assert (found.found, "texts" in found.searched["for"]) == ([], True)
        del ticket["texts"]
        found = find_traces(engine.home, engine.catalog, "ring-blue", ticket=ticket)
        assert any("were not looked for" in note for note in found.notes)
    held = b"".join(path.read_bytes() for path in own_home.glob("*.sqlite3*"))
    assert [text for text in texts if text.encode() in held] == []


def test_a_preview_that_could_not_be_forgotten_goes_with_the_next_write(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delete is no less done where the reviews' file is busy, and its photo is not forgotten."""
    content_hash = own.products.get("ring-blue").content.images[0].hash
    name = own.reviews.submit(BODY, [Preview(content_hash, b"jpeg")], product_id=None)
    with monkeypatch.context() as patched:

        def busy(*given: Any) -> None:
            raise BusyError("the file is busy")

        patched.setattr(writer, "forget_photos", busy)
        own.products.delete("ring-blue")
    assert own.reviews.preview(name, 0) == b"jpeg"
    own.products.delete("cross-red")
    with pytest.raises(UnknownReviewError, match="no photo 0"):
        own.reviews.preview(name, 0)


def test_previews_of_decided_reviews_go_with_time(own: Engine) -> None:
    """Those of open reviews and of listed photos decided lately stay."""
    listed = own.products.get("ring-blue").content.images[0].hash
    waiting, kept, gone = submit(own), submit(own, content_hash=listed), submit(own)
    for name in (kept, gone):
        own.reviews.decide(name, "approve", "")
    with open_reviews(own.home) as reviews:
        assert (
            reviews.tidy(decided_before="2020-01-01", living=lambda hashes: hashes & {listed}) == 1
        )
        assert [len(reviews.get(name).photos) for name in (waiting, kept, gone)] == [1, 1, 0]
        assert reviews.tidy(decided_before="9999-01-01", living=lambda hashes: hashes) == 1
        assert [len(reviews.get(name).photos) for name in (waiting, kept)] == [1, 0]


def test_a_listing_is_named_in_the_queue(open_web: Callable[..., Any], own: Engine) -> None:
    """By what was sent with it, else by the stored product, which is no longer named once it is
    erased; over HTTP a decision is undone."""
    web = open_web()
    sent = own.reviews.submit(BODY, [], product_id=None, name=ListingName("s-1", "杯 <b>"))
    held = own.reviews.submit(BODY, [], product_id="ring-blue")
    shown = [
        (one["external_id"], one["title"], one["product_id"])
        for one in web.get("/v1/reviews").get_json()["reviews"]
    ]
    assert shown == [("s-1", "杯 <b>", None), ("ring-blue", "blue ring", "ring-blue")]
    assert "listing" not in own.reviews.get(sent).content.review
    own.products.delete("ring-blue")
    found = own.reviews.get(held).content
    assert (found.external_id, found.title, found.product_id) == (None, None, None)
    assert_problem(web.post(f"/v1/reviews/{sent}:undo"), 409, "not-undoable")
    web.post(f"/v1/reviews/{sent}:decide", json={"decision": "approve"})
    assert web.post(f"/v1/reviews/{sent}:undo").get_json()["state"] == "open"
    assert_problem(web.post("/v1/reviews/nope:undo"), 404, "unknown-review")


def test_an_undo_takes_back_the_decision_that_was_seen(
    open_web: Callable[..., Any], own: Engine
) -> None:
    """A decision that somebody else made since stays; without the entry the last one goes."""
    web = open_web()
    review = own.reviews.submit(BODY, [], product_id=None)
    path = f"/v1/reviews/{review}"
    seen = web.post(f"{path}:decide", json={"decision": "approve"}).get_json()["decided"]["entry"]
    assert web.post(f"{path}:undo?entry={seen}").get_json()["state"] == "open"
    assert_problem(web.post(f"{path}:undo?entry={seen}"), 409, "not-undoable")
    web.post(f"{path}:decide", json={"decision": "reject"})
    assert_problem(web.post(f"{path}:undo?entry={seen}"), 409, "not-undoable")
    last = web.get(path).get_json()
    assert last["state"] == "rejected"
    assert last["decided"]["entry"] > seen
    assert_problem(web.post(f"{path}:undo?entry=x"), 422, "invalid-request")
    assert web.post(f"{path}:undo").get_json()["state"] == "open"


def test_a_name_of_a_listing_comes_with_its_review(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a form's text too; it is no part of the answer."""
    named: list[ListingName] = []
    monkeypatch.setattr(
        own.reviews, "submit", lambda *_, name, **__: named.append(name) or "queued"
    )
    web = create_app(own, own.settings, check_answers=True).test_client()
    monkeypatch.setattr(review, "combine", asking(review.combine))
    sent = {"external_id": "17", "title": "Mug"}
    body = {"product_id": "ring-blue", **sent}
    assert web.post("/v1/review", json=body).get_json()["review_id"] == "queued"
    form = {"image": (io.BytesIO(photo("ring", "red")), "r.png"), **sent}
    assert web.post("/v1/review", data=form).get_json()["review_id"] == "queued"
    assert named == [ListingName("17", "Mug")] * 2


def asking(combine: Callable[..., ReviewResult]) -> Callable[..., ReviewResult]:
    """``combine`` whose result always asks for a person."""
    return lambda *given, **more: replace(combine(*given, **more), verdict="review")


def test_a_preview_keeps_its_photo_s_number(own: Engine) -> None:
    """Once one of a listing's photos was erased, the others are shown under the
    numbers they had."""
    previews = [Preview(letter * 64, letter.encode()) for letter in "abc"]
    name = own.reviews.submit(BODY, previews, product_id=None)
    with open_reviews(own.home) as reviews:
        assert reviews.forget(["b" * 64]) == 1
        assert reviews.get(name).photos == {0: "a" * 64, 2: "c" * 64}
    shown = own.reviews.get(name).content.previews
    assert shown == [f"/v1/reviews/{name}/photos/{place}" for place in (0, 2)]
    assert own.reviews.preview(name, 2) == b"c"


def test_feedback_and_decisions_over_http(open_web) -> None:  # type: ignore[no-untyped-def]
    """The whole way: tags, feedback by request id, the queue, a decision, a second one refused,
    numbers in /metrics."""
    web = open_web()
    answer = web.post(
        "/v1/tags", json={"product_id": "ring-blue"}, headers={"X-Request-Id": "ask-1"}
    ).get_json()
    tag = answer["tags"][0]["tag"]
    assert (
        web.post("/v1/feedback", json={"request_id": "ask-1", "accepted": [tag]}).get_json()[
            "stored"
        ]
        == 1
    )
    lost = web.post("/v1/feedback", json={"request_id": "other", "accepted": [tag]})
    assert (lost.status_code, lost.get_json()["code"]) == (404, "unknown-request")
    engine = web.application.extensions["catalens"]
    name = submit(engine)
    queue = web.get("/v1/reviews?state=open").get_json()
    assert [entry["review_id"] for entry in queue["reviews"]] == [name]
    assert web.get(queue["reviews"][0]["previews"][0]).data == b"jpeg"
    for place, status in (
        ("1", 404),
        (str(2**63), 422),
        ("9" * 5000, 422),
        ("-1", 422),
        ("x", 422),
    ):
        assert web.get(f"/v1/reviews/{name}/photos/{place}").status_code == status
    decided = web.post(f"/v1/reviews/{name}:decide", json={"decision": "reject", "reason": "logo"})
    assert decided.get_json()["state"] == "rejected"
    again = web.post(f"/v1/reviews/{name}:decide", json={"decision": "approve"})
    assert (again.status_code, again.get_json()["code"]) == (409, "already-decided")
    numbers = web.get("/metrics").get_data(as_text=True)
    assert 'catalens_reviews{state="rejected"} 1.0' in numbers
    assert 'catalens_alarm_precision{policy="logos"} 1.0' in numbers
    assert 'catalens_tags_judged_total{outcome="accepted"} 1.0' in numbers
