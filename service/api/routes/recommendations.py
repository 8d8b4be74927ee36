"""``POST /v1/recommendations``: products that suit what a shopper viewed, saved or bought."""

from __future__ import annotations

from flask import request
from flask_openapi import APIBlueprint

from service.api.openapi import (
    SECURITY,
    JsonResponse,
    answer_suggestions,
    engine,
    json_body,
    problem_responses,
)
from service.api.parsing import read_json
from service.api.requests import RecommendRequest
from service.api.responses import RecommendResponse
from service.query.recommend import Event

api = APIBlueprint(
    "recommendations",
    __name__,
    url_prefix="/v1",
    abp_tags=[{"name": "questions"}],
    abp_security=SECURITY,
)


@api.post(
    "/recommendations",
    operation_id="recommend",
    request_body=json_body(RecommendRequest),
    responses={200: RecommendResponse, **problem_responses(400, 404, 409, 415, 503)},
)
def recommend() -> JsonResponse:
    """Products for a shopper: several interests found in the history, the best of each, diverse,
    with a reason each.

    Nothing of the history and nothing out of stock is recommended. Products of the history that are
    not known come back in `unknown_products` and the rest is used; 404 where none is known, 422 for
    an empty history. With `mode` "complete" 409 `no-orders` where no imported order says what goes
    with the history. `score` falls from 1.
    """
    ask = read_json(request, RecommendRequest)
    history = [Event(event.product_id, event.weight, event.time) for event in ask.history]
    return answer_suggestions(engine().recommend(history, ask))
