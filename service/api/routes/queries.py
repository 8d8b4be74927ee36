"""The questions: what is this, what looks like it, how should it be tagged."""

from __future__ import annotations

from typing import Any

from flask import request
from flask_openapi import APIBlueprint

from indexer.core.errors import BadRequest
from service.api.openapi import SECURITY, answer, body, engine, failures
from service.api.parsing import Model, bytes_of, check, read_ask
from service.api.requests import ClassifyAsk, ExplainAsk, FacetsQuery, ProductPath, SearchAsk, SimilarQuery, TagsAsk
from service.api.responses import ClassifyAnswer, DescribeAnswer, ExplainAnswer, FacetsAnswer, SearchAnswer, TagsAnswer
from service.engine import Source

api = APIBlueprint("questions", __name__, url_prefix="/v1", abp_tags=[{"name": "questions"}], abp_security=SECURITY)


@api.post(
    "/classify",
    operation_id="classify",
    request_body=body(ClassifyAsk, files="image"),
    responses={200: ClassifyAnswer, **failures(400, 404, 409, 413, 415, 503)},
)
def classify() -> dict[str, Any]:
    """Categories of a photo or a product, best first.

    409 `no-categories` where the active model was never trained on any.
    """
    ask, source = read_ask(request, ClassifyAsk)
    return answer(engine().classify(source, min_sequence=ask.min_sequence, version=ask.version))


@api.post(
    "/search",
    operation_id="search",
    request_body=body(SearchAsk, files="image"),
    responses={200: SearchAnswer, **failures(400, 404, 410, 413, 415, 503)},
)
def search() -> dict[str, Any]:
    """Products that look like a photo or a stored product, or that a text tells of; one entry each, its best photo.

    Several inputs are one question. Always min(k, matches) results, counted after `filter`, `min_score` and `collapse`.
    `next_cursor` asks for the next page, of the same index version; 410 `cursor-gone` where that is gone.
    """
    ask, source = read_ask(request, SearchAsk)
    return answer(engine().search(source, **_wanted(ask)))


def _wanted(ask: SearchAsk | SimilarQuery) -> dict[str, Any]:
    """The parameters of ``Engine.search`` but what it is about."""
    return {name: getattr(ask, name) for name in SimilarQuery.model_fields}


@api.post(
    "/tags",
    operation_id="tags",
    request_body=body(TagsAsk, files="image"),
    responses={200: TagsAnswer, **failures(400, 404, 413, 415, 503)},
)
def tags() -> dict[str, Any]:
    """Tags voted by the most similar products, each with the products that support it."""
    ask, source = read_ask(request, TagsAsk)
    return answer(engine().tags(source, min_sequence=ask.min_sequence, version=ask.version))


@api.post(
    "/describe",
    operation_id="describe",
    request_body=body(SearchAsk, files="image"),
    responses={200: DescribeAnswer, **failures(400, 404, 410, 413, 415, 503)},
)
def describe() -> dict[str, Any]:
    """Categories, similar products and tags of a photo at once: it is sent, decoded and embedded one time.

    Takes what a search takes. Without categories in the model `categories` is empty and `unknown` null.
    """
    ask, source = read_ask(request, SearchAsk)
    return answer(engine().describe(source, **_wanted(ask)))


@api.post(
    "/explain",
    operation_id="explain",
    request_body=body(ExplainAsk, files="image"),
    responses={200: ExplainAnswer, **failures(400, 404, 409, 413, 415, 503)},
)
def explain() -> dict[str, Any]:
    """Heat maps: what in a photo speaks for a category, or what makes it similar to another photo, block by block.

    `heat` covers `box`, [x, y, width, height] in px of the upright photo, row by row from the top, in [0, 1].
    """
    ask, source = read_ask(request, ExplainAsk)
    state: dict[str, Any] = {"min_sequence": ask.min_sequence, "version": ask.version}
    if ask.with_ is None:
        return answer(engine().explain.category(source, ask.category_, **state))
    if ask.category_ is not None:
        raise BadRequest("explain a category or a pair: give category or with, not both")
    other = ask.with_
    if (other.image is None) == (other.product_id is None):
        raise BadRequest("with: give an image or a product_id")
    data = bytes_of(other.image, "with.image") if other.image else None
    pair = Source(image=data, product_id=other.product_id)
    return answer(engine().explain.pair(source, pair, **state))


@api.get(
    "/products/<product:product_id>/similar",
    operation_id="similar",
    responses={200: SearchAnswer, **failures(404, 410, 503)},
)
def similar(path: ProductPath) -> dict[str, Any]:
    """Products that look like a stored one, itself left out.

    Query: as in the body of a search: `k` (20; 1 to 1000), `exclude` (repeatable), `min_score`, `filter`, `weights`,
    `mix` (objects as JSON text), `collapse`, `explain`, `cursor`, `min_sequence`, `version`.
    """
    query = _query(SimilarQuery, repeatable="exclude")
    return answer(engine().similar(path.product_id, **_wanted(query)))


@api.get("/facets", operation_id="facets", responses={200: FacetsAnswer, **failures(503)})
def facets() -> dict[str, Any]:
    """How many products have which value: of each field the commonest values, of numbers and datetimes min and max.

    Query: `filter` (JSON text, as in a search) counts only products that pass it; `fields` (repeatable) only these
    fields; `limit` (20; 1 to 1000) values of each; `min_sequence`.
    """
    query = _query(FacetsQuery, repeatable="fields")
    return answer(
        engine().facets(filter=query.filter, fields=query.fields, limit=query.limit, min_sequence=query.min_sequence)
    )


def _query(model: type[Model], *, repeatable: str) -> Model:
    # Read here: the document's query model cannot take repeated fields and refuse unknown ones at once.
    given: dict[str, Any] = {}
    for name in request.args:
        values = request.args.getlist(name)
        given[name] = values if name == repeatable or len(values) > 1 else values[0]
    return check(model, given)
