"""Sharing with pages of other sites: `search` keys, their routes, and allowed origins alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from service.access.keys import KeyFile
from service.engine import Engine
from tests.service.api.routes.test_queries import assert_problem

SHOP = "https://shop.example"
QUESTION = {"product_id": "cross-red", "k": 1}


def preflight(web: FlaskClient, path: str, method: str, origin: str = SHOP):  # type: ignore[no-untyped-def]
    """What a browser asks before it sends a key."""
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type",
        "Sec-Fetch-Site": "cross-site",
    }
    return web.options(path, headers=headers)


def shared(response) -> str | None:  # type: ignore[no-untyped-def]
    found: str | None = response.headers.get("Access-Control-Allow-Origin")
    return found


def test_a_shops_page_may_search(own: Engine, open_web: Callable[..., FlaskClient]) -> None:
    """The preflight, which carries no key, and the answer name the page's origin; so does the
    answer to a wrong key, which the page could else not read."""
    key = KeyFile(own.home).create("page", "search").key
    web = open_web(allowed_origins=(f"{SHOP}:443", "http://localhost:3000"))
    asked = preflight(web, "/v1/search", "POST")
    assert (asked.status_code, shared(asked)) == (204, SHOP)
    assert "authorization" in asked.headers["Access-Control-Allow-Headers"].lower()
    assert asked.headers["Access-Control-Allow-Methods"] == "POST"
    assert "Access-Control-Allow-Credentials" not in asked.headers
    headers = {
        "Origin": SHOP,
        "Sec-Fetch-Site": "cross-site",
        "Authorization": f"Bearer {key}",
    }
    answer = web.post("/v1/search", json=QUESTION, headers=headers)
    assert (answer.status_code, shared(answer)) == (200, SHOP)
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    image = answer.get_json()["results"][0]["image_url"]
    photo = web.get(image, headers=headers)
    assert (photo.status_code, shared(photo)) == (200, SHOP)
    wrong = web.post(
        "/v1/search", json=QUESTION, headers={**headers, "Authorization": "Bearer unknown"}
    )
    assert_problem(wrong, 401, "unauthorized")
    assert shared(wrong) == SHOP
    own_page = web.post(
        "/v1/search",
        json=QUESTION,
        headers={"Origin": "http://localhost", "Authorization": f"Bearer {key}"},
    )
    assert (own_page.status_code, shared(own_page)) == (200, None)
    assert own_page.headers["Vary"] == "Origin"


@pytest.mark.parametrize("role", ["write", "review", "admin"])
def test_no_other_role_asks_from_a_page_of_others(
    own: Engine, open_web: Callable[..., FlaskClient], role: str
) -> None:
    """A key that can do more does not belong into a page; nor may a page ask without a key."""
    web = open_web(allowed_origins=(SHOP,))
    headers = {"Origin": SHOP, "Sec-Fetch-Site": "cross-site"}
    assert_problem(web.post("/v1/search", json=QUESTION, headers=headers), 403, "forbidden-origin")
    key = KeyFile(own.home).create("one", role).key  # type: ignore[arg-type]
    headers["Authorization"] = f"Bearer {key}"
    for response in (
        web.post("/v1/search", json=QUESTION, headers=headers),
        web.get("/v1/products/cross-red", headers=headers),
        web.patch("/v1/products/cross-red", json={"title": "x"}, headers=headers),
    ):
        assert_problem(response, 403, "forbidden-origin")


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/products/cross-red", "PUT"),
        ("/v1/products/cross-red", "DELETE"),
        ("/v1/indexes", "GET"),
        ("/v1/reviews", "GET"),
        ("/metrics", "GET"),
        ("/v1/schema", "GET"),
        ("/v1/nothing", "GET"),
        ("/livez", "GET"),
    ],
)
def test_what_is_not_for_search_is_not_shared(
    own: Engine, open_web: Callable[..., FlaskClient], path: str, method: str
) -> None:
    """Neither the preflight nor an answer names the origin, even where the key is right."""
    key = KeyFile(own.home).create("boss", "admin").key
    web = open_web(allowed_origins=(SHOP,))
    refused = preflight(web, path, method)
    assert_problem(refused, 403, "forbidden-origin")
    assert shared(refused) is None
    headers = {"Origin": SHOP, "Authorization": f"Bearer {key}"}
    assert shared(web.open(path, method=method, headers=headers)) is None


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "https://shop.example.evil.example",
        "http://shop.example",
        "",
    ],
)
def test_other_origins_are_refused_with_the_settings_name(
    own: Engine, open_web: Callable[..., FlaskClient], origin: str
) -> None:
    key = KeyFile(own.home).create("page", "search").key
    web = open_web(allowed_origins=(SHOP,))
    refused = preflight(web, "/v1/search", "POST", origin)
    assert_problem(refused, 403, "forbidden-origin")
    detail = refused.get_json()["detail"]
    assert "setting allowed_origins" in detail
    assert (f"add {origin}" in detail) == origin.startswith("http")  # others cannot be allowed
    headers = {"Origin": origin, "Authorization": f"Bearer {key}"}
    answer = web.post("/v1/search", json=QUESTION, headers=headers)
    assert_problem(answer, 403, "forbidden-origin")
    assert shared(answer) is None
