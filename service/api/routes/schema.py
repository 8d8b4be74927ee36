"""``/v1/schema``: names, types and owners of attributes and fields."""

from __future__ import annotations

from flask import request
from flask_openapi import APIBlueprint
from pydantic import Field

from service.api.openapi import (
    SECURITY,
    JsonResponse,
    answer,
    engine,
    json_body,
    problem_responses,
)
from service.api.parsing import read_json
from service.api.requests import Label, RequestModel
from service.api.responses import SchemaResponse
from service.products.schema import SchemaKind

api = APIBlueprint(
    "schema", __name__, url_prefix="/v1", abp_tags=[{"name": "products"}], abp_security=SECURITY
)


class SchemaRequest(RequestModel):
    """Types to give to attributes."""

    types: dict[Label, SchemaKind] = Field(
        min_length=1, max_length=5000, description="By name of attribute."
    )


@api.get(
    "/schema", operation_id="get_schema", responses={200: SchemaResponse, **problem_responses(503)}
)
def get_schema() -> JsonResponse:
    """The attributes and fields that filters know, their types, and which feed owns them."""
    return answer(engine().products.schema())


@api.patch(
    "/schema",
    operation_id="patch_schema",
    request_body=json_body(SchemaRequest),
    responses={200: SchemaResponse, **problem_responses(400, 415, 503, 507)},
)
def patch_schema() -> JsonResponse:
    """Give attributes a type that no value widens; stored values are converted.

    422 names the product and the value that does not fit; then nothing is changed. Of a large
    catalog 503 `deadline-exceeded` may come first: what was converted by then stays, and the same
    request goes on with the rest.
    """
    return answer(engine().products.set_types(read_json(request, SchemaRequest).types))
