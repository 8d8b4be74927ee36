"""``POST /v1/{classify,search,tags}:batch``: one question about many photos, each with a status of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import g, request
from flask_openapi import APIBlueprint

from indexer.core.errors import CatalensError
from service.api.errors import Invalid, item_problem
from service.api.openapi import SECURITY, answer, body, engine, failures
from service.api.parsing import read_photos
from service.api.requests import Looking, PhotosAsk, SearchPhotosAsk, Strict
from service.api.responses import Answer, CategoryOut, Problem, Result, TagOut
from service.engine import Question

api = APIBlueprint("many", __name__, url_prefix="/v1", abp_tags=[{"name": "questions"}], abp_security=SECURITY)


class PhotoResult(Strict):
    """What became of one photo: the fields of its answer, or the `problem`."""

    index: int
    status: int
    problem: Problem | None = None
    timings_ms: dict[str, float] | None = None


class PhotoCategories(PhotoResult):
    categories: list[CategoryOut] | None = None
    unknown: bool | None = None


class PhotoProducts(PhotoResult):
    results: list[Result] | None = None
    next_cursor: str | None = None


class PhotoTags(PhotoResult):
    tags: list[TagOut] | None = None


class CategoriesAnswer(Answer):
    results: list[PhotoCategories]


class ProductsFoundAnswer(Answer):
    results: list[PhotoProducts]


class PhotosTagsAnswer(Answer):
    results: list[PhotoTags]


@api.post(
    "/classify:batch",
    operation_id="classify_batch",
    request_body=body(PhotosAsk, files="images"),
    responses={200: CategoriesAnswer, **failures(400, 404, 409, 413, 415, 503)},
)
def classify_batch() -> dict[str, Any]:
    """Categories of each of 1 to 64 photos, in their order; a photo that cannot be read never fails the rest."""
    return _answered("classify", PhotosAsk)


@api.post(
    "/search:batch",
    operation_id="search_batch",
    request_body=body(SearchPhotosAsk, files="images"),
    responses={200: ProductsFoundAnswer, **failures(400, 404, 413, 415, 503)},
)
def search_batch() -> dict[str, Any]:
    """Products that look like each of 1 to 64 photos, in their order; a photo that cannot be read never fails the rest.

    `k`, `filter`, `weights`, `exclude`, `min_score`, `collapse` and `explain` hold for all. The next page of one photo
    is asked for by `/v1/search` with its `next_cursor`.
    """
    return _answered("search", SearchPhotosAsk)


@api.post(
    "/tags:batch",
    operation_id="tags_batch",
    request_body=body(PhotosAsk, files="images"),
    responses={200: PhotosTagsAnswer, **failures(400, 404, 413, 415, 503)},
)
def tags_batch() -> dict[str, Any]:
    """Tags of each of 1 to 64 photos, in their order; a photo that cannot be read never fails the rest."""
    return _answered("tags", PhotosAsk)


def _answered(question: Question, model: type[PhotosAsk]) -> dict[str, Any]:
    ask, photos = read_photos(request, model)
    good = [photo for photo in photos if isinstance(photo, bytes)]
    wanted = {name: getattr(ask, name) for name in Looking.model_fields if isinstance(ask, Looking)}
    found, around = engine().many(question, good, min_sequence=ask.min_sequence, version=ask.version, **wanted)
    return answer({**around, "results": _rows(photos, found)})


def _rows(
    photos: Sequence[bytes | Invalid | CatalensError], found: Sequence[dict[str, Any] | CatalensError]
) -> list[dict[str, Any]]:
    """One row for each photo; ``found`` are the answers to those that could be read from the request."""
    answers = iter(found)
    rows = []
    for index, photo in enumerate(photos):
        outcome = next(answers) if isinstance(photo, bytes) else photo
        if isinstance(outcome, dict):
            told = {name: value for name, value in outcome.items() if name not in Answer.model_fields}
            rows.append({"index": index, "status": 200, **told, "timings_ms": outcome["timings_ms"]})
        else:
            problem = item_problem(outcome, g.request_id, engine().log)
            rows.append({"index": index, "status": problem["status"], "problem": problem})
    return rows
