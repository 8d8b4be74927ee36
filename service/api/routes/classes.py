"""Classes made from a few photos or from words: list, add, remove."""

from __future__ import annotations

from flask import request
from flask_openapi import APIBlueprint

from indexer.core.errors import BadRequestError
from service.api.openapi import (
    SECURITY,
    JsonResponse,
    answer,
    engine,
    multipart_or_json,
    problem_responses,
)
from service.api.parsing import read_class
from service.api.requests import ClassQuery, ClassRequest
from service.api.responses import ClassesResponse, ClassResponse

api = APIBlueprint(
    "classes", __name__, url_prefix="/v1", abp_tags=[{"name": "classes"}], abp_security=SECURITY
)


@api.get(
    "/classes",
    operation_id="list_classes",
    responses={200: ClassesResponse, **problem_responses(503)},
)
def list_classes() -> JsonResponse:
    """The categories of the active model, and the categories and tags made from photos."""
    return answer(engine().classes.list())


@api.post(
    "/classes",
    operation_id="add_class",
    request_body=multipart_or_json(ClassRequest, files="images"),
    responses={200: ClassResponse, **problem_responses(400, 409, 413, 415, 502, 503)},
)
def add_class() -> JsonResponse:
    """Make a category or a tag from 1 to 20 photos, or from words by a model of an image and text
    pair, without training; the next answer knows it."""
    wanted, photos = read_class(request)
    if wanted.prompts is not None:
        if photos:
            raise BadRequestError("prompts and photos: a class is made from one of them")
        return answer(
            engine().classes.add_described(wanted.label, wanted.prompts, kind=wanted.kind)
        )
    return answer(engine().classes.add(wanted.label, photos, kind=wanted.kind))


@api.delete(
    "/classes",
    operation_id="remove_class",
    responses={200: ClassResponse, **problem_responses(404, 503)},
)
def remove_class(query: ClassQuery) -> JsonResponse:
    """Take a class made from photos away again, by `id`, or by `label` and `kind`."""
    return answer(engine().classes.remove(number=query.id, label=query.label, kind=query.kind))
