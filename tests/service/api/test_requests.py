"""Request models: what a client may send many of, or long, has a limit, which the document says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from service.query.query import RequestModel
from tests.service.api.routes.test_queries import assert_problem


def _models(kind: type[RequestModel] = RequestModel) -> Iterator[type[RequestModel]]:
    for model in kind.__subclasses__():
        yield model
        yield from _models(model)


def _unbounded(schema: Any, place: str) -> Iterator[str]:
    """Lists and maps of any number of entries, and names of any length."""
    if isinstance(schema, list):
        for entry in schema:
            yield from _unbounded(entry, place)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "array" and "maxItems" not in schema:
        yield f"{place}: entries"
    if isinstance(schema.get("additionalProperties"), dict):
        if "maxProperties" not in schema:
            yield f"{place}: entries"
        if "maxLength" not in schema.get("propertyNames", {}):
            yield f"{place}: names"
    for name, part in schema.items():
        inner = part.items() if name in ("properties", "$defs") else [("", part)]
        for key, value in inner:
            yield from _unbounded(value, f"{place} {key}".strip())


def test_each_list_and_map_of_a_request_has_a_limit(web: FlaskClient) -> None:
    """Of entries, and of the length of names: they are kept with what they were sent for."""
    found: set[str] = set()
    # All that the service has: every route is open.
    for model in _models():
        found |= set(_unbounded(model.model_json_schema(), model.__name__))
    # By the size of the body and the number of its values: a batch is kept by nobody.
    assert found == {"ProductBatch items: entries"}


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"map": {f"c{n}": "title" for n in range(2001)}}, "at most 2000 items"),
        ({"map": {"c" * 1001: "title"}}, "at most 1000 characters"),
        ({"types": {f"a{n}": "string" for n in range(5001)}}, "at most 5000 items"),
        ({"types": {"a" * 257: "string"}}, "at most 256 characters"),
    ],
)
def test_what_an_import_says_of_columns_has_a_limit(
    web: FlaskClient, sent: dict[str, Any], said: str
) -> None:
    """422 that names it: the job keeps both, and every list of jobs shows them."""
    problem = assert_problem(
        web.post("/v1/imports", json={"path": "feed.csv", **sent}), 422, "invalid-request"
    )
    assert said in problem["errors"][0]["message"]
