"""The questions: what is this, what looks like it, how should it be tagged."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_openapi import APIBlueprint

from indexer.core.errors import BadRequestError
from service.api.openapi import (
    SECURITY,
    JsonResponse,
    answer,
    answer_suggestions,
    engine,
    multipart_or_json,
    problem_responses,
)
from service.api.parsing import Model, read_ask, read_ref, validate
from service.api.requests import (
    ClassifyRequest,
    ExplainRequest,
    FacetsQuery,
    ProductPath,
    SearchRequest,
    SimilarQuery,
    TagsRequest,
)
from service.api.responses import (
    ClassifyResponse,
    DescribeResponse,
    ExplainResponse,
    FacetsResponse,
    SearchResponse,
    TagsResponse,
)
from service.query.query import Query, SnapshotSelector

api = APIBlueprint(
    "questions", __name__, url_prefix="/v1", abp_tags=[{"name": "questions"}], abp_security=SECURITY
)


@api.post(
    "/classify",
    operation_id="classify",
    request_body=multipart_or_json(ClassifyRequest, files="image"),
    responses={200: ClassifyResponse, **problem_responses(400, 404, 409, 413, 415, 502, 503)},
)
def classify() -> JsonResponse:
    """Categories of a photo or a product, best first.

    409 `no-categories` where the active model was never trained on any.
    """
    ask, source = read_ask(request, ClassifyRequest)
    return answer_suggestions(engine().classify(source, ask))


@api.post(
    "/search",
    operation_id="search",
    request_body=multipart_or_json(SearchRequest, files="image"),
    responses={200: SearchResponse, **problem_responses(400, 404, 410, 413, 415, 502, 503)},
)
def search() -> JsonResponse:
    """Products that look like a photo or a stored product, or that a text tells of; one entry each,
    its best photo.

    Several inputs are one question. Always min(k, matches) results, counted after `filter`,
    `min_score` and `collapse`. `next_cursor` asks for the next page, of the same index version; 410
    `cursor-gone` where that is gone.
    """
    ask, source = read_ask(request, SearchRequest)
    return answer_suggestions(engine().search(source, ask))


@api.post(
    "/tags",
    operation_id="tags",
    request_body=multipart_or_json(TagsRequest, files="image"),
    responses={200: TagsResponse, **problem_responses(400, 404, 413, 415, 502, 503)},
)
def tags() -> JsonResponse:
    """Tags voted by the most similar products, each with the products that support it."""
    ask, source = read_ask(request, TagsRequest)
    return answer_suggestions(engine().tags(source, ask))


@api.post(
    "/describe",
    operation_id="describe",
    request_body=multipart_or_json(SearchRequest, files="image"),
    responses={200: DescribeResponse, **problem_responses(400, 404, 410, 413, 415, 502, 503)},
)
def describe() -> JsonResponse:
    """Categories, similar products and tags of a photo at once: it is sent, decoded and embedded
    one time.

    Takes what a search takes. Without categories in the model `categories` is empty and `unknown`
    null.
    """
    ask, source = read_ask(request, SearchRequest)
    return answer_suggestions(engine().describe(source, ask))


@api.post(
    "/explain",
    operation_id="explain",
    request_body=multipart_or_json(ExplainRequest, files="image"),
    responses={200: ExplainResponse, **problem_responses(400, 404, 409, 413, 415, 502, 503)},
)
def explain() -> JsonResponse:
    """Heat maps: what in a photo speaks for a category, or what makes it similar to another photo,
    block by block.

    `heat` covers `box`, [x, y, width, height] in px of the upright photo, row by row from the top,
    in [0, 1].
    """
    ask, source = read_ask(request, ExplainRequest)
    if ask.with_ is None:
        return answer(engine().explain_category(source, ask.category_, ask))
    if ask.category_ is not None:
        raise BadRequestError("explain a category or a pair: give category or with, not both")
    other = ask.with_
    if (other.image is None) == (other.product_id is None):
        raise BadRequestError("with: give an image or a product_id")
    data = read_ref(other.image, "with.image") if other.image else None
    pair = Query(image=data, product_id=other.product_id)
    return answer(engine().explain_pair(source, pair, ask))


@api.get(
    "/products/<product:product_id>/similar",
    operation_id="similar",
    responses={200: SearchResponse, **problem_responses(404, 410, 503)},
)
def similar(path: ProductPath) -> JsonResponse:
    """Products that look like a stored one, itself left out.

    Query: the parameters of a search's body but its input, objects as JSON text, `exclude`
    repeatable.
    """
    query = _query(SimilarQuery, repeatable="exclude")
    return answer_suggestions(engine().similar(path.product_id, query))


@api.get(
    "/facets", operation_id="facets", responses={200: FacetsResponse, **problem_responses(503)}
)
def facets() -> JsonResponse:
    """How many products have which value: of each field the commonest values, of numbers and
    datetimes min and max.

    Query: `filter` (JSON text, as in a search) counts only products that pass it; `fields`
    (repeatable) only these fields; `limit` (20; 1 to 1000) values of each; `group_by` counts groups
    instead, such as the parents of variants; `out_of_stock=hide`; `min_sequence`. A field of more
    than 200,000 different values is not counted: 422 where it is named.
    """
    query = _query(FacetsQuery, repeatable="fields")
    return answer(
        engine().facets(
            SnapshotSelector(min_sequence=query.min_sequence),
            filter=query.filter,
            fields=query.fields,
            limit=query.limit,
            group_by=query.group_by,
            out_of_stock=query.out_of_stock,
        )
    )


def _query(model: type[Model], *, repeatable: str) -> Model:
    # Read here: the document's query model cannot take repeated fields and refuse unknown ones at
    # once.
    given: dict[str, Any] = {}
    for name in request.args:
        values = request.args.getlist(name)
        given[name] = values if name == repeatable or len(values) > 1 else values[0]
    return validate(model, given)
