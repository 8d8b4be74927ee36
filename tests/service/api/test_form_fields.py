"""Form fields: what the client writes is what the server reads."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from service.api import requests
from service.api.form_fields import decode_field, encode_fields, is_plain


@pytest.mark.parametrize(
    ("model", "plain"),
    [
        (
            requests.SearchRequest,
            {
                "product_id",
                "version",
                "text",
                "collapse",
                "cursor",
                "group_by",
                "locale",
                "market",
                "out_of_stock",
            },
        ),
        (requests.ExplainRequest, {"product_id", "version", "category", "with"}),
        (
            requests.ReviewRequest,
            {"product_id", "version", "profile", "external_id", "title"},
        ),
        (
            requests.ImportRequest,
            {"path", "photos", "url", "feed", "profile", "save_as", "encoding", "delimiter"},
        ),
        (requests.ClassRequest, {"label", "kind"}),
    ],
)
def test_texts_stand_as_they_are_and_all_else_is_json(
    model: type[BaseModel], plain: set[str]
) -> None:
    """Which fields are plain text follows from the model's types, for both sides."""
    names = {field.alias or own for own, field in model.model_fields.items()}
    assert {name for name in names if is_plain(model, name)} == plain


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (requests.ImportRequest, {"photos": "copy", "dry_run": True, "types": {"a": "string"}}),
        (requests.SearchRequest, {"text": '"blue" [1]', "k": 3, "exclude": ["a"], "weights": {}}),
        (requests.ReviewRequest, {"product_id": "7", "profile": "studio", "min_sequence": 2}),
    ],
)
def test_what_is_written_is_read(model: type[BaseModel], fields: dict[str, Any]) -> None:
    """Every value comes back as it was given, texts that look like JSON too."""
    assert {
        name: decode_field(model, name, text) for name, text in encode_fields(model, fields)
    } == fields


def test_what_is_no_json_is_refused() -> None:
    """Broken and too deeply nested JSON is a ``ValueError``; an unknown field stays for the model
    to refuse."""
    for text in ("{", "[" * 100_000):
        with pytest.raises(ValueError, match=r"\w"):
            decode_field(requests.SearchRequest, "filter", text)
    assert decode_field(requests.SearchRequest, "unknown", "{") == "{"
