"""``GET /v1/whoami``: the caller's name and role, as the service knows them."""

from __future__ import annotations

from flask_openapi import APIBlueprint

from service.api.openapi import SECURITY, JsonResponse, answer, caller, engine, problem_responses
from service.api.responses import CallerInfo, CallerResponse

api = APIBlueprint(
    "access", __name__, url_prefix="/v1", abp_tags=[{"name": "access"}], abp_security=SECURITY
)


@api.get("/whoami", operation_id="whoami", responses={200: CallerResponse, **problem_responses()})
def whoami() -> JsonResponse:
    """The name and the role of who asks, as writes and decisions are logged.

    `name` is empty where no key is needed.
    """
    who = caller()
    return answer(engine().frame(CallerInfo(who.name, who.role)))
