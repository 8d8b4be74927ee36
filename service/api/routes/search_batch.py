"""Routes of one query over many photos, each with a status of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import g, request
from flask_openapi import APIBlueprint

from indexer.core.errors import CatalensError
from service.api.errors import InvalidRequestError, item_problem
from service.api.openapi import (
    SECURITY,
    JsonResponse,
    answer,
    engine,
    multipart_or_json,
    problem_responses,
    remember_suggestions,
)
from service.api.parsing import read_photos
from service.api.requests import PhotosRequest, SearchPhotosRequest
from service.api.responses import ItemProblem, Response
from service.query.batch import PhotoAnswer, Task
from service.query.query import SearchFields, SearchOptions, SnapshotSelector
from service.query.response import Classification, SearchPage, SuggestedTags

api = APIBlueprint(
    "many", __name__, url_prefix="/v1", abp_tags=[{"name": "questions"}], abp_security=SECURITY
)


@dataclass(frozen=True, kw_only=True)
class PhotoCategories(Classification):
    """Categories of one photo."""

    index: int
    status: int
    timings_ms: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class PhotoProducts(SearchPage):
    """Products that look like one photo."""

    index: int
    status: int
    timings_ms: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class PhotoTags(SuggestedTags):
    """Tags of one photo."""

    index: int
    status: int
    timings_ms: dict[str, float]


@dataclass(frozen=True)
class PhotoProblem:
    """Why one photo has no result."""

    index: int
    status: int
    problem: ItemProblem


@dataclass(frozen=True)
class PhotoRows:
    """What became of each photo, in their order."""

    results: list[Any]


class ClassifyBatchResponse(Response, frozen=True):
    """Categories of many photos."""

    results: list[PhotoCategories | PhotoProblem]


class SearchBatchResponse(Response, frozen=True):
    """Products that look like many photos."""

    results: list[PhotoProducts | PhotoProblem]


class TagsBatchResponse(Response, frozen=True):
    """Tags of many photos."""

    results: list[PhotoTags | PhotoProblem]


@api.post(
    "/classify:batch",
    operation_id="classify_batch",
    request_body=multipart_or_json(PhotosRequest, files="images"),
    responses={200: ClassifyBatchResponse, **problem_responses(400, 404, 409, 413, 415, 502, 503)},
)
def classify_batch() -> JsonResponse:
    """Categories of each of 1 to 64 photos, in their order; a photo that cannot be read never fails
    the rest."""
    return _answered("classify", PhotosRequest)


@api.post(
    "/search:batch",
    operation_id="search_batch",
    request_body=multipart_or_json(SearchPhotosRequest, files="images"),
    responses={200: SearchBatchResponse, **problem_responses(400, 404, 413, 415, 502, 503)},
)
def search_batch() -> JsonResponse:
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
    responses={200: TagsBatchResponse, **problem_responses(400, 404, 413, 415, 502, 503)},
)
def tags_batch() -> JsonResponse:
    """Tags of each of 1 to 64 photos, in their order; a photo that cannot be read never fails the
    rest."""
    return _answered("tags", PhotosRequest)


def _answered(task: Task, model: type[PhotosRequest]) -> JsonResponse:
    ask, photos = read_photos(request, model)
    names = SearchFields.model_fields if isinstance(ask, SearchFields) else ()
    fields = {name: getattr(ask, name) for name in (*names, *SnapshotSelector.model_fields)}
    good = [photo for photo in photos if isinstance(photo, bytes)]
    found = engine().batch(task, good, SearchOptions(**fields))
    remember_suggestions(found)
    answers = iter(found.content.rows)
    outcomes = [next(answers) if isinstance(photo, bytes) else photo for photo in photos]
    rows = [_row(index, outcome) for index, outcome in enumerate(outcomes)]
    return answer(found.with_content(PhotoRows(rows)))


def _row(
    index: int, outcome: PhotoAnswer | InvalidRequestError | CatalensError
) -> PhotoCategories | PhotoProducts | PhotoTags | PhotoProblem:
    if not isinstance(outcome, PhotoAnswer):
        problem = item_problem(outcome, g.request_id, engine().log)
        return PhotoProblem(index, problem["status"], problem)
    content, timings_ms = outcome.content, outcome.timings_ms
    if isinstance(content, Classification):
        return PhotoCategories(**vars(content), index=index, status=200, timings_ms=timings_ms)
    if isinstance(content, SearchPage):
        return PhotoProducts(**vars(content), index=index, status=200, timings_ms=timings_ms)
    return PhotoTags(**vars(content), index=index, status=200, timings_ms=timings_ms)
