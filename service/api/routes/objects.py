"""``POST /v1/objects``: the products in a busy photo, each with what looks like it."""

from __future__ import annotations

from flask import request
from flask_openapi import APIBlueprint

from indexer.core.errors import BadRequestError
from service.api.openapi import (
    SECURITY,
    JsonResponse,
    answer_suggestions,
    engine,
    multipart_or_json,
    problem_responses,
)
from service.api.parsing import read_image
from service.api.requests import ObjectsRequest
from service.api.responses import ObjectsResponse

api = APIBlueprint(
    "objects", __name__, url_prefix="/v1", abp_tags=[{"name": "questions"}], abp_security=SECURITY
)


@api.post(
    "/objects",
    operation_id="objects",
    request_body=multipart_or_json(ObjectsRequest, files="image"),
    responses={200: ObjectsResponse, **problem_responses(400, 404, 413, 415, 502, 503)},
)
def objects() -> JsonResponse:
    """The products that a photo shows, best first: a box for each, its category, and what in the
    catalog looks like it.

    A search with `crop` set to an object's `box` gives the same results. Where nothing is found
    `objects` is empty and `reason` says why.
    """
    ask, image = read_image(request, ObjectsRequest)
    if image is None:
        raise BadRequestError("no query: provide `image`")
    return answer_suggestions(engine().find_objects(image, ask))
