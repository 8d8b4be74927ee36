"""The client's keywords are the fields of the request models, no more and no fewer."""

from __future__ import annotations

from typing import get_type_hints

import pytest
from pydantic import BaseModel

from service.api import keywords, product_requests, requests
from service.query.query import GroupFields

# Keywords -> the model they fill, and the fields of the model that the client fills itself.
FILLED: dict[str, tuple[type[BaseModel], set[str]]] = {
    "StateKeywords": (requests.SnapshotSelector, set()),
    "QueryKeywords": (requests.QueryRequest, {"image"}),
    "GroupKeywords": (GroupFields, set()),
    "ShownKeywords": (product_requests.ProductQuery, set()),
    "FieldKeywords": (product_requests.FieldsRequest, set()),
    "ResultKeywords": (requests.SearchFields, set()),
    "SearchKeywords": (requests.SearchRequest, {"image"}),
    "SearchBatchKeywords": (requests.SearchPhotosRequest, {"images"}),
    "SearchOptionKeywords": (requests.SimilarQuery, set()),
    "ObjectsKeywords": (requests.ObjectsRequest, {"image"}),
    "ExplainKeywords": (requests.ExplainRequest, {"image"}),
    "FacetsKeywords": (requests.FacetsQuery, set()),
    "ReviewKeywords": (requests.ReviewRequest, {"image", "images"}),
    "ReviewsKeywords": (requests.ReviewsQuery, set()),
    "FeedbackKeywords": (requests.FeedbackRequest, {"request_id"}),
    "PutKeywords": (product_requests.ProductPutRequest, {"images"}),
    "PatchKeywords": (product_requests.ProductPatchRequest, set()),
    "DeleteKeywords": (product_requests.DeleteQuery, set()),
    "ClassKeywords": (requests.ClassQuery, set()),
    "RecommendKeywords": (requests.RecommendRequest, {"history"}),
    "ImportKeywords": (requests.ImportRequest, set()),
    "BuildKeywords": (requests.BuildRequest, set()),
}


def test_all_keywords_are_compared() -> None:
    """A new group of keywords says which model it fills."""
    assert {name for name in vars(keywords) if name.endswith("Keywords")} == set(FILLED)


@pytest.mark.parametrize("name", FILLED)
def test_keywords_are_the_model_s_fields(name: str) -> None:
    """A parameter added to a request model is missing here until the client has it too."""
    model, filled = FILLED[name]
    fields = {field.alias or own for own, field in model.model_fields.items()} - filled
    renamed = {"with": "other"} if name == "ExplainKeywords" else {}
    assert set(get_type_hints(getattr(keywords, name))) == {
        renamed.get(field, field) for field in fields
    }
