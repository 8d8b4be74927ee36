"""Authentication: API keys, the Host header, the origin of a browser's writes."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from flask import Request

from service.api.errors import RequestRefusedError
from service.settings import Settings

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HEALTH = frozenset({"/livez", "/readyz"})  # probes name the machine as they like


def check(request: Request, settings: Settings) -> None:
    """Raise ``RequestRefusedError``: 403 for a foreign Host or Origin, 401 without a valid key on
    ``/v1`` and ``/metrics``."""
    if request.path not in _HEALTH:
        _check_host(request, settings)
    if request.method not in _SAFE:
        _check_origin(request, settings)
    # What a shop sells how often can be read from the numbers, so they take a key where its
    # products do.
    if settings.api_keys and (
        request.path in ("/v1", "/metrics") or request.path.startswith("/v1/")
    ):
        _check_key(request, settings.api_keys)


def _check_host(request: Request, settings: Settings) -> None:
    # A page of another site can point its own name at 127.0.0.1 (DNS rebinding); its requests then
    # carry that name. A key cannot be guessed by such a page, so with keys only what changes
    # something is checked.
    if not settings.hosts or (settings.api_keys and request.method in _SAFE):
        return
    name = _host_name(request.headers.get("Host", ""))
    if name not in settings.hosts:
        raise RequestRefusedError(
            403,
            "forbidden-host",
            f"host {name!r} is not served here: allow it by --allow-host {name} (setting "
            "allowed_hosts), or name the public address by --public-url",
        )


def _check_origin(request: Request, settings: Settings) -> None:
    origin = request.headers.get("Origin")
    own = origin is not None and origin.lower() == settings.public_address.origin
    if (
        origin is not None
        and not own
        and _netloc(origin) != request.headers.get("Host", "").lower()
    ):
        detail = f"requests from pages of {origin} are not taken"
        if _netloc(origin):
            detail += (
                "; if that is this service behind a reverse proxy, start it with --public-url "
                f"{origin} (setting public_url)"
            )
        raise RequestRefusedError(403, "forbidden-origin", detail)
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise RequestRefusedError(
            403, "forbidden-origin", "requests from pages of other sites are not taken"
        )


def _check_key(request: Request, keys: tuple[str, ...]) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    offered = given.strip().encode()
    # Every key is compared, and in constant time, so that the time taken says nothing.
    matches = [hmac.compare_digest(offered, key.encode()) for key in keys]
    if scheme.lower() != "bearer" or not any(matches):
        detail = (
            "an API key is needed: Authorization: Bearer KEY"
            if not given
            else "this API key is not known"
        )
        raise RequestRefusedError(
            401, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="catalens"'}
        )


def _host_name(host: str) -> str:
    """``Host`` without its port, lower case; brackets of an IPv6 address removed."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
