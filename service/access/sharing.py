"""Sharing with pages of other sites (CORS): allowed origins, `search` keys, and their routes."""

from __future__ import annotations

from collections.abc import Mapping

from service.access.origin import is_own_origin
from service.access.roles import roles_for
from service.settings import Settings

_EXPOSED = "ETag, Location, Retry-After, X-Request-Id"
_ALLOWED_HEADERS = "Authorization, Content-Type, If-None-Match, X-Request-Id"
# How long a browser need not ask again, in seconds: two hours are Chrome's most.
_REMEMBERED_S = "7200"


def is_shared(method: str, rule: str | None) -> bool:
    """Whether pages of other sites may call a route: those of the role `search` alone."""
    return rule is not None and "search" in roles_for(method, rule)


def foreign_origin(headers: Mapping[str, str], settings: Settings) -> str | None:
    """The origin of another site's page that is allowed to ask; None for any other request."""
    origin = headers.get("origin")
    if origin is None or origin.lower() not in settings.allowed_origins:
        return None
    return None if is_own_origin(origin, headers, settings) else origin


def sharing_headers(origin: str | None) -> dict[str, str]:
    """Headers of an answer of a shared route: to the page of ``origin``, where one is allowed."""
    if origin is None:
        return {"Vary": "Origin"}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": _EXPOSED,
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Vary": "Origin",
    }


def headers_without_route(headers: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """Headers of a refusal that was made before any route was known: it holds nothing of the shop,
    and a page that cannot read it takes it for a broken network."""
    if not settings.allowed_origins:
        return {}
    return sharing_headers(foreign_origin(headers, settings))


def preflight_headers(origin: str, method: str) -> dict[str, str]:
    """Headers of the answer to a browser that asks whether it may call a shared route."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": method,
        "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
        "Access-Control-Max-Age": _REMEMBERED_S,
        "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
    }
