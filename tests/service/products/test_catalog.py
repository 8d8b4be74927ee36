"""Fields of products go in by PUT, PATCH and batches, and come out with products and results."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import PhotoRow
from indexer.operations.sync_source import SyncSource, SyncSources
from service.api.product_requests import ProductPutRequest
from service.app import create_app
from service.engine import Engine
from tests.service.api.routes.test_queries import assert_problem
from tests.service.conftest import photo
from tests.service.products.test_writer import base64_of

FIELDS = {
    "url": "https://shop.example/p",
    "price": 19.9,
    "sale_price": 15,
    "currency": "EUR",
    "availability": "in_stock",
    "brand": "Ünder",
    "gtin": "0012345678905",
    "sku": "12E4",
    "parent": "shirt",
    "variant": "Red / M",
    "titles": {"de": "Hemd"},
    "categories": {"de": "Kleidung > Hemden"},
    "prices": {"CH": {"price": 25, "currency": "CHF"}},
}
PATHS = {**FIELDS, "categories": {"de": ["Kleidung", "Hemden"]}}
SOURCE = "https://cdn.example/a.jpg?v=3"


@pytest.fixture
def own_web(open_web: Callable[..., FlaskClient]) -> FlaskClient:
    return open_web()


@pytest.fixture
def plain_web(own: Engine) -> FlaskClient:
    """Answers with chosen fields lack what the schema requires."""
    return create_app(own, own.settings).test_client()


def write(web: FlaskClient, name: str, **body: Any) -> None:
    sent = {"images": [{**base64_of(photo("ring", "red", turn=11)), **_source(body)}]}
    response = web.put(f"/v1/products/{name}", json={"title": "Shirt", **sent, **body})
    assert response.status_code == 200, response.get_json()


def _source(body: dict[str, Any]) -> dict[str, str]:
    source = body.pop("image_src", None)
    return {} if source is None else {"image_src": source}


def product(web: FlaskClient, name: str, **query: str) -> dict[str, Any]:
    found: dict[str, Any] = web.get(f"/v1/products/{name}", query_string=query).get_json()
    return found


def test_what_is_put_comes_back_with_the_product_and_in_results(own_web: FlaskClient) -> None:
    """Each field, the photo's own address, and null where the shop does not say."""
    write(own_web, "new", image_src=SOURCE, **FIELDS)
    stored = product(own_web, "new")
    assert {name: stored[name] for name in FIELDS} == PATHS
    assert (stored["image_src"], stored["images"][0]["image_src"]) == (SOURCE, SOURCE)
    results = own_web.post("/v1/search", json={"product_id": "cross-red", "k": 20}).get_json()
    (found,) = [row for row in results["results"] if row["product_id"] == "new"]
    shown = [name for name in FIELDS if name not in ("titles", "categories", "prices")]
    assert {name: found[name] for name in shown} == {name: FIELDS[name] for name in shown}
    assert found["image_src"] == SOURCE
    other = next(row for row in results["results"] if row["product_id"] != "new")
    assert [other[name] for name in (*shown, "image_src")] == [None] * (len(shown) + 1)


def test_a_patch_changes_fields_alone(own_web: FlaskClient) -> None:
    """Null removes one, what is not named stays; a batch does the same; a photo keeps its
    address."""
    write(own_web, "new", image_src=SOURCE, **FIELDS)
    own_web.patch("/v1/products/new", json={"price": 9, "sale_price": None, "prices": None})
    stored = product(own_web, "new")
    assert (stored["price"], stored["sale_price"], stored["prices"]) == (9, None, {})
    assert (stored["gtin"], stored["image_src"]) == ("0012345678905", SOURCE)
    items = [{"op": "patch", "product_id": "new", "availability": "out_of_stock"}]
    assert own_web.post("/v1/products:batch", json={"items": items}).status_code == 200
    assert product(own_web, "new")["availability"] == "out_of_stock"
    same = {"images": [{"hash": stored["images"][0]["hash"]}]}
    assert own_web.put("/v1/products/new", json=same).status_code == 200
    assert product(own_web, "new")["image_src"] == SOURCE
    assert product(own_web, "new")["gtin"] is None


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"price": "19.00 EUR"}, "price"),
        ({"price": -1}, "price"),
        ({"currency": "euro"}, "currency"),
        ({"availability": "in stock"}, "availability"),
        ({"gtin": 4006381333931}, "gtin"),
        ({"prices": {"CH": {"amount": 3}}}, "prices.CH.amount"),
    ],
)
def test_a_field_that_does_not_fit_is_named(
    own_web: FlaskClient, body: dict[str, Any], field: str
) -> None:
    """422 with the field, and nothing is written."""
    document = assert_problem(
        own_web.patch("/v1/products/cross-red", json=body), 422, "invalid-request"
    )
    assert document["errors"][0]["field"] == field


def test_an_address_that_no_page_may_open_is_refused(own_web: FlaskClient) -> None:
    """A script is no address of a product or of a photo."""
    body: dict[str, Any] = {"url": "javascript:alert(1)"}
    assert_problem(own_web.patch("/v1/products/cross-red", json=body), 422, "bad-product")
    body = {"images": [{**base64_of(photo("ring", "red")), "image_src": "data:x"}]}
    assert_problem(own_web.put("/v1/products/new", json=body), 422, "bad-product")


def test_fields_are_filtered_and_counted(own_web: FlaskClient) -> None:
    """A price is a number, availability a text; addresses and codes are counted when asked for."""
    write(own_web, "new", **FIELDS)
    own_web.patch("/v1/products/ring-blue", json={"price": 50, "availability": "out_of_stock"})
    cheap = {"must": [{"field": "price", "lt": 20}, {"field": "gtin", "eq": "0012345678905"}]}
    body = {"product_id": "cross-red", "filter": cheap}
    found = own_web.post("/v1/search", json=body).get_json()["results"]
    assert [row["product_id"] for row in found] == ["new"]
    facets = {row["field"]: row for row in own_web.get("/v1/facets").get_json()["facets"]}
    assert (facets["price"]["min"], facets["price"]["max"]) == (19.9, 50)
    assert {row["value"] for row in facets["availability"]["values"]} == {
        "in_stock",
        "out_of_stock",
    }
    assert "gtin" not in facets
    asked = own_web.get("/v1/facets?fields=gtin").get_json()["facets"]
    assert asked[0]["values"] == [{"value": "0012345678905", "count": 1}]


def test_recommendations_leave_out_what_is_not_available(own_web: FlaskClient) -> None:
    """The field in its own words is understood without a setting."""
    body = {"history": [{"product_id": "cross-red"}], "k": 20}
    before = own_web.post("/v1/recommendations", json=body).get_json()["results"]
    gone = before[0]["product_id"]
    own_web.patch(f"/v1/products/{gone}", json={"availability": "out_of_stock"})
    after = own_web.post("/v1/recommendations", json=body).get_json()["results"]
    assert gone not in [row["product_id"] for row in after]
    assert len(after) == len(before) - 1


def test_only_the_fields_asked_for_come_back(plain_web: FlaskClient) -> None:
    """In searches by JSON, form and query string, recommendations, batches and one product."""
    wanted = {"product_id", "price"}
    body = {"product_id": "cross-red", "k": 3, "fields": ["product_id", "price"]}
    asked = [
        plain_web.post("/v1/search", json=body),
        plain_web.post("/v1/search", json={**body, "fields": "product_id, price"}),
        plain_web.post(
            "/v1/search",
            data={"image": (_file(), "a.png"), "fields": "product_id,price"},
            content_type="multipart/form-data",
        ),
        plain_web.get("/v1/products/cross-red/similar?fields=product_id,price&k=3"),
        plain_web.get("/v1/products/cross-red/similar?fields=product_id&fields=price&k=3"),
        plain_web.post(
            "/v1/recommendations",
            json={"history": [{"product_id": "cross-red"}], "fields": "product_id,price"},
        ),
        plain_web.post("/v1/describe", json=body),
    ]
    for response in asked:
        assert response.status_code == 200, response.get_json()
        results = response.get_json()["results"]
        assert results
        assert all(set(row) == wanted for row in results)
    batch = {"images": [base64_of(photo("ring", "red"))], "fields": ["product_id"]}
    (row,) = plain_web.post("/v1/search:batch", json=batch).get_json()["results"]
    assert all(set(found) == {"product_id"} for found in row["results"])
    one = product(plain_web, "cross-red", fields="price,sequence")
    frame = {"request_id", "model_version", "index_version", "timings_ms"}
    assert set(one) == {"price", "sequence"} | frame


def _file() -> io.BytesIO:
    return io.BytesIO(photo("ring", "red"))


def test_members_of_a_group_have_the_fields_asked_for(plain_web: FlaskClient) -> None:
    """The products of a group are cut as the one that stands for it."""
    for name in ("dots-red", "ring-blue", "ring-tan"):
        plain_web.patch(f"/v1/products/{name}", json={"parent": "ring"})
    body = {"product_id": "cross-red", "k": 20, "group_by": "parent", "group_size": 3}
    results = plain_web.post("/v1/search", json={**body, "fields": "sku,group"}).get_json()
    groups = [row["group"] for row in results["results"] if row.get("group", {}).get("members")]
    assert groups
    assert all(set(row) == {"sku"} for group in groups for row in group["members"])


def test_an_unknown_field_is_refused_with_those_that_there_are(own_web: FlaskClient) -> None:
    """422 that names it, in each call that takes the parameter."""
    asked = [
        own_web.post("/v1/search", json={"product_id": "cross-red", "fields": "prise"}),
        own_web.get("/v1/products/cross-red/similar?fields=prise"),
        own_web.get("/v1/products/cross-red?fields=prise"),
    ]
    for response in asked:
        document = assert_problem(response, 422, "invalid-request")
        assert "no field 'prise'; there are: product_id" in json.dumps(document)


def test_language_and_market_are_chosen_by_the_question(own_web: FlaskClient) -> None:
    """In one product and in results."""
    write(own_web, "new", **FIELDS)
    one = product(own_web, "new", locale="de-AT", market="ch")
    assert (one["title"], one["category"]) == ("Hemd", "Kleidung > Hemden")
    assert (one["price"], one["sale_price"], one["currency"]) == (25, None, "CHF")
    similar = own_web.get("/v1/products/cross-red/similar?locale=de&market=CH&k=20").get_json()
    (found,) = [row for row in similar["results"] if row["product_id"] == "new"]
    assert (found["title"], found["price"]) == ("Hemd", 25)
    assert_problem(own_web.get("/v1/products/new?locale=../x"), 422, "invalid-request")


# A value of each type that an attribute may have, and texts that look like another type.
VALUES = {
    **{"colour": "red", "size": "1.10", "code": "007", "blank": " x "},
    **{"stock": 3, "weight": 1.5, "whole": 2.0, "huge": 2**62, "sold": False},
    **{"made": "2024-02-29T23:59:59+02:00", "day": "2024-03-01"},
    **{"sizes": ["S", "M"], "mixed": [1, 2.5, True, "x"]},
}


@pytest.mark.parametrize(
    "sale",
    [
        {"sale_price_from": "2020-01-01", "sale_price_until": "2020-02-01"},
        {"sale_price_from": "2999-01-01"},
        {"sale_price_until": "2999-01-01T00:00:00Z"},
        {},
    ],
)
def test_what_is_read_can_be_put_back(own_web: FlaskClient, sale: dict[str, str]) -> None:
    """A PUT of what a GET gave changes nothing, whatever the date: each name that a PUT takes comes
    back as it is stored, every field and every type of attribute."""
    tags = [{"tag": source, "source": source} for source in ("merchant", "curated", "machine")]
    path = ["Clothes ", "A > B", "a>b", "Shirt / M|L"]
    markets = {"CH": {"price": 25.0, "sale_price": 20, "currency": "CHF"}, "US": {"sale_price": 1}}
    write(
        own_web,
        "new",
        **{**FIELDS, "image_src": SOURCE, "category": path, "tags": tags, "prices": markets},
        **{"attributes": {**VALUES, **sale}, "external_version": 7},
    )
    first = own_web.get("/v1/products/new")
    stored = first.get_json()
    taken = {name: stored[name] for name in ProductPutRequest.model_fields}
    assert not [name for name, value in taken.items() if value in (None, [], {})]
    taken["images"] = [
        {name: photo[name] for name in ("hash", "image_src")} for photo in stored["images"]
    ]
    headers = {"If-Match": first.headers["ETag"]}
    again = own_web.put("/v1/products/new", json=taken, headers=headers)
    assert (again.status_code, again.get_json()["outcome"]) == (200, "unchanged"), again.get_json()
    assert again.headers["ETag"] == first.headers["ETag"]
    now = own_web.get("/v1/products/new").get_json()
    frame = ("request_id", "timings_ms")
    assert {**now, **dict.fromkeys(frame)} == {**stored, **dict.fromkeys(frame)}
    # Of a product without a name, null comes back and says the same.
    write(own_web, "bare")
    bare = product(own_web, "bare")
    taken = {name: bare[name] for name in ProductPutRequest.model_fields}
    taken["images"] = [{"hash": bare["images"][0]["hash"]}]
    lone = own_web.put("/v1/products/bare", json={**taken, "titles": None}).get_json()
    assert lone["outcome"] == "unchanged"


def test_the_price_in_force_stands_beside_the_stored_one(own_web: FlaskClient) -> None:
    """``current_price`` is what a shopper pays now, with a product and in results; a sale price
    that is over is told to whoever reads the product, and to no shopper."""
    over = {"attributes": {"sale_price_until": "2020-02-01"}}
    write(own_web, "new", **FIELDS, **over)
    stored = product(own_web, "new")
    assert (stored["price"], stored["sale_price"], stored["current_price"]) == (19.9, 15, 19.9)
    results = own_web.post("/v1/search", json={"product_id": "cross-red", "k": 20}).get_json()
    (found,) = [row for row in results["results"] if row["product_id"] == "new"]
    assert (found["price"], found["sale_price"], found["current_price"]) == (19.9, None, 19.9)
    own_web.patch("/v1/products/new", json={"attributes": {"sale_price_until": None}})
    assert product(own_web, "new")["current_price"] == 15


def test_a_delete_names_the_feeds_that_may_bring_it_back(
    own: Engine, own_web: FlaskClient, tmp_path: Path
) -> None:
    """By name alone: where they lie is the operator's. One that owns prices makes no product, but
    brings the id back."""
    for name, only in (("prices", ("price",)), ("daily", None)):
        SyncSources(own.home).add(SyncSource(name, str(tmp_path / "feed.csv"), 3600.0, only=only))
    deleted = own_web.delete("/v1/products/cross-red").get_json()
    whole, fields = deleted["warnings"]
    assert whole.startswith("kept in step with: daily; ")
    assert fields.startswith("fields are kept in step with: prices; ")
    assert str(tmp_path) not in whole + fields
    SyncSources(own.home).remove("daily")
    SyncSources(own.home).remove("prices")
    assert "warnings" not in own_web.delete("/v1/products/cross-blue").get_json()


def test_a_thumbnail_of_a_photo_that_is_erased_while_it_is_made_stays_nowhere(
    own: Engine, own_web: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure has looked through the folder by the time that the file comes into it."""
    make = PhotoStore.thumbnail

    def late(self: PhotoStore, row: PhotoRow, width: int) -> bytes:
        made = make(self, row, width)
        (file,) = own.home.thumbnails.rglob(f"{row.content_hash}-{width}.jpg")
        own.products.delete("ring-blue")
        assert not file.exists()
        file.write_bytes(made)
        return made

    monkeypatch.setattr(PhotoStore, "thumbnail", late)
    digest = own.products.get("ring-blue").content.images[0].hash
    assert own_web.get(f"/v1/images/{digest}?w=160").status_code == 404
    assert list(own.home.thumbnails.rglob(f"{digest}*")) == []


def test_a_single_write_is_noted_with_its_product(own: Engine) -> None:
    """Else nobody could tell before an undo which product a write was of."""
    own.products.patch("ring-tan", {"title": "changed"})
    (write, *_) = own.actions.list(limit=1, writes=True).content.actions
    assert (write.kind, write.note) == ("write", "ring-tan")
