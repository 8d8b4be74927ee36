"""The OpenAPI document that the service answers."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient

from service.api.openapi import tidy


def test_every_summary_is_whole(web: FlaskClient) -> None:
    """A docstring's first paragraph is the summary, wherever its lines were wrapped; read twice it
    is the same."""
    document = web.get("/openapi.json").get_json()
    operations = [found for item in document["paths"].values() for found in item.values()]
    assert len(operations) > 30
    assert [found["summary"] for found in operations if not found["summary"].endswith(".")] == []
    assert not any("<br/>" in str(found) or "\n" in found["summary"] for found in operations)
    assert web.get("/openapi.json").get_json() == document


def test_paragraphs_after_the_first_are_the_description() -> None:
    """Lines of the first paragraph are joined; the document given is left as it was."""
    given: dict[str, Any] = {
        "paths": {"/a": {"get": {"summary": "One", "description": "two.<br/><br/>More<br/>of it."}}}
    }
    found = tidy(given)["paths"]["/a"]["get"]
    assert found == {"summary": "One two.", "description": "More\nof it."}
    assert given["paths"]["/a"]["get"]["summary"] == "One"


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
