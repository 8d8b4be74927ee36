"""Roles of callers, and what each may call: every route of the service is a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["search", "write", "review", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)

_EVERYONE = frozenset(ROLES)
_STAFF = _EVERYONE - {"search"}

# What needs no key: the page, the documents and the probes.
PUBLIC = frozenset(
    {
        "/",
        "/web/<name>",
        "/docs",
        "/docs/<path:name>",
        "/openapi.json",
        "/problems/<code>",
        "/livez",
        "/readyz",
    }
)

# A shopper's browser holds a `search` key: whatever it may call, anybody may. So it lists nothing,
# and reads nothing that tells how the shop works: reviews, jobs, versions, owners of fields.
_SEARCH = (
    "GET /v1/whoami",
    "POST /v1/classify",
    "POST /v1/search",
    "POST /v1/tags",
    "POST /v1/describe",
    "POST /v1/explain",
    "POST /v1/objects",
    "POST /v1/recommendations",
    "POST /v1/classify:batch",
    "POST /v1/search:batch",
    "POST /v1/tags:batch",
    "POST /v1/feedback",
    "GET /v1/facets",
    "GET /v1/images/<hash>",
    "GET /v1/products",
    "GET /v1/products/<product:product_id>",
    "GET /v1/products/<product:product_id>/similar",
)
_READ_BY_STAFF = (
    "GET /metrics",
    "GET /v1/classes",
    "GET /v1/actions",
    "GET /v1/indexes",
    "GET /v1/indexes/<string:version>/comparison",
    "GET /v1/map",
    "GET /v1/schema",
)
_WRITE = (
    "PUT /v1/products/<product:product_id>",
    "PATCH /v1/products/<product:product_id>",
    "DELETE /v1/products/<product:product_id>",
    "POST /v1/products:batch",
    "POST /v1/classes",
    "DELETE /v1/classes",
    "PATCH /v1/schema",
    "GET /v1/imports",
    "POST /v1/imports",
    "GET /v1/jobs",
    "GET /v1/jobs/<string:job_id>",
    "DELETE /v1/jobs/<string:job_id>",
    "GET /v1/jobs/<string:job_id>/events",
)
_REVIEW = (
    "GET /v1/reviews",
    "GET /v1/reviews/<string:name>",
    "GET /v1/reviews/<string:name>/photos/<string:position>",
    "POST /v1/reviews/<string:name>:decide",
    "POST /v1/reviews/<string:name>:undo",
)
# A review of a new listing is asked for by who judges listings, and by who writes them.
_WRITE_OR_REVIEW = ("POST /v1/review",)
_ADMIN = (
    "POST /v1/indexes",
    "POST /v1/indexes/<string:version>:activate",
    "POST /v1/indexes:rollback",
    "POST /v1/actions/<string:name>:undo",
)


@dataclass(frozen=True)
class RouteRule:
    """A method and a rule of the URL map, as one key of ``ROUTES``."""

    method: str
    rule: str


def _rows(names: tuple[str, ...], roles: frozenset[Role]) -> dict[RouteRule, frozenset[Role]]:
    return {RouteRule(*name.split(" ", 1)): roles for name in names}


# Route -> who may call it. What is not in it is for `admin` alone.
ROUTES: Mapping[RouteRule, frozenset[Role]] = {
    **_rows(_SEARCH, _EVERYONE),
    **_rows(_READ_BY_STAFF, _STAFF),
    **_rows(_WRITE, frozenset({"write", "admin"})),
    **_rows(_REVIEW, frozenset({"review", "admin"})),
    **_rows(_WRITE_OR_REVIEW, _STAFF),
    **_rows(_ADMIN, frozenset({"admin"})),
}


def roles_for(method: str, rule: str) -> frozenset[Role]:
    """Who may call a route; `admin` alone where the table does not name it."""
    return ROUTES.get(RouteRule("GET" if method == "HEAD" else method, rule), frozenset({"admin"}))
