"""``/v1/objects`` over a real small shop: the things in a photo of several, each with its like."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from indexer.imaging.geometry import iou
from service.engine import Engine, Query
from tests.service.api.routes.test_queries import assert_problem
from tests.service.conftest import COLOURS, draw, encode, photo, product_id

PLACES = {("cross", "red"): (30, 20), ("dots", "black"): (290, 210), ("stripes", "blue"): (300, 20)}


def laid_out(wanted: tuple[tuple[str, str], ...] = tuple(PLACES)) -> bytes:
    """Drawn products side by side on one white ground, 500 x 400 px."""
    image = Image.new("RGB", (500, 400), "white")
    for kind, colour in wanted:
        image.paste(draw(kind, COLOURS[colour]), PLACES[kind, colour])
    return encode(image)


def ask(web: FlaskClient, data: bytes, **fields: Any) -> Any:
    form = {name: json.dumps(value) for name, value in fields.items()}
    return web.post(
        "/v1/objects",
        data={"image": (io.BytesIO(data), "p.png"), **form},
        content_type="multipart/form-data",
    )


def thing(kind: str, colour: str) -> tuple[int, int, int, int]:
    """The box of what is drawn at its place in ``laid_out``."""
    ink = np.asarray(draw(kind, COLOURS[colour]).convert("L")) < 250
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    x, y = PLACES[kind, colour]
    return x + int(columns[0]), y + int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def test_each_product_is_found_where_it_lies(web: FlaskClient) -> None:
    """Two compact things side by side: a box round each, its category, and its own kind first among
    the results."""
    wanted = (("cross", "red"), ("stripes", "blue"))
    found = ask(web, laid_out(wanted), k=4).get_json()
    assert (found["width"], found["height"], found["reason"]) == (500, 400, None)
    assert len(found["objects"]) == 2
    for kind, colour in wanted:
        best = max(found["objects"], key=lambda one: iou(one["box"], thing(kind, colour)))
        assert iou(best["box"], thing(kind, colour)) > 0.8
        assert best["category"]["label"] == kind
        assert len(best["results"]) == 4
        assert best["results"][0]["category"] == f"Shapes > {kind}"
    scores = [one["score"] for one in found["objects"]]
    assert all(-1 <= score <= 1 for score in scores)


def test_a_search_with_the_box_gives_the_same(web: FlaskClient) -> None:
    """``box`` is what ``crop`` takes: the search finds the same products with the same scores."""
    data = laid_out((("cross", "red"),))
    (one,) = ask(web, data, k=5, most=1).get_json()["objects"]
    form = {"image": (io.BytesIO(data), "p.png"), "crop": json.dumps(one["box"]), "k": "5"}
    again = web.post("/v1/search", data=form, content_type="multipart/form-data").get_json()[
        "results"
    ]
    assert [row["product_id"] for row in again] == [row["product_id"] for row in one["results"]]
    assert [row["score"] for row in again] == pytest.approx(
        [row["score"] for row in one["results"]], abs=1e-5
    )


def test_the_box_and_its_pixels_give_the_same_embedding(own: Engine) -> None:
    """Not only from memory: another engine that is asked for the crop alone finds the same."""
    data = laid_out((("cross", "red"),))
    (one,) = own.find_objects(data, k=5, most=1).content.objects
    own.embedder.clear()
    again = own.search(Query(image=data, crop=tuple(one.box)), k=5).content.results
    assert [row.score for row in again] == pytest.approx(
        [row.score for row in one.results], abs=1e-4
    )


def test_a_studio_photo_is_one_object(web: FlaskClient) -> None:
    """The product on its plain ground: one box, the product itself is the first result."""
    (one,) = ask(web, photo("stripes", "blue"), k=1).get_json()["objects"]
    assert one["results"][0]["product_id"] == product_id("stripes", "blue")
    assert one["category"]["label"] == "stripes"


def test_a_filter_holds_for_each_object(web: FlaskClient) -> None:
    """What passes is counted for each object; which things are objects does not hang on it."""
    data = laid_out()
    plain = ask(web, data).get_json()["objects"]
    tan = {"must": [{"field": "colour", "eq": "tan"}]}
    found = ask(web, data, filter=tan, k=50).get_json()["objects"]
    assert [one["box"] for one in found] == [one["box"] for one in plain]
    assert all({row["attributes"]["colour"] for row in one["results"]} == {"tan"} for one in found)
    assert all(len(one["results"]) == 4 for one in found)


def test_nothing_says_why(web: FlaskClient) -> None:
    """A plain ground has no objects, and the answer says so."""
    found = ask(web, encode(Image.new("RGB", (300, 200), (90, 120, 60)))).get_json()
    assert (found["objects"], found["reason"]) == ([], "nothing-stands-out")


def test_an_empty_catalog_says_so(own: Engine) -> None:
    """Without products there is nothing to be alike."""
    for kind in ("ring", "stripes", "cross", "dots"):
        for colour in COLOURS:
            own.products.delete(product_id(kind, colour))
    found = own.find_objects(laid_out())
    assert (found.content.objects, found.content.reason) == ([], "no-products")


def test_one_pass_of_the_network_sees_all_boxes(own: Engine) -> None:
    """All parts of a photo are one batch, and the searches that follow need no other."""
    before = sum(own.queue.batches().values())
    assert own.find_objects(laid_out()).content.objects
    assert sum(own.queue.batches().values()) == before + 1


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"most": 0}, "most"),
        ({"most": 11}, "most"),
        ({"k": 0}, "k"),
        ({"crop": [0, 0, 5, 5]}, "crop"),
    ],
)
def test_wrong_fields_are_named(web: FlaskClient, fields: dict[str, Any], word: str) -> None:
    """Bounds and unknown fields are 422 and name the field."""
    body = assert_problem(ask(web, laid_out(), **fields), 422, "invalid-request")
    assert [error["field"] for error in body["errors"]] == [word]


def test_without_a_photo_it_says_what_to_send(web: FlaskClient) -> None:
    """No image and a broken image are refused with the reason."""
    body = assert_problem(web.post("/v1/objects", json={"k": 3}), 422, "bad-request")
    assert body["detail"] == "no query: provide `image`"
    assert_problem(ask(web, b"no photo"), 422, "bad-image")
