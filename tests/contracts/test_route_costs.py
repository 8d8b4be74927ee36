"""Every route says how its cost is bounded, and keeps to it: nobody holds the service by asking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import count
from typing import Any

import pytest
from flask.testing import FlaskClient

from indexer.core.timer import StageTimer
from service.engine import Engine
from service.inference.admission import OverloadedError
from tests.service.api.routes.test_queries import assert_problem, upload
from tests.service.conftest import photo, shop, template, web  # noqa: F401


class Bound(Enum):
    """What bounds the cost of a route."""

    # A turn in the admission, and the request's deadline.
    TURN = "turn"
    # The request's deadline, asked in each loop that the catalog or a client makes long.
    DEADLINE = "deadline"
    # Threads that all batches share, and the deadline of each item.
    POOL = "pool"
    # At most so many rows as a parameter may ask for, found by a key.
    PAGE = "page"
    # One row, one file, or what does not grow.
    CONSTANT = "constant"
    # What the body holds, which is bounded; it is written as one, and no answer is given up after
    # the commit.
    WRITE = "write"
    # A job, whose process has its own limits; the request puts it into a line of bounded length.
    JOB = "job"
    # A version of the index is checked in full and switched to: for admins, under the home's lock.
    SWITCH = "switch"
    # A bounded number of streams, each of bounded length.
    STREAM = "stream"


@dataclass(frozen=True)
class Route:
    """How a route is bounded, and a request to it that is answered with 200."""

    bound: Bound
    path: str = ""
    body: dict[str, Any] | None = None


PHOTO = {"image": "a photo"}
HISTORY = {"history": [{"product_id": "ring-blue"}]}
ROUTES = {
    "GET /": Route(Bound.CONSTANT),
    "GET /web/<name>": Route(Bound.CONSTANT),
    "GET /docs": Route(Bound.CONSTANT),
    "GET /docs/<path:name>": Route(Bound.CONSTANT),
    "GET /openapi.json": Route(Bound.CONSTANT),
    "GET /problems/<code>": Route(Bound.CONSTANT),
    "GET /livez": Route(Bound.CONSTANT),
    "GET /readyz": Route(Bound.CONSTANT),
    "GET /metrics": Route(Bound.CONSTANT),
    "GET /v1/whoami": Route(Bound.CONSTANT),
    "POST /v1/classify": Route(Bound.TURN, "/v1/classify", PHOTO),
    "POST /v1/search": Route(Bound.TURN, "/v1/search", PHOTO),
    "POST /v1/tags": Route(Bound.TURN, "/v1/tags", PHOTO),
    "POST /v1/describe": Route(Bound.TURN, "/v1/describe", PHOTO),
    "POST /v1/explain": Route(Bound.TURN, "/v1/explain", PHOTO),
    "POST /v1/objects": Route(Bound.TURN, "/v1/objects", PHOTO),
    "POST /v1/recommendations": Route(Bound.TURN, "/v1/recommendations", HISTORY),
    "POST /v1/review": Route(Bound.TURN, "/v1/review", PHOTO),
    "GET /v1/facets": Route(Bound.TURN, "/v1/facets"),
    "GET /v1/products/<product:product_id>/similar": Route(
        Bound.TURN, "/v1/products/ring-blue/similar"
    ),
    "POST /v1/classify:batch": Route(Bound.POOL),
    "POST /v1/search:batch": Route(Bound.POOL),
    "POST /v1/tags:batch": Route(Bound.POOL),
    "GET /v1/classes": Route(Bound.DEADLINE, "/v1/classes"),
    "POST /v1/classes": Route(Bound.DEADLINE),
    "GET /v1/schema": Route(Bound.DEADLINE, "/v1/schema"),
    "PATCH /v1/schema": Route(Bound.DEADLINE, "/v1/schema", {"types": {"colour": "string"}}),
    "GET /v1/actions": Route(Bound.DEADLINE, "/v1/actions"),
    "GET /v1/indexes": Route(Bound.DEADLINE, "/v1/indexes"),
    "GET /v1/indexes/<string:version>/comparison": Route(
        Bound.DEADLINE, "/v1/indexes/v000001/comparison"
    ),
    "GET /v1/imports": Route(Bound.DEADLINE, "/v1/imports"),
    # Two thousand products of one version, placed once and kept.
    "GET /v1/map": Route(Bound.PAGE),
    "GET /v1/products": Route(Bound.PAGE),
    "GET /v1/reviews": Route(Bound.PAGE),
    # A hundred that ended and twenty that wait are remembered.
    "GET /v1/jobs": Route(Bound.PAGE),
    "GET /v1/products/<product:product_id>": Route(Bound.CONSTANT),
    "GET /v1/images/<hash>": Route(Bound.CONSTANT),
    "GET /v1/jobs/<string:job_id>": Route(Bound.CONSTANT),
    "GET /v1/reviews/<string:name>": Route(Bound.CONSTANT),
    "GET /v1/reviews/<string:name>/photos/<string:position>": Route(Bound.CONSTANT),
    "POST /v1/reviews/<string:name>:decide": Route(Bound.WRITE),
    "POST /v1/reviews/<string:name>:undo": Route(Bound.WRITE),
    "POST /v1/feedback": Route(Bound.WRITE),
    "PUT /v1/products/<product:product_id>": Route(Bound.WRITE),
    "PATCH /v1/products/<product:product_id>": Route(Bound.WRITE),
    "DELETE /v1/products/<product:product_id>": Route(Bound.WRITE),
    "POST /v1/products:batch": Route(Bound.WRITE),
    "DELETE /v1/classes": Route(Bound.WRITE),
    # With `background` a job where it is long.
    "POST /v1/actions/<string:name>:undo": Route(Bound.WRITE),
    "POST /v1/imports": Route(Bound.JOB),
    "DELETE /v1/jobs/<string:job_id>": Route(Bound.JOB),
    "POST /v1/indexes": Route(Bound.JOB),
    "POST /v1/indexes/<string:version>:activate": Route(Bound.SWITCH),
    "POST /v1/indexes:rollback": Route(Bound.SWITCH),
    "GET /v1/jobs/<string:job_id>/events": Route(Bound.STREAM),
}


def ask(client: FlaskClient, name: str, number: int) -> Any:
    """The answer to a route's request, about a photo that nobody asked about before."""
    route = ROUTES[name]
    if route.body == PHOTO:
        return client.post(route.path, data=upload(photo("ring", "blue", turn=number)))
    return client.open(route.path, method=name.partition(" ")[0], json=route.body)


def test_every_route_has_its_bound(web: FlaskClient) -> None:  # noqa: F811
    """A new route says in this table what bounds its cost."""
    served = {
        f"{method} {rule.rule}"
        for rule in web.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == set(ROUTES)


@contextmanager
def crowded() -> Iterator[None]:
    """A turn that nobody gets."""
    raise OverloadedError("many wait")
    yield


NUMBERS = count(1)
TURNS = [name for name, route in ROUTES.items() if route.bound is Bound.TURN]
DEADLINES = [name for name, route in ROUTES.items() if route.bound is Bound.DEADLINE and route.path]


@pytest.mark.parametrize("name", TURNS)
def test_what_takes_a_turn_waits_for_it(
    shop: Engine,  # noqa: F811
    web: FlaskClient,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Where nobody more may wait it is 503, with when to ask again."""
    monkeypatch.setattr(shop.admission, "turn", crowded)
    refused = ask(web, name, next(NUMBERS))
    assert_problem(refused, 503, "overloaded")
    assert refused.headers["Retry-After"] == "1"


@pytest.mark.parametrize("name", [*TURNS, *DEADLINES])
def test_what_has_a_deadline_keeps_it(
    web: FlaskClient,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    """Once it is over nothing is computed any more: 503, with when to ask again."""
    monkeypatch.setattr(StageTimer, "elapsed", lambda _: 1e9)
    late = ask(web, name, next(NUMBERS))
    assert_problem(late, 503, "deadline-exceeded")
    assert late.headers["Retry-After"] == "1"
    assert "deadline" in late.get_json()["detail"]


@pytest.mark.parametrize("name", [*TURNS, *DEADLINES])
def test_in_time_it_is_answered(web: FlaskClient, name: str) -> None:  # noqa: F811
    """The requests of this table are sound."""
    assert ask(web, name, next(NUMBERS)).status_code == 200
