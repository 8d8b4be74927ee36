"""Classify, search, similar and tags over HTTP: values, and every way to ask wrongly."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from service.engine import Engine
from service.inference.admission import AdmissionGate, OverloadedError
from service.query.cursors import Cursor, CursorSigner
from tests.service.conftest import COLOURS, KINDS, draw, encode, photo, product_id

CROSSES = {product_id("cross", colour) for colour in COLOURS}


def upload(data: bytes, **fields: str) -> dict[str, Any]:
    return {"image": (io.BytesIO(data), "photo.png"), **fields}


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """The response is a complete RFC 9457 document with this status and code, and shows no
    traceback."""
    assert (response.status_code, response.content_type) == (status, "application/problem+json")
    body: dict[str, Any] = json.loads(response.get_data(as_text=True))
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(body)
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == response.headers["X-Request-Id"] != ""
    assert "Traceback" not in body["detail"]
    return body


def test_identical_photo_scores_one(web: FlaskClient) -> None:
    """The catalog's own photo finds its product first, with score 1, and itself as
    the shown photo."""
    answer = web.post("/v1/search", data=upload(photo("cross", "red"), k="5")).get_json()
    assert len(answer["results"]) == 5
    best = answer["results"][0]
    assert best["product_id"] == "cross-red"
    assert best["score"] == pytest.approx(1.0, abs=2e-3)
    assert best["signals"] == {"image": best["score"]}
    assert (best["title"], best["category"]) == ("red cross", "Shapes > cross")
    assert best["category_path"] == ["Shapes", "cross"]
    assert best["attributes"] == {"colour": "red"}
    assert best["image_url"] == f"/v1/images/{best['photo']}?w=320"
    scores = [result["score"] for result in answer["results"]]
    assert scores == sorted(scores, reverse=True)


def test_every_answer_says_what_answered(web: FlaskClient) -> None:
    """request_id, model_version, index_version and timings stand in each answer; the id is echoed
    as a header."""
    response = web.post(
        "/v1/search", data=upload(photo("cross", "red")), headers={"X-Request-Id": "shop-42"}
    )
    answer = response.get_json()
    assert answer["request_id"] == response.headers["X-Request-Id"] == "shop-42"
    assert answer["index_version"] == "v000001"
    assert answer["model_version"].startswith("m")
    assert answer["timings_ms"]["total"] > 0
    insane = web.get("/livez", headers={"X-Request-Id": "a b\t<script>"})
    assert len(insane.headers["X-Request-Id"]) == 32


def test_multipart_and_base64_give_the_same_answer(web: FlaskClient) -> None:
    """Both ways to send a photo are one question."""
    data = photo("dots", "blue", turn=5)
    form = web.post("/v1/search", data=upload(data, k="7", exclude='["dots-blue"]')).get_json()
    body = {"image": {"base64": base64.b64encode(data).decode()}, "k": 7, "exclude": ["dots-blue"]}
    assert web.post("/v1/search", json=body).get_json()["results"] == form["results"]
    assert "dots-blue" not in {result["product_id"] for result in form["results"]}


def test_classify_names_the_kind(web: FlaskClient) -> None:
    """A photo the shop has not seen gets its kind first, probabilities fall and sum to 1."""
    for kind in KINDS:
        answer = web.post("/v1/classify", data=upload(photo(kind, "blue", turn=7))).get_json()
        first = answer["categories"][0]
        assert (first["label"], first["path"]) == (kind, ["Shapes", kind])
        chances = [entry["probability"] for entry in answer["categories"]]
        assert chances == sorted(chances, reverse=True)
        assert sum(chances) == pytest.approx(1, abs=1e-4)
        assert answer["unknown"] is False


def test_a_stored_product_classifies_without_a_photo(web: FlaskClient) -> None:
    answer = web.post("/v1/classify", json={"product_id": "红色 连衣裙/1"}).get_json()
    assert answer["categories"][0]["label"] == "cross"


def test_tags_are_voted_with_their_supporters(web: FlaskClient) -> None:
    """The kind's tag wins, and each supporter really carries the tag."""
    answer = web.post("/v1/tags", data=upload(photo("stripes", "green", turn=4))).get_json()
    tags = {entry["tag"]: entry for entry in answer["tags"]}
    assert answer["tags"][0]["tag"] == "stripes"
    assert 0.5 < tags["stripes"]["confidence"] <= 1
    for near in tags["stripes"]["neighbours"]:
        stored = web.get(f"/v1/products/{quote(near['product_id'], safe='')}").get_json()
        assert "stripes" in [tag["tag"] for tag in stored["tags"]]


def test_a_products_own_tags_do_not_vote_for_it(web: FlaskClient) -> None:
    """Asking about a stored product takes its neighbours' tags, never its own."""
    answer = web.post("/v1/tags", json={"product_id": "cross-red"}).get_json()
    voters = {near["product_id"] for entry in answer["tags"] for near in entry["neighbours"]}
    assert answer["tags"]
    assert "cross-red" not in voters


def test_one_call_describes_as_three_do(web: FlaskClient) -> None:
    """Categories, similar products and tags of ``describe`` are those of the three calls, from one
    decoded photo."""
    data = photo("cross", "blue", turn=7)
    whole = web.post("/v1/describe", data=upload(data, k="3")).get_json()
    three = {
        name: web.post(
            f"/v1/{call}", data=upload(data, **({"k": "3"} if call == "search" else {}))
        ).get_json()[name]
        for call, name in (
            ("classify", "categories"),
            ("classify", "unknown"),
            ("search", "results"),
            ("tags", "tags"),
        )
    }
    assert {name: whole[name] for name in three} == three
    assert len(whole["results"]) == 3
    assert {"search", "vote", "classify", "total"} <= set(whole["timings_ms"])


@pytest.mark.parametrize("chosen", ["a/similar", "shop:7", "红色 连衣裙/1", "50%2Foff?#"])
def test_any_id_can_be_read_and_asked_about(web: FlaskClient, chosen: str) -> None:
    """Ids with a slash, a colon, Chinese, a percent sign and a question mark are one path segment
    each."""
    segment = quote(chosen, safe="")
    assert web.get(f"/v1/products/{segment}").get_json()["product_id"] == chosen
    results = web.get(f"/v1/products/{segment}/similar?k=4").get_json()["results"]
    assert len(results) == 4
    assert chosen not in [result["product_id"] for result in results]


def test_an_unencoded_slash_is_a_path_and_not_an_id(web: FlaskClient) -> None:
    """``/v1/products/a/similar`` asks for what is similar to ``a``, which does not exist here."""
    body = assert_problem(web.get("/v1/products/a/similar"), 404, "unknown-product")
    assert "'a'" in body["detail"]
    assert_problem(web.get("/v1/products/a/b/similar"), 404, "not-found")


def test_similar_is_the_best_over_all_photos(web: FlaskClient) -> None:
    """Both photos of a product ask, so its score is the higher one of the two searches."""
    both = web.get("/v1/products/cross-red/similar?k=19").get_json()["results"]
    best: dict[str, float] = {}
    for turn in (0, 12):
        found = web.post(
            "/v1/search", data=upload(photo("cross", "red", turn=turn), k="20")
        ).get_json()["results"]
        for result in found:
            best[result["product_id"]] = max(best.get(result["product_id"], -1), result["score"])
    del best["cross-red"]
    assert len(both) == 19
    assert {result["product_id"]: result["score"] for result in both} == pytest.approx(
        best, abs=2e-3
    )


def test_image_and_product_mix_to_their_mean(web: FlaskClient) -> None:
    """With both given each result tells its cosine to either, and the score lies
    above their mean."""
    answer = web.post(
        "/v1/search", data=upload(photo("ring", "blue"), product_id="cross-red", k="3")
    ).get_json()
    for result in answer["results"]:
        assert result["product_id"] != "cross-red"
        assert set(result["signals"]) == {"image", "product_id"}
        assert result["score"] >= sum(result["signals"].values()) / 2 - 0.05


def test_k_exclude_and_min_score_count_together(web: FlaskClient) -> None:
    """There are always min(k, matches) results after exclusion and ``min_score``."""
    whole = web.post("/v1/search", data=upload(photo("ring", "tan"), k="1000")).get_json()[
        "results"
    ]
    assert len(whole) == 20
    bar = whole[6]["score"]
    cut = web.post(
        "/v1/search", data=upload(photo("ring", "tan"), k="1000", min_score=str(bar - 1e-5))
    ).get_json()
    assert [result["product_id"] for result in cut["results"]] == [
        result["product_id"] for result in whole[:7]
    ]
    query = "&".join(
        f"exclude={quote(name, safe='')}" for name in ("cross-red", "a/similar", "nobody")
    )
    kept = web.get(f"/v1/products/cross-tan/similar?k=1000&{query}").get_json()["results"]
    assert len(kept) == 17


@pytest.mark.parametrize(
    ("path", "offered"),
    [
        ("classify", "`image` or `product_id`"),
        ("tags", "`image` or `product_id`"),
        ("search", "`image`, `product_id` or `text`"),
        ("objects", "`image`"),
        ("review", "`image`, `images` or `product_id`"),
    ],
)
def test_a_question_about_nothing_says_what_to_provide(
    web: FlaskClient, path: str, offered: str
) -> None:
    """In one wording, whatever is asked."""
    body = assert_problem(web.post(f"/v1/{path}", json={}), 422, "bad-request")
    assert body["detail"] == f"no query: provide {offered}"


def test_crop_asks_about_a_part(web: FlaskClient) -> None:
    """A box round one of two drawn things finds that thing."""
    from PIL import Image

    wide = Image.new("RGB", (320, 160), "white")
    wide.paste(draw("cross", COLOURS["red"]), (0, 0))
    wide.paste(draw("dots", COLOURS["black"]), (160, 0))
    answer = web.post(
        "/v1/search", data=upload(encode(wide), crop="[0, 0, 160, 160]", k="1")
    ).get_json()
    assert answer["results"][0]["product_id"] == "cross-red"
    assert answer["results"][0]["score"] == pytest.approx(1, abs=2e-3)
    outside = web.post("/v1/search", data=upload(encode(wide), crop="[300, 0, 160, 160]"))
    body = assert_problem(outside, 422, "bad-request")
    assert "320 x 160" in body["detail"]
    assert_problem(
        web.post("/v1/search", json={"product_id": "cross-red", "crop": [0, 0, 1, 1]}),
        422,
        "bad-request",
    )


def huge_png(side: int) -> bytes:
    """A small file that claims ``side`` x ``side`` px."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 422, "bad-image"),
        (b"once upon a time", 422, "bad-image"),
        (photo("ring", "red")[:200], 422, "bad-image"),
        (huge_png(30_000), 413, "image-too-large"),
        (b"8BPS\0\1" + b"\0" * 60, 415, "unsupported-format"),
    ],
)
@pytest.mark.parametrize("path", ["classify", "search", "tags"])
def test_a_bad_photo_is_refused(
    web: FlaskClient, path: str, data: bytes, status: int, code: str
) -> None:
    """Empty, no image, truncated, absurdly large and foreign files: each its status and code."""
    assert_problem(web.post(f"/v1/{path}", data=upload(data)), status, code)


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({"product_id": "nobody"}, 404, "unknown-product", "nobody"),
        ({"product_id": "cross-red", "k": 0}, 422, "invalid-request", "k"),
        ({"product_id": "cross-red", "k": 1_000_000}, 422, "invalid-request", "k"),
        ({"product_id": "cross-red", "k": "5"}, 422, "invalid-request", "k"),
        ({"product_id": "cross-red", "k": True}, 422, "invalid-request", "k"),
        ({"product_id": "cross-red", "min_score": 2}, 422, "invalid-request", "min_score"),
        (
            {"product_id": "cross-red", "colour": "red"},
            422,
            "invalid-request",
            "colour: unknown field",
        ),
        ({"product_id": "cross-red", "explain": "yes"}, 422, "invalid-request", "explain"),
        (
            {"product_id": "cross-red", "images": []},
            422,
            "invalid-request",
            "images: unknown field",
        ),
        ({"product_id": 7}, 422, "invalid-request", "product_id"),
        ({"product_id": "x" * 257}, 422, "invalid-request", "product_id"),
        ({"product_id": "cross-red", "exclude": "a"}, 422, "invalid-request", "exclude"),
        ({"product_id": "cross-red", "min_sequence": 10**9}, 422, "bad-request", "min_sequence"),
        ({}, 422, "bad-request", "image"),
        ({"image": {"base64": "!!"}}, 422, "invalid-request", "image.base64"),
        ({"image": {}}, 422, "invalid-request", "image.base64"),
        ({"image": {"url": "http://127.0.0.1/x.jpg"}}, 422, "bad-request", "allow_urls"),
    ],
)
def test_a_bad_question_names_its_field(
    web: FlaskClient, body: dict[str, Any], status: int, code: str, words: str
) -> None:
    assert words in assert_problem(web.post("/v1/search", json=body), status, code)["detail"]


@pytest.mark.parametrize("text", [b"{", b"[]", b'{"k": NaN}', b"\xff", b"[" * 100_000])
def test_malformed_json_is_400(web: FlaskClient, text: bytes) -> None:
    assert_problem(
        web.post("/v1/search", data=text, content_type="application/json"), 400, "bad-json"
    )


def test_text_that_is_no_text_is_refused_like_any_other(web: FlaskClient) -> None:
    """Half of a surrogate pair in a field's name, a filter or a cursor: a problem that repeats it
    as it was sent."""
    answer = web.post("/v1/products:batch", json={"items": [], "\ud800": 1})
    assert assert_problem(answer, 422, "invalid-request")["errors"] == [
        {"field": "\ud800", "message": "unknown field"}
    ]
    body = {"product_id": "cross-red", "filter": {"must": [{"field": "\ud800", "eq": 1}]}}
    assert (
        "no field" in assert_problem(web.post("/v1/search", json=body), 422, "bad-filter")["detail"]
    )
    answer = web.post("/v1/search", json={"product_id": "cross-red", "cursor": "\ud800"})
    assert_problem(answer, 422, "invalid-request")


@pytest.mark.parametrize("digits", [300, 700])
def test_a_version_name_of_any_length_is_only_unknown(
    web: FlaskClient, shop: Engine, digits: int
) -> None:
    """In a path 404, in a cursor 410; neither is made a number or a file's name."""
    name = "v" + "1" * digits
    assert (
        len(
            assert_problem(web.post(f"/v1/indexes/{name}:activate"), 404, "unknown-version")[
                "detail"
            ]
        )
        < 200
    )
    assert_problem(web.post(f"/v1/indexes/v{'1' * 5000}:activate"), 404, "unknown-version")
    cursor = CursorSigner(shop.catalog, 1000).write(Cursor(name, 0, 0.5, 1, 1, ""))
    answer = web.post("/v1/search", json={"product_id": "cross-red", "cursor": cursor})
    assert len(assert_problem(answer, 410, "cursor-gone")["detail"]) < 300


def test_a_bad_form_names_its_field(web: FlaskClient) -> None:
    """Unknown fields, a field given twice, a second file and a text where the file belongs are all
    refused."""
    good = photo("ring", "red")
    for fields, words in (
        ({"colour": "red"}, "colour"),
        ({"k": "many"}, "k"),
        ({"k": ["1", "2"]}, "k"),
        ({"other": (io.BytesIO(good), "x.png")}, "other"),
        ({"image": [(io.BytesIO(good), "a.png"), (io.BytesIO(good), "b.png")]}, "2 files"),
        ({"image": "text"}, "file"),
        ({"text": "🎉"}, "no letter and no digit"),
    ):
        form = {**upload(good), **fields}
        response = web.post("/v1/search", data=form, content_type="multipart/form-data")
        assert response.status_code == 422, fields
        assert words in response.get_json(force=True)["detail"]


def test_http_failures_are_problem_documents(web: FlaskClient) -> None:
    """Unknown paths, methods and content types answer as everything else does."""
    assert_problem(web.get("/v1/nothing"), 404, "not-found")
    assert_problem(web.get("/nothing/at/all"), 404, "not-found")
    assert_problem(web.get("/v1//products"), 404, "not-found")
    response = web.delete("/v1/search")
    assert_problem(response, 405, "method-not-allowed")
    assert set(response.headers["Allow"].split(", ")) == {"OPTIONS", "POST"}
    assert_problem(
        web.post("/v1/search", data=b"x", content_type="image/png"), 415, "unsupported-media-type"
    )
    body = assert_problem(web.post("/v1/search", data=b"{}"), 415, "unsupported-media-type")
    assert "send application/json" in body["detail"]
    body = assert_problem(web.post("/v1/indexes:rollback"), 415, "unsupported-media-type")
    assert body["detail"].endswith("send application/json, {} where there is nothing to say")
    assert_problem(web.get("/v1/products?limit=7&page=2"), 422, "invalid-request")
    assert_problem(web.get("/v1/products/%ff"), 422, "invalid-request")


def test_a_failure_of_ours_hides_its_inside(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected exception is 500 without its text; the log has it."""
    monkeypatch.setattr("service.products.catalog.ProductCatalog.sample", lambda *_: 1 / 0)
    body = assert_problem(web.get("/v1/products"), 500, "internal")
    assert "division" not in body["detail"]


def test_a_service_with_no_turn_left_says_when_to_come_back(
    web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After for every question, while health is still answered."""

    def full(_: object) -> None:
        raise OverloadedError("32 questions are waiting already: try again shortly")

    monkeypatch.setattr(AdmissionGate, "turn", lambda self: full(self))
    for call in ("classify", "search", "tags", "describe"):
        response = web.post(f"/v1/{call}", data=upload(photo("cross", "red")))
        assert_problem(response, 503, "overloaded")
        assert int(response.headers["Retry-After"]) >= 1
    assert web.get("/livez").status_code == 200


def test_problem_types_can_be_read(web: FlaskClient) -> None:
    """``type`` leads to an explanation."""
    kind = web.get("/v1/products/nobody").get_json(force=True)["type"]
    response = web.get(kind)
    assert (response.status_code, response.mimetype) == (200, "text/plain")
    assert "No product has this id" in response.get_data(as_text=True)


def test_thumbnails_are_immutable_and_known_only(web: FlaskClient) -> None:
    """A stored hash gives a JPEG that may be kept for ever; others, and other widths, give
    problems."""
    from PIL import Image

    shot = web.get("/v1/products/cross-red").get_json()["images"][0]
    response = web.get(shot["image_url"])
    assert response.mimetype == "image/jpeg"
    assert Image.open(io.BytesIO(response.data)).size == (160, 160)
    assert "immutable" in response.headers["Cache-Control"]
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    again = web.get(shot["image_url"], headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert_problem(web.get(f"/v1/images/{'0' * 64}"), 404, "unknown-photo")
    assert_problem(web.get("/v1/images/..%2F..%2Fhome.json"), 404, "unknown-photo")
    assert_problem(web.get(f"/v1/images/{shot['hash']}?w=99"), 422, "invalid-request")


def test_browsing_starts_anywhere_in_the_catalog(web: FlaskClient) -> None:
    """The sample is spread over the catalog, without repetitions, and knows how many there are."""
    answer = web.get("/v1/products?limit=8").get_json()
    ids = [product["product_id"] for product in answer["products"]]
    assert len(ids) == len(set(ids)) == 8
    assert answer["total"] == 20
    assert len({product["category"] for product in answer["products"]}) == 4
