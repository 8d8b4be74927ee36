"""Host and origin of a request: which names are served, whose pages may ask."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from service.access.refusal import RequestRefusedError
from service.settings import Settings


def check_host(headers: Mapping[str, str], settings: Settings) -> None:
    """Raise ``RequestRefusedError`` where ``Host`` is no name that is served here."""
    if not settings.hosts:
        return
    name = _host_name(headers.get("host", ""))
    if name in settings.hosts:
        return
    detail = "the request names no host: send the header Host"
    if name:
        detail = (
            f"host {name!r} is not served here: allow it (setting allowed_hosts), or name the "
            "public address (setting public_url)"
        )
    raise RequestRefusedError(403, "forbidden-host", detail)


def check_origin(headers: Mapping[str, str], settings: Settings, *, shared: bool) -> None:
    """Raise ``RequestRefusedError`` where a browser asks for a page of another site.

    ``shared``: the route is one that such pages can be allowed to call.
    """
    origin = headers.get("origin")
    if origin is not None and not is_own_origin(origin, headers, settings):
        detail = f"requests from pages of {origin} are not taken"
        if is_web_origin(origin):
            detail += (
                f"; if that is this service behind a reverse proxy, set public_url to {origin}"
            )
            if shared:
                detail += (
                    f"; if that is a shop's page that may search, add {origin} to the setting "
                    "allowed_origins"
                )
        raise RequestRefusedError(403, "forbidden-origin", detail)
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise RequestRefusedError(
            403, "forbidden-origin", "requests from pages of other sites are not taken"
        )


def is_own_origin(origin: str, headers: Mapping[str, str], settings: Settings) -> bool:
    """Whether the page of ``origin`` is the service's own."""
    public = settings.public_address.origin
    return (public != "" and origin.lower() == public) or _netloc(origin) == headers.get(
        "host", ""
    ).lower()


def is_web_origin(origin: str) -> bool:
    """Whether it is the address of a site, which can be allowed: not `null`, say."""
    return bool(_netloc(origin))


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
