"""The OpenAPI document that the service answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from flask.testing import FlaskClient
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from service.api.openapi import tidy
from service.api.requests import RequestModel, _kinds


def test_every_summary_is_whole(web: FlaskClient) -> None:
    """A docstring's first paragraph is the summary, wherever its lines were wrapped; read twice it
    is the same."""
    document = web.get("/openapi.json").get_json()
    operations = [found for item in document["paths"].values() for found in item.values()]
    assert len(operations) > 30
    assert [found["summary"] for found in operations if not found["summary"].endswith(".")] == []
    assert not any("<br/>" in str(found) or "\n" in found["summary"] for found in operations)
    assert web.get("/openapi.json").get_json() == document


def test_the_document_is_made_once(
    open_web: Callable[..., FlaskClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has no key may ask for it as often as they like."""
    made = []
    monkeypatch.setattr("service.app.tidy", lambda document: made.append(1) or tidy(document))
    web = open_web()
    first = web.get("/openapi.json")
    assert [web.get("/openapi.json").data for _ in range(3)] == [first.data] * 3
    assert first.status_code == 200
    assert made == [1]


def test_paragraphs_after_the_first_are_the_description() -> None:
    """Lines of the first paragraph are joined; the document given is left as it was."""
    given: dict[str, Any] = {
        "paths": {"/a": {"get": {"summary": "One", "description": "two.<br/><br/>More<br/>of it."}}}
    }
    found = tidy(given)["paths"]["/a"]["get"]
    assert found == {"summary": "One two.", "description": "More\nof it."}
    assert given["paths"]["/a"]["get"]["summary"] == "One"


def body_models(base: type[BaseModel] = RequestModel) -> Iterator[type[BaseModel]]:
    """Every model of a JSON body; what a query string holds is text and read as such.

    Models of other tests are none of the service's.
    """
    for model in base.__subclasses__():
        if model.__module__.startswith("service.") and not model.__name__.endswith("Query"):
            yield model
        yield from body_models(model)


def test_numbers_and_bools_of_a_body_are_such() -> None:
    """0 is no false, true no 1, and "5" no number: what the document says, and nothing else."""
    lax = []
    for model in set(body_models()):
        for name, field in model.model_fields.items():
            adapter = TypeAdapter(Annotated[field.annotation, Field(), *field.metadata])
            kinds = set(_kinds(field.annotation))
            for kind, wrong in ((bool, 0), (int, True), (int, "5"), (float, "5")):
                try:
                    taken = kind in kinds and adapter.validate_python(wrong) is not wrong
                except ValidationError:
                    taken = False
                if taken:
                    lax.append(f"{model.__name__}.{name} takes {wrong!r}")
    assert sorted(set(lax)) == []


# Fields that every answer has, by schema.
ALWAYS = {
    "Job": {"state", "done", "total", "stage", "started", "ended", "result", "problem"},
    "JobResponse": {"state", "done", "total", "stage", "started", "ended", "result", "problem"},
    "JobProblem": {"code", "detail"},
    "ReviewResponse": {"review_id"},
    "DuplicateProduct": {"evidence"},
}


def test_fields_that_are_always_sent_are_required(web: FlaskClient) -> None:
    """Generated clients need not expect them to be absent."""
    schemas = web.get("/openapi.json").get_json()["components"]["schemas"]
    for name, fields in ALWAYS.items():
        assert fields <= set(schemas[name]["required"]), name
