"""Feedback on answers: what may be judged, precision, the export."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from indexer.core.errors import (
    BadDataError,
    BadRequestError,
    UnknownProductError,
    UnknownRequestError,
)
from indexer.feeds.dataset import read_dataset
from indexer.reviews.feedback_export import export_feedback
from indexer.reviews.store import open_reviews
from service.access.keys import KeyFile
from service.access.refusal import RequestRefusedError
from service.engine import Engine, Query
from service.review import feedback
from service.review.feedback import Feedback, FeedbackLog
from service.review.queue import AlarmPrecision, TagPrecision
from tests.service.conftest import photo, product_id
from tests.service.review.test_queue import submit


def tags_of(engine: Engine, request_id: str = "r1") -> list[str]:
    found = engine.tags(Query(image=photo("ring", "red", turn=30)))
    engine.feedback.remember(request_id, found)
    return [entry.tag for entry in found.content.tags]


def test_a_category_can_be_put_right_after_classify(own: Engine) -> None:
    """An answer with categories alone can be named too."""
    own.feedback.remember("c1", own.classify(Query(image=photo("ring", "red", turn=30))))
    assert own.feedback.add(Feedback("c1", category=("Shapes", "cross"))).content.stored == 1


def test_what_suggests_nothing_is_not_remembered(own: Engine, open_web) -> None:  # type: ignore[no-untyped-def]
    """Stored products, writes and empty searches take no place of an answer that
    people may judge."""
    own.feedback = FeedbackLog(own.catalog, own.snapshots, own.review_database, max_answers=1)
    web = open_web()
    web.post("/v1/search", json={"product_id": "ring-blue", "k": 1}, headers={"X-Request-Id": "s1"})
    web.get("/v1/products/ring-blue", headers={"X-Request-Id": "p1"})
    web.get("/v1/products", headers={"X-Request-Id": "p2"})
    items = [
        {"op": "patch", "product_id": "ring-blue", "title": "x"},
        {"op": "delete", "product_id": "nobody"},
    ]
    web.post("/v1/products:batch", json={"items": items}, headers={"X-Request-Id": "p3"})
    web.post(
        "/v1/search",
        json={"product_id": "ring-blue", "min_score": 1},
        headers={"X-Request-Id": "p4"},
    )
    assert own.feedback.request_ids == ["s1"]
    with pytest.raises(UnknownRequestError, match="'p1'"):
        own.feedback.add(Feedback("p1", accepted=["ring"]))
    tags_of(own, "t1")
    assert own.feedback.request_ids == ["t1"]


def test_answers_about_many_things_can_be_judged(own: Engine, open_web) -> None:  # type: ignore[no-untyped-def]
    """Products of an object, and tags, categories and products of a batch, by the request's id;
    nothing else of it."""
    web = open_web()

    def say(request_id: str, status: int = 200, **said: object) -> None:
        response = web.post("/v1/feedback", json={"request_id": request_id, **said})
        assert response.status_code == status, response.get_data(as_text=True)

    def ask(path: str, request_id: str, **fields: object) -> dict[str, Any]:
        response = web.post(f"/v1/{path}", data=fields, headers={"X-Request-Id": request_id})
        assert response.status_code == 200, response.get_data(as_text=True)
        return response.get_json()  # type: ignore[no-any-return]

    shots = [photo("ring", "red", turn=30), photo("dots", "red", turn=30)]
    objects = ask("objects", "o1", image=(io.BytesIO(shots[0]), "a.png"), k="3")["objects"]
    say(
        "o1",
        clicked=[objects[0]["results"][2]["product_id"]],
        category=objects[0]["category"]["path"],
    )
    say("o1", 422, clicked=["nobody"])
    for path in ("search", "tags", "classify"):
        files = [(io.BytesIO(data), "a.png") for data in (shots[0], b"no photo", shots[1])]
        found = ask(f"{path}:batch", path, images=files)["results"]
        assert [row["status"] for row in found] == [200, 422, 200]
        if path == "search":
            say(
                path,
                clicked=[
                    found[0]["results"][0]["product_id"],
                    found[2]["results"][3]["product_id"],
                ],
            )
        elif path == "tags":
            say(path, accepted=[found[0]["tags"][0]["tag"]], rejected=[found[2]["tags"][0]["tag"]])
        else:
            say(path, category=found[2]["categories"][0]["path"])
    assert own.reviews.precision().tags.accepted == 1


def test_remembered_names_are_bounded(own: Engine) -> None:
    """The oldest answers go where the tags and products of all are too many."""
    log = FeedbackLog(own.catalog, own.snapshots, own.review_database, max_names=25)
    answer = own.search(Query(product_id="ring-blue"), k=10)
    for request_id in ("a", "b", "c"):
        assert log.remember(request_id, answer) == request_id
    assert log.request_ids == ["b", "c"]


def test_no_client_answers_for_another(own: Engine, open_web) -> None:  # type: ignore[no-untyped-def]
    """An answer stays under its id whoever sends that id again; the second has one of its own."""
    web = open_web()
    sent = {"X-Request-Id": "shop-1"}
    mine = web.post("/v1/search", json={"product_id": "ring-blue", "k": 3}, headers=sent)
    theirs = web.post("/v1/search", json={"product_id": "dots-red", "k": 3}, headers=sent)
    named = [answer.get_json()["request_id"] for answer in (mine, theirs)]
    assert named[0] == "shop-1"
    assert named[1] == theirs.headers["X-Request-Id"] not in ("", "shop-1")
    for answer, request_id in zip((mine, theirs), named, strict=True):
        clicked = [row["product_id"] for row in answer.get_json()["results"]]
        said = web.post("/v1/feedback", json={"request_id": request_id, "clicked": clicked})
        assert said.status_code == 200


def test_precision_counts_what_people_confirmed(own: Engine) -> None:
    """Two of three alarms of a policy confirmed, one of two tags accepted."""
    for decision in ("reject", "reject", "approve"):
        own.reviews.decide(submit(own), decision, "")
    accepted, rejected, *_ = tags_of(own)
    own.feedback.add(Feedback("r1", accepted=[accepted], rejected=[rejected]))
    found = own.reviews.precision()
    assert found.policies["logos"] == AlarmPrecision(rejected=2, approved=1, precision=2 / 3)
    assert found.tags == TagPrecision(accepted=1, rejected=1, precision=0.5)


def test_feedback_must_be_about_what_was_answered(own: Engine) -> None:
    tags = tags_of(own)
    with pytest.raises(UnknownRequestError, match="'never'"):
        own.feedback.add(Feedback("never", accepted=tags))
    with pytest.raises(BadRequestError, match="accepted: 'velvet' was not in answer r1"):
        own.feedback.add(Feedback("r1", accepted=["velvet"]))
    with pytest.raises(BadRequestError, match="clicked: 'ring-blue' was not in answer"):
        own.feedback.add(Feedback("r1", clicked=["ring-blue"]))
    with pytest.raises(BadRequestError, match="accepted and rejected at once"):
        own.feedback.add(Feedback("r1", accepted=tags[:1], rejected=tags[:1]))
    with pytest.raises(BadRequestError, match="nothing said"):
        own.feedback.add(Feedback("r1"))
    with pytest.raises(UnknownProductError, match="'gone'"):
        own.feedback.add(Feedback("r1", accepted=tags[:1], product_id="gone"))
    assert own.reviews.precision().tags.precision is None, "nothing refused was stored"


@pytest.mark.parametrize("became", ["ring-blue", None])
def test_a_click_never_says_what_the_listing_became(own: Engine, became: str | None) -> None:
    """Feedback is logged under ``product_id``, or under no product without one, whatever was
    clicked beside it."""
    own.feedback.remember("s1", own.search(Query(image=photo("ring", "red", turn=30)), k=20))
    own.feedback.add(Feedback("s1", clicked=["cross-red"], product_id=became))
    with open_reviews(own.home) as reviews:
        ((_, entry),) = reviews.feedback()
    assert entry["pid"] == (None if became is None else own.catalog.pid("ring-blue"))
    assert entry["clicked"] == [own.catalog.pid("cross-red")]


def test_an_export_is_a_manifest_with_the_tags_people_left(own: Engine, tmp_path: Path) -> None:
    wanted = product_id("stripes", "red")
    accepted = tags_of(own)[0]
    own.feedback.add(
        Feedback(
            "r1", accepted=[accepted], added=["new"], category=("Shapes", "bars"), product_id=wanted
        )
    )
    own.feedback.add(
        Feedback("r1", rejected=[tag for tag in tags_of(own) if tag == "red"], added=["x"])
    )
    report = export_feedback(own.home, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert (report.products, report.rows, report.feedback) == (1, 2, 2)
    assert report.skipped == {"no product_id was given with it": 1}
    assert {row["product_id"] for row in rows} == {wanted}
    assert rows[0]["category"] == "Shapes > bars"
    assert rows[0]["tags"].split("|") == list(dict.fromkeys(["stripes", "red", accepted, "new"]))
    assert Path(rows[0]["image"]).read_bytes() == photo("stripes", "red")


def test_an_export_is_run_by_no_spreadsheet(own: Engine, tmp_path: Path) -> None:
    """Tags and categories of people are texts, and are trained on as they were said."""
    said = '=HYPERLINK("http://evil.example")'
    tags_of(own)
    wanted = product_id("stripes", "red")
    own.feedback.add(Feedback("r1", added=["new"], category=(said,), product_id=wanted))
    export_feedback(own.home, tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as stream:
        assert {row["category"] for row in csv.DictReader(stream)} == {f"'{said}"}
    rows = read_dataset(tmp_path / "out.csv").rows
    assert {row.category for row in rows} == {(said,)}


def test_an_export_of_nothing_says_so(own: Engine, tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="no feedback to train from"):
        export_feedback(own.home, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_strangers_say_a_bounded_number_of_clicks(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clicks are kept for good, and anybody may have the key of a page: it cannot fill the disk.
    The shop's own keys have no such limit."""
    clock = [100.0]
    monkeypatch.setattr(feedback, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    own.feedback = FeedbackLog(own.catalog, own.snapshots, own.review_database)
    found = own.search(Query(product_id="ring-blue"), k=1)
    own.feedback.remember("s1", found)
    clicked = [found.content.results[0].product_id] * 500
    for _ in range(2):
        assert own.feedback.add(Feedback("s1", clicked=clicked), stranger="")
    with pytest.raises(RequestRefusedError, match="clicks a second: wait 1 s") as caught:
        own.feedback.add(Feedback("s1", clicked=clicked[:1]), stranger="")
    assert (caught.value.status, caught.value.headers["Retry-After"]) == (429, "1")
    assert own.feedback.add(Feedback("s1", clicked=clicked))
    clock[0] += 1.0
    assert own.feedback.add(Feedback("s1", clicked=clicked[:50]), stranger="")
    with pytest.raises(RequestRefusedError):
        own.feedback.add(Feedback("s1", clicked=clicked[:1]), stranger="")


def test_one_stranger_does_not_say_the_clicks_of_all(
    own: Engine, open_web: Callable[..., FlaskClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where addresses are told apart, one has a tenth of what all shoppers may say."""
    clock = [100.0]
    monkeypatch.setattr(feedback, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    own.feedback = FeedbackLog(own.catalog, own.snapshots, own.review_database)
    key = {"Authorization": f"Bearer {KeyFile(own.home).create('page', 'search').key}"}

    def say(web: FlaskClient, address: str, clicks: int) -> int:
        sent = {**key, "X-Forwarded-For": address}
        found = web.post("/v1/search", json={"product_id": "ring-blue", "k": 1}, headers=sent)
        named = found.get_json()
        clicked = [named["results"][0]["product_id"]] * clicks
        said = {"request_id": named["request_id"], "clicked": clicked}
        return web.post("/v1/feedback", json=said, headers=sent).status_code

    web = open_web(address_rate=1000.0, trusted_proxies=("127.0.0.1",))
    assert [say(web, "198.51.100.1", clicks) for clicks in (60, 60, 40)] == [200, 429, 200]
    assert say(web, "2001:db8::1", 100) == 200
    assert say(web, "2001:db8::2", 1) == 429
    clock[0] += 1.0
    assert [say(web, "198.51.100.1", clicks) for clicks in (6, 5, 1)] == [429, 200, 429]
    together = open_web(trusted_proxies=("127.0.0.1",))
    assert say(together, "198.51.100.1", 500) == 200


def test_more_clicks_than_anybody_may_say_at_once_are_no_excess(
    own: Engine, open_web: Callable[..., FlaskClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that no waiting lets in is refused as it is, with the number that one may hold;
    none of it is taken. So is one of all strangers, whatever their share is."""
    clock = [100.0]
    monkeypatch.setattr(feedback, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    own.feedback = FeedbackLog(own.catalog, own.snapshots, own.review_database)
    key = {"Authorization": f"Bearer {KeyFile(own.home).create('page', 'search').key}"}
    web = open_web(address_rate=1000.0, trusted_proxies=("127.0.0.1",))
    found = web.post("/v1/search", json={"product_id": "ring-blue", "k": 1}, headers=key).get_json()
    clicked = [found["results"][0]["product_id"]]

    def say(clicks: int) -> TestResponse:
        said = {"request_id": found["request_id"], "clicked": clicked * clicks}
        return web.post("/v1/feedback", json=said, headers=key)

    for _ in range(2):
        refused = say(101)
        assert (refused.status_code, refused.get_json()["code"]) == (422, "bad-request")
        assert "clicked: 101 products" in refused.get_json()["detail"]
        assert "at most 100 in one request" in refused.get_json()["detail"]
        assert "Retry-After" not in refused.headers
        clock[0] += 3600.0
    assert say(100).status_code == 200
    together = Feedback(found["request_id"], clicked=clicked * 1001)
    with pytest.raises(BadRequestError, match="at most 1000 in one request"):
        own.feedback.add(together, stranger="")


def test_strangers_make_nobody_forget_what_the_shops_people_asked(
    own: Engine, open_web: Callable[..., FlaskClient]
) -> None:
    """Whoever has the key of a page can ask thousands of times while a person looks at an answer:
    its feedback is taken all the same."""
    own.feedback = FeedbackLog(own.catalog, own.snapshots, own.review_database, max_answers=2)
    keys = KeyFile(own.home)
    web = open_web()
    named = {}
    for role in ("review", "search", "search", "search"):
        key = {"Authorization": f"Bearer {keys.create(f'k{len(named)}', role).key}"}
        asked = web.post("/v1/search", json={"product_id": "ring-blue", "k": 1}, headers=key)
        named[asked.get_json()["request_id"]] = key
    own_answer, forgotten, *_ = named
    assert own_answer in own.feedback.request_ids
    clicked = own.search(Query(product_id="ring-blue"), k=1).content.results[0].product_id
    said: dict[str, object] = {"clicked": [clicked], "request_id": own_answer}
    assert web.post("/v1/feedback", json=said, headers=named[own_answer]).status_code == 200
    said["request_id"] = forgotten
    assert web.post("/v1/feedback", json=said, headers=named[forgotten]).status_code == 404


def test_one_answer_takes_a_bounded_number_of_entries(own: Engine) -> None:
    """Feedback is kept, so nobody fills the disk with that on one answer; a name counts once."""
    tag = tags_of(own)[0]
    for _ in range(200):
        own.feedback.add(Feedback("r1", accepted=[tag] * 500))
    with pytest.raises(BadRequestError, match="200 entries"):
        own.feedback.add(Feedback("r1", accepted=[tag]))
    with open_reviews(own.home) as kept:
        bodies = [body for _, body in kept.feedback()]
    assert len(bodies) == 200
    assert {tuple(body["accepted"]) for body in bodies} == {(tag,)}
