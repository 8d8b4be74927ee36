"""Types over HTTP: shown, widened by what is written, and given by a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.engine import Engine
from tests.service.api.routes.test_queries import assert_problem


@pytest.fixture
def web(open_web: Callable[..., FlaskClient]) -> FlaskClient:
    return open_web()


def patch(web: FlaskClient, name: str, **body: Any) -> dict[str, Any]:
    found: dict[str, Any] = web.patch(f"/v1/products/{name}", json=body).get_json()
    return found


def test_the_schema_shows_types_and_owners(web: FlaskClient, own: Engine) -> None:
    """Attributes, the fields that some product has, and who owns what."""
    before = web.get("/v1/schema").get_json()
    assert before["attributes"]["colour"] == "string"
    assert (before["fields"], before["owners"], before["fixed"]) == ({}, {}, [])
    patch(web, "cross-red", price=3)
    own.catalog.set_owners({"price": "erp"})
    after = web.get("/v1/schema").get_json()
    assert (after["fields"], after["owners"]) == ({"price": "number"}, {"price": "erp"})


def test_the_first_value_does_not_fix_a_type_for_ever(web: FlaskClient) -> None:
    """A later text widens it and says so; filters of all products follow at once, in a batch
    too."""
    patch(web, "cross-red", attributes={"size": 38})
    patch(web, "ring-blue", attributes={"size": 40})
    items = [
        {"op": "patch", "product_id": "ring-tan", "title": "First"},
        {"op": "patch", "product_id": "ring-tan", "attributes": {"size": "M"}},
    ]
    rows = web.post("/v1/products:batch", json={"items": items}).get_json()["results"]
    assert "warnings" not in rows[0]
    assert "was a number and is text from now on" in rows[1]["warnings"][0]
    assert web.get("/v1/products/cross-red").get_json()["attributes"]["size"] == "38"
    sizes = {"must": [{"field": "size", "in": ["38", "40", "M"]}]}
    body = {"product_id": "dots-red", "k": 20, "filter": sizes}
    found = web.post("/v1/search", json=body).get_json()["results"]
    assert {row["product_id"] for row in found} == {"cross-red", "ring-blue", "ring-tan"}
    assert patch(web, "dots-red", attributes={"size": 42})["outcome"] == "patched"
    assert web.get("/v1/products/dots-red").get_json()["attributes"]["size"] == "42"


def test_a_given_type_stays(web: FlaskClient) -> None:
    """Stored values are converted, and an odd value is refused; one that does not fit changes
    nothing."""
    patch(web, "cross-red", attributes={"size": "38"})
    found = web.patch("/v1/schema", json={"types": {"size": "number"}}).get_json()
    assert (found["attributes"]["size"], found["fixed"]) == ("number", ["size"])
    assert web.get("/v1/products/cross-red").get_json()["attributes"]["size"] == 38
    refused = web.patch("/v1/products/ring-blue", json={"attributes": {"size": "M"}})
    assert_problem(refused, 422, "bad-product")
    refused = web.patch("/v1/schema", json={"types": {"colour": "number"}})
    assert "'colour'" in assert_problem(refused, 422, "bad-product")["detail"]
    assert_problem(web.patch("/v1/schema", json={"types": {"x": "text"}}), 422, "invalid-request")
    assert_problem(web.patch("/v1/schema", json={"types": {"title": "list"}}), 422, "bad-data")
