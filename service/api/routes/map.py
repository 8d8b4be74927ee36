"""The catalog as a map."""

from __future__ import annotations

from flask_openapi import APIBlueprint

from service.api.openapi import SECURITY, JsonResponse, answer, engine, problem_responses
from service.api.requests import MapQuery
from service.api.responses import MapResponse

api = APIBlueprint(
    "maps", __name__, url_prefix="/v1", abp_tags=[{"name": "indexes"}], abp_security=SECURITY
)


@api.get("/map", operation_id="map", responses={200: MapResponse, **problem_responses(503)})
def catalog_map(query: MapQuery) -> JsonResponse:
    """Products as points, alike ones near each other: the two directions in which their embeddings
    differ most.

    At most 2,000 products, spread evenly over the serving index version; `x` and `y` in [-1, 1].
    `explained` is the share of the variance that these two directions show.
    """
    return answer(engine().map(limit=query.limit))
