"""Index versions: list, activate."""

from __future__ import annotations

from typing import Any

from flask_openapi import APIBlueprint

from service.api.common import SECURITY, answer, engine, failures
from service.replies import ActivateAnswer, IndexesAnswer
from service.schemas import VersionPath

api = APIBlueprint("indexes", __name__, url_prefix="/v1", abp_tags=[{"name": "indexes"}], abp_security=SECURITY)


@api.get("/indexes", operation_id="list_indexes", responses={200: IndexesAnswer, **failures()})
def list_indexes() -> dict[str, Any]:
    """The published index versions."""
    return answer(engine().indexes())


@api.post(
    "/indexes/<string:version>:activate",
    operation_id="activate_index",
    responses={200: ActivateAnswer, **failures(404, 409)},
)
def activate_index(path: VersionPath) -> dict[str, Any]:
    """Switch to a version with the model it was built for, as one; checked in full first."""
    return answer(engine().activate(path.version))
