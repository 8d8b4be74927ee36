"""Routes of index versions: list, build, compare, activate, roll back.

One blueprint holds a path: the OpenAPI document keeps the last one's.
"""

from __future__ import annotations

from typing import Any

from flask import request
from flask_openapi import APIBlueprint

from service.api.openapi import SECURITY, JsonResponse, answer, engine, json_body, problem_responses
from service.api.parsing import read_json
from service.api.requests import BuildRequest, RollbackRequest, VersionPath
from service.api.responses import (
    ActivateResponse,
    ComparisonResponse,
    IndexesResponse,
    JobResponse,
)
from service.api.routes.jobs import accepted

api = APIBlueprint(
    "indexes", __name__, url_prefix="/v1", abp_tags=[{"name": "indexes"}], abp_security=SECURITY
)


@api.get(
    "/indexes",
    operation_id="list_indexes",
    responses={200: IndexesResponse, **problem_responses(503)},
)
def list_indexes() -> JsonResponse:
    """The published index versions."""
    return answer(engine().versions.list())


@api.post(
    "/indexes",
    operation_id="build_index",
    request_body=json_body(BuildRequest),
    responses={202: JobResponse, **problem_responses(400, 415, 503, 507)},
)
def build_index() -> Any:
    """Build an index version of the whole catalog, and activate it unless `activate` is false; 202
    and a job."""
    return accepted(engine().jobs.add_build(**read_json(request, BuildRequest).model_dump()))


@api.get(
    "/indexes/<string:version>/comparison",
    operation_id="compare_index",
    responses={200: ComparisonResponse, **problem_responses(404, 409, 503)},
)
def compare_index(path: VersionPath) -> JsonResponse:
    """What changes where a version is activated: categories, tags, products it was built without,
    and the measured recall and accuracy of both."""
    return answer(engine().versions.compare(path.version))


@api.post(
    "/indexes:rollback",
    operation_id="rollback_index",
    request_body=json_body(RollbackRequest),
    responses={200: ActivateResponse, **problem_responses(400, 404, 409, 412, 415)},
)
def rollback_index() -> JsonResponse:
    """Undo the last activation: the version that served before serves again, with its model.

    `instead_of` names the version that was seen active; where another is by now, it is 412
    `changed` and nothing happens. A second call returns.
    """
    wanted = read_json(request, RollbackRequest)
    return answer(engine().versions.roll_back(instead_of=wanted.instead_of))


@api.post(
    "/indexes/<string:version>:activate",
    operation_id="activate_index",
    responses={200: ActivateResponse, **problem_responses(404, 409)},
)
def activate_index(path: VersionPath) -> JsonResponse:
    """Switch to a version with the model it was built for, as one; checked in full first."""
    return answer(engine().versions.activate(path.version))
