"""``POST /v1/{classify,search,tags}:batch``: one question about many photos, each with a status of
its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import g, request
from flask_openapi import APIBlueprint

from indexer.core.errors import CatalensError
from service.api.errors import InvalidRequestError, item_problem
from service.api.openapi import SECURITY, answer, engine, multipart_or_json, problem_responses
from service.api.parsing import read_photos
from service.api.requests import PhotosRequest, RequestModel, SearchFields, SearchPhotosRequest
from service.api.responses import CategoryModel, Problem, Response, Result, SuggestedTagModel
from service.engine import Task

api = APIBlueprint(
    "many", __name__, url_prefix="/v1", abp_tags=[{"name": "questions"}], abp_security=SECURITY
)


class PhotoResult(RequestModel):
    """What became of one photo: the fields of its answer, or the `problem`."""

    index: int
    status: int
    problem: Problem | None = None
    timings_ms: dict[str, float] | None = None


class PhotoCategories(PhotoResult):
    categories: list[CategoryModel] | None = None
    unknown: bool | None = None


class PhotoProducts(PhotoResult):
    results: list[Result] | None = None
    next_cursor: str | None = None


class PhotoTags(PhotoResult):
    tags: list[SuggestedTagModel] | None = None


class ClassifyBatchResponse(Response):
    results: list[PhotoCategories]


class SearchBatchResponse(Response):
    results: list[PhotoProducts]


class TagsBatchResponse(Response):
    results: list[PhotoTags]


@api.post(
    "/classify:batch",
    operation_id="classify_batch",
    request_body=multipart_or_json(PhotosRequest, files="images"),
    responses={200: ClassifyBatchResponse, **problem_responses(400, 404, 409, 413, 415, 503)},
)
def classify_batch() -> dict[str, Any]:
    """Categories of each of 1 to 64 photos, in their order; a photo that cannot be read never fails
    the rest."""
    return _answered("classify", PhotosRequest)


@api.post(
    "/search:batch",
    operation_id="search_batch",
    request_body=multipart_or_json(SearchPhotosRequest, files="images"),
    responses={200: SearchBatchResponse, **problem_responses(400, 404, 413, 415, 503)},
)
def search_batch() -> dict[str, Any]:
    """Products that look like each of 1 to 64 photos, in their order; a photo that cannot be read
    never fails the rest.

    `k`, `filter`, `weights`, `exclude`, `min_score`, `collapse` and `explain` hold for all. The
    next page of one photo is asked for by `/v1/search` with its `next_cursor`.
    """
    return _answered("search", SearchPhotosRequest)


@api.post(
    "/tags:batch",
    operation_id="tags_batch",
    request_body=multipart_or_json(PhotosRequest, files="images"),
    responses={200: TagsBatchResponse, **problem_responses(400, 404, 413, 415, 503)},
)
def tags_batch() -> dict[str, Any]:
    """Tags of each of 1 to 64 photos, in their order; a photo that cannot be read never fails the
    rest."""
    return _answered("tags", PhotosRequest)


def _answered(question: Task, model: type[PhotosRequest]) -> dict[str, Any]:
    ask, photos = read_photos(request, model)
    good = [photo for photo in photos if isinstance(photo, bytes)]
    wanted = {
        name: getattr(ask, name)
        for name in SearchFields.model_fields
        if isinstance(ask, SearchFields)
    }
    found, around = engine().many(
        question, good, min_sequence=ask.min_sequence, version=ask.version, **wanted
    )
    return answer({**around, "results": _rows(photos, found)})


def _rows(
    photos: Sequence[bytes | InvalidRequestError | CatalensError],
    found: Sequence[dict[str, Any] | CatalensError],
) -> list[dict[str, Any]]:
    """One row for each photo; ``found`` are the answers to those that could be read from the
    request."""
    answers = iter(found)
    rows = []
    for index, photo in enumerate(photos):
        outcome = next(answers) if isinstance(photo, bytes) else photo
        if isinstance(outcome, dict):
            told = {
                name: value for name, value in outcome.items() if name not in Response.model_fields
            }
            rows.append(
                {"index": index, "status": 200, **told, "timings_ms": outcome["timings_ms"]}
            )
        else:
            problem = item_problem(outcome, g.request_id, engine().log)
            rows.append({"index": index, "status": problem["status"], "problem": problem})
    return rows
