"""Fields of request bodies that are not for every role."""

from __future__ import annotations

from collections.abc import Mapping

from flask import g, has_request_context
from pydantic import BaseModel

from service.access.caller import Caller
from service.access.refusal import RequestRefusedError
from service.api.requests import FeedbackRequest
from service.query.query import SnapshotSelector

# Closed to `search` keys, which anybody can read in a shop's page. A version beside the serving one
# is opened for the question, with its model, and may be none that shoppers should see. Tags and
# categories of feedback are trained on; a shopper's page says what was clicked.
STAFF_FIELDS: Mapping[type[BaseModel], tuple[str, ...]] = {
    SnapshotSelector: ("version",),
    FeedbackRequest: ("accepted", "rejected", "added", "category", "product_id"),
}


def check_fields(given: BaseModel) -> None:
    """Raise ``RequestRefusedError`` 403 for a field that is not of the caller's role."""
    caller: Caller | None = g.get("caller") if has_request_context() else None
    if caller is None or caller.role != "search":
        return
    for model, names in STAFF_FIELDS.items():
        if not isinstance(given, model):
            continue
        for name in names:
            if getattr(given, name):
                raise RequestRefusedError(
                    403,
                    "forbidden",
                    f"the key {caller.name!a} has the role search, and {name} is for write, "
                    "review and admin: leave it out, or use a key of such a role",
                )
