"""One question about many photos over HTTP: the same answers as one by one, and a bad photo fails
only itself."""

from __future__ import annotations

import base64
import io
import time
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.engine import Engine
from service.inference.admission import AdmissionGate, DeadlineExceededError, OverloadedError
from service.inference.queue import InferenceQueue
from service.query.query import SearchOptions
from tests.service.api.routes.test_queries import assert_problem, upload
from tests.service.conftest import COLOURS, KINDS, photo

SHOTS = [photo(kind, colour, turn=6) for kind in KINDS for colour in COLOURS]


def files(shots: list[bytes], **fields: str) -> dict[str, Any]:
    return {
        "images": [(io.BytesIO(shot), f"{place}.png") for place, shot in enumerate(shots)],
        **fields,
    }


def coded(shot: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(shot).decode()}


@pytest.mark.parametrize(
    ("question", "fields", "told"),
    [
        ("classify", {}, ("categories", "unknown")),
        (
            "search",
            {"k": "3", "filter": '{"must": [{"field": "colour", "eq": "red"}]}'},
            ("results", "next_cursor"),
        ),
        ("tags", {}, ("tags",)),
    ],
)
def test_many_photos_are_answered_as_each_alone(
    web: FlaskClient, question: str, fields: dict[str, str], told: tuple[str, ...]
) -> None:
    """Twenty photos in one request get, in their order, what twenty requests get; from one version,
    with its name."""
    answer = web.post(f"/v1/{question}:batch", data=files(SHOTS, **fields)).get_json()
    assert (answer["index_version"], answer["model_version"][0]) == ("v000001", "m")
    rows = answer["results"]
    assert [(row["index"], row["status"]) for row in rows] == [
        (place, 200) for place in range(len(SHOTS))
    ]
    for row, shot in zip(rows, SHOTS, strict=True):
        alone = web.post(f"/v1/{question}", data=upload(shot, **fields)).get_json()
        assert row[told[0]]
        assert {name: row[name] for name in told} == {name: alone[name] for name in told}
        assert row["timings_ms"]["total"] > 0
        assert "index_version" not in row


def test_a_bad_photo_fails_only_itself(web: FlaskClient) -> None:
    """Each bad photo has a problem of its own in its place; the good ones between are answered."""
    good = coded(SHOTS[0])
    images = [
        good,
        coded(b"no image"),
        {"base64": "%%"},
        {},
        {"url": "http://localhost/x"},
        7,
        good,
    ]
    rows = web.post("/v1/classify:batch", json={"images": images}).get_json()["results"]
    assert [row["status"] for row in rows] == [200, 422, 422, 422, 422, 422, 200]
    assert [row["problem"]["code"] for row in rows[1:-1]] == [
        "bad-image", "invalid-request", "invalid-request", "bad-request", "invalid-request",
    ]  # fmt: skip
    assert rows[2]["problem"]["errors"][0]["field"] == "images.2.base64"
    assert rows[0]["categories"] == rows[-1]["categories"] != []


def test_a_bad_photo_changes_no_other_row(web: FlaskClient) -> None:
    """Whether the first photo fails or not, the rows of the others have the same fields."""
    good, bad = SHOTS[0], b"no photo"
    first = web.post("/v1/search:batch", data=files([bad, good], k="2")).get_json()["results"]
    last = web.post("/v1/search:batch", data=files([good, bad], k="2")).get_json()["results"]
    assert set(first[1]) == set(last[0])
    assert "unknown_words" not in first[1]


def test_a_busy_network_fails_photos_and_not_the_request(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photo for which the network has no room is 503 in its place."""

    def full(*_: object, **__: object) -> None:
        raise OverloadedError("32 requests are waiting already: try again shortly")

    monkeypatch.setattr(InferenceQueue, "embed", full)
    rows = web.post("/v1/search:batch", data=files([photo("ring", "red", turn=11)])).get_json()[
        "results"
    ]
    assert (rows[0]["status"], rows[0]["problem"]["code"]) == (503, "overloaded")


def test_an_answer_holds_a_bounded_number_of_products(web: FlaskClient) -> None:
    """Photos, groups and members multiply: eight photos with a thousand groups of twenty, from one
    key that anybody may have, took 800 MB and half a minute."""
    asked = files([SHOTS[0]] * 4, k="1000", group_by="colour", group_size="20")
    refused = assert_problem(web.post("/v1/search:batch", data=asked), 422, "bad-request")
    assert "80,000" not in refused["detail"]
    assert "64,000" in refused["detail"]
    assert "group_size" in refused["detail"]
    allowed = files([SHOTS[0]] * 3, k="1000", group_by="colour", group_size="20")
    assert web.post("/v1/search:batch", data=allowed).status_code == 200
    # Without groups as many as ever; a size without groups says nothing.
    alone = files([SHOTS[0]] * 4, k="1000", group_size="20")
    assert web.post("/v1/search:batch", data=alone).status_code == 200


def test_few_batches_are_worked_on_at_once(own: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds its answers in memory; beyond those that may wait one is told to come again."""
    gate = AdmissionGate(working=1, max_waiting=0, deadline_s=1.0)
    monkeypatch.setattr(own._batches, "_gate", gate)
    with gate.turn(), pytest.raises(OverloadedError, match="waiting already"):
        own.batch("classify", SHOTS[:1])
    assert own.batch("classify", SHOTS[:1]).content.rows


def test_one_large_answer_is_collected_at_a_time(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes a quarter of a gigabyte; small ones go on beside it."""
    monkeypatch.setattr(own._batches, "_large", AdmissionGate(1, 0, 0.0))
    large, small = SearchOptions(k=1000), SearchOptions(k=100)
    with own._batches._large.turn():
        with pytest.raises(OverloadedError):
            own.batch("search", SHOTS[:9], large)
        assert len(own.batch("search", SHOTS[:9], small).content.rows) == 9
    assert len(own.batch("search", SHOTS[:9], large).content.rows) == 9


def test_photos_of_a_batch_that_is_over_are_not_begun(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``deadline_s`` is that of the whole question: else 64 photos had 64 times of it."""
    begun: list[int] = []
    embed = own.embedder.embed

    def slow(*given: Any) -> Any:
        begun.append(1)
        time.sleep(0.3)
        return embed(*given)

    monkeypatch.setattr(own.embedder, "embed", slow)
    monkeypatch.setattr(own, "settings", own.settings.model_copy(update={"deadline_s": 0.25}))
    rows = own.batch("classify", SHOTS * 2).content.rows
    assert len(begun) <= own._batches._threads._max_workers
    assert isinstance(rows[-1], DeadlineExceededError)


def test_a_closed_engine_says_so(own: Engine) -> None:
    """While the service shuts down a batch is refused as a single question is, with nothing
    unexpected."""
    own.close()
    with pytest.raises(OverloadedError, match="shutting down"):
        own.batch("classify", SHOTS[:2])


def test_the_next_page_of_one_of_many_is_asked_for_alone(web: FlaskClient) -> None:
    """`next_cursor` of a photo in a batch is a cursor of the same single search."""
    row = web.post("/v1/search:batch", data=files([SHOTS[3]], k="4")).get_json()["results"][0]
    whole = web.post("/v1/search", data=upload(SHOTS[3], k="8")).get_json()["results"]
    rest = web.post(
        "/v1/search", data=upload(SHOTS[3], k="4", cursor=row["next_cursor"])
    ).get_json()["results"]
    assert row["results"] + rest == whole


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({"images": []}, 422, "bad-request", "images: 0 photos"),
        (
            {"images": [coded(SHOTS[0])] * 65},
            422,
            "bad-request",
            "65 photos in one question, 1 to 64",
        ),
        ({"images": "x"}, 422, "invalid-request", "images: must be a list"),
        ({}, 422, "bad-request", "images: 0 photos"),
        (
            {"images": [coded(SHOTS[0])], "image": coded(SHOTS[0])},
            422,
            "invalid-request",
            "image: unknown field",
        ),
        ({"images": [coded(SHOTS[0])], "k": 0}, 422, "invalid-request", "k:"),
        (
            {"images": [coded(SHOTS[0])], "filter": {"must": [{"field": "size", "eq": 1}]}},
            422,
            "bad-filter",
            "size",
        ),
        (
            {"images": [coded(SHOTS[0])], "cursor": "x"},
            422,
            "invalid-request",
            "cursor: unknown field",
        ),
        (
            {"images": [coded(SHOTS[0])], "text": "blue"},
            422,
            "invalid-request",
            "text: unknown field",
        ),
        ({"images": [coded(SHOTS[0])], "version": "v9"}, 404, "unknown-version", "v9"),
    ],
)
def test_what_is_wrong_with_the_question_is_said_once(
    web: FlaskClient, body: dict[str, Any], status: int, code: str, words: str
) -> None:
    """A fault of the whole request is its answer, not one problem for each photo."""
    assert words in assert_problem(web.post("/v1/search:batch", json=body), status, code)["detail"]


def test_photos_in_a_form_must_be_files(web: FlaskClient) -> None:
    response = web.post(
        "/v1/tags:batch", data={"images": "abc"}, content_type="multipart/form-data"
    )
    assert "must be file parts" in assert_problem(response, 422, "bad-request")["detail"]
