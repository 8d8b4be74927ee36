"""Roles and routes: what each key may call."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from service.access.keys import KeyFile
from service.access.roles import PUBLIC, ROLES, ROUTES, RouteRule
from service.engine import Engine
from tests.service.api.routes.test_queries import assert_problem


def test_every_route_has_its_roles(web: FlaskClient) -> None:
    """A route is public or stands in the table with its method, and each row is a route."""
    served = {
        RouteRule(method, rule.rule)
        for rule in web.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    public = {route for route in served if route.rule in PUBLIC}
    assert {route.rule for route in public} == PUBLIC
    assert {route.method for route in public} == {"GET"}
    assert served - public == set(ROUTES)


# What a key in a shop's page must not reach: what changes something, and what tells of the shop.
CLOSED_TO_SEARCH = (
    ("PUT", "/v1/products/ring-blue"),
    ("PATCH", "/v1/products/ring-blue"),
    ("DELETE", "/v1/products/ring-blue"),
    ("POST", "/v1/products:batch"),
    ("POST", "/v1/imports"),
    ("GET", "/v1/imports"),
    ("GET", "/v1/jobs"),
    ("GET", "/v1/jobs/x"),
    ("DELETE", "/v1/jobs/x"),
    ("GET", "/v1/jobs/x/events"),
    ("GET", "/v1/reviews"),
    ("GET", "/v1/reviews/x"),
    ("GET", "/v1/reviews/x/photos/0"),
    ("POST", "/v1/reviews/x:decide"),
    ("POST", "/v1/review"),
    ("GET", "/v1/indexes"),
    ("POST", "/v1/indexes"),
    ("POST", "/v1/indexes/v000001:activate"),
    ("GET", "/v1/schema"),
    ("PATCH", "/v1/schema"),
    ("GET", "/v1/map"),
    ("GET", "/v1/classes"),
    ("POST", "/v1/classes"),
    ("DELETE", "/v1/classes"),
    ("GET", "/metrics"),
    ("HEAD", "/metrics"),
)


def test_a_role_reaches_its_routes_alone(own: Engine, open_web: Callable[..., FlaskClient]) -> None:
    """403 `forbidden` names the roles; a writer does not decide, a reviewer does not write, and
    neither switches the index."""
    keys = KeyFile(own.home)
    bearer = {
        role: {"Authorization": f"Bearer {keys.create(f'{role}-one', role).key}"} for role in ROLES
    }
    web = open_web()
    for method, path in CLOSED_TO_SEARCH:
        refused = web.open(path, method=method, headers=bearer["search"])
        if method != "HEAD":
            assert_problem(refused, 403, "forbidden")
        assert refused.status_code == 403, (method, path)
    for path in ("/v1/facets", "/v1/products", "/v1/products/ring-blue/similar", "/v1/whoami"):
        for role in ROLES:
            assert web.get(path, headers=bearer[role]).status_code == 200, (role, path)
    said = web.get("/v1/whoami", headers=bearer["search"]).get_json()
    assert (said["name"], said["role"]) == ("search-one", "search")
    for role, method, path in (
        ("write", "GET", "/v1/reviews"),
        ("write", "POST", "/v1/reviews/x:decide"),
        ("write", "POST", "/v1/indexes"),
        ("write", "POST", "/v1/indexes/v000001:activate"),
        ("review", "PUT", "/v1/products/ring-blue"),
        ("review", "DELETE", "/v1/products/ring-blue"),
        ("review", "POST", "/v1/imports"),
        ("review", "POST", "/v1/indexes/v000001:activate"),
    ):
        refused = web.open(path, method=method, headers=bearer[role])
        assert_problem(refused, 403, "forbidden")
        assert role in refused.get_json()["detail"]
    change = {"title": "new"}
    path = "/v1/products/cross-red"
    assert web.patch(path, json=change, headers=bearer["write"]).status_code == 200
    assert web.get("/v1/reviews", headers=bearer["review"]).status_code == 200
    assert web.get("/v1/indexes", headers=bearer["admin"]).status_code == 200
    # What is not there is 404 for whoever has a key, 401 for others.
    assert_problem(web.get("/v1/nothing", headers=bearer["search"]), 404, "not-found")
    assert_problem(web.get("/v1/nothing"), 401, "unauthorized")


@pytest.mark.parametrize("path", ["//v1/reviews", "/v1/./reviews", "/v1/%72eviews", "/V1/reviews"])
def test_no_spelling_of_a_path_goes_round_the_roles(
    own: Engine, open_web: Callable[..., FlaskClient], path: str
) -> None:
    """Roles are looked up by the rule that routing found, not by the text of the path."""
    key = KeyFile(own.home).create("page", "search").key
    found = open_web().get(
        path,
        headers={"Authorization": f"Bearer {key}"},
        environ_overrides={"REQUEST_URI": path},
    )
    assert found.status_code in (403, 404)


def test_a_search_key_names_no_version_and_teaches_nothing(
    own: Engine, open_web: Callable[..., FlaskClient]
) -> None:
    """Shoppers open no version beside the serving one, and what is trained on is said by staff:
    their feedback is what was clicked."""
    keys = KeyFile(own.home)
    shopper, writer = (
        {"Authorization": f"Bearer {keys.create(role, role).key}"} for role in ("search", "write")
    )
    web = open_web()
    pinned = {"product_id": "ring-blue", "version": "v000001"}
    for path in ("search", "tags", "classify"):
        assert_problem(web.post(f"/v1/{path}", json=pinned, headers=shopper), 403, "forbidden")
        assert web.post(f"/v1/{path}", json=pinned, headers=writer).status_code == 200
    similar = "/v1/products/ring-blue/similar?version=v000001"
    assert_problem(web.get(similar, headers=shopper), 403, "forbidden")
    found = web.post("/v1/search", json={"product_id": "ring-blue"}, headers=shopper).get_json()
    request_id, best = found["request_id"], found["results"][0]["product_id"]
    for name, value in (
        ("accepted", ["ring"]),
        ("rejected", ["ring"]),
        ("added", ["free text"]),
        ("category", ["Shapes", "cross"]),
        ("product_id", "ring-blue"),
    ):
        body = {"request_id": request_id, "clicked": [best], name: value}
        refused = web.post("/v1/feedback", json=body, headers=shopper)
        assert_problem(refused, 403, "forbidden")
        assert name in refused.get_json()["detail"]
    clicked = {"request_id": request_id, "clicked": [best]}
    assert web.post("/v1/feedback", json=clicked, headers=shopper).status_code == 200
