"""Routes of actions: what was done and by whom, and its undo."""

from __future__ import annotations

from typing import Annotated

from flask import request
from flask_openapi import APIBlueprint
from pydantic import BaseModel, Field, StrictBool

from service.api.openapi import SECURITY, JsonResponse, answer, engine, json_body, problem_responses
from service.api.parsing import read_json
from service.api.requests import RequestModel
from service.api.responses import ActionsResponse, JobResponse, UndoResponse
from service.api.routes.jobs import accepted

api = APIBlueprint(
    "actions", __name__, url_prefix="/v1", abp_tags=[{"name": "actions"}], abp_security=SECURITY
)


class ActionPath(BaseModel):
    name: str


class ActionsQuery(RequestModel):
    """Which actions."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    writes: bool = Field(default=False, description="Single writes too.")


class UndoRequest(RequestModel):
    """How an action is undone."""

    dry_run: StrictBool = Field(default=False, description="Only say what would come back.")
    background: StrictBool = Field(
        default=False,
        description="Of more than 1,000 products: 202 and a job, which can be followed and "
        "cancelled; fewer are answered at once.",
    )


@api.get(
    "/actions",
    operation_id="list_actions",
    responses={200: ActionsResponse, **problem_responses(503)},
)
def list_actions(query: ActionsQuery) -> JsonResponse:
    """Imports, bulk edits, maps of categories, activations and decisions: by whom, and whether they
    can be undone; the newest first."""
    return answer(engine().actions.list(limit=query.limit, writes=query.writes))


@api.post(
    "/actions/<string:name>:undo",
    operation_id="undo_action",
    request_body=json_body(UndoRequest),
    responses={
        200: UndoResponse,
        202: JobResponse,
        **problem_responses(400, 404, 409, 412, 415, 503, 507),
    },
)
def undo_action(path: ActionPath) -> JsonResponse:
    """Take an action back, up to 30 days after it.

    A value comes back where it is still as the action left it: what somebody changed since stays
    (`skipped`), and so do erased products. The undo is an action itself, `undone_by`. With
    `background` a long one is a job, whose `result` is what is answered here; one that is cancelled
    leaves what came back, and undoing the action again goes on.
    """
    wanted = read_json(request, UndoRequest)
    if wanted.background and engine().actions.is_long(path.name):
        return accepted(engine().jobs.add_undo(path.name, dry_run=wanted.dry_run))
    return answer(engine().actions.undo(path.name, dry_run=wanted.dry_run))
