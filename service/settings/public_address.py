"""Public addresses: what browsers call the service by, and the sites that may ask it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")


@dataclass(frozen=True)
class PublicAddress:
    """Origin, host name and path prefix of a ``public_url``; all empty where there is none.

    ``origin`` as browsers send it, such as ``https://shop.example:8443``; ``prefix`` begins with a
    slash and ends without one.
    """

    origin: str = ""
    host: str = ""
    prefix: str = ""


def read_public_url(url: str) -> PublicAddress:
    """Read an address such as ``https://search.shop.example:8443/visual``.

    Raises ``ValueError`` that says what is wrong. A port that the scheme implies is left out, as
    browsers do.
    """
    if not url:
        return PublicAddress()
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as https://search.shop.example/visual")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must have no user, query or fragment")
    prefix = parts.path.rstrip("/")
    if not _PREFIX.fullmatch(prefix) or any(part in (".", "..") for part in prefix.split("/")):
        raise ValueError("must have a path of plain letters, digits, and . _ ~ - alone")
    name = parts.hostname.lower()
    shown = f"[{name}]" if ":" in name else name
    usual = {"http": 80, "https": 443}[parts.scheme]
    port = "" if parts.port in (None, usual) else f":{parts.port}"
    return PublicAddress(f"{parts.scheme}://{shown}{port}", name, prefix)


def read_origins(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Origins as browsers send them, of addresses such as ``https://shop.example``.

    Raises ``ValueError`` that says what is wrong.
    """
    found = []
    for url in urls:
        try:
            address = read_public_url(url)
        except ValueError:
            raise ValueError(
                f"must hold sites such as https://shop.example, not {url[:80]!r}"
            ) from None
        if address.prefix or not address.origin:
            raise ValueError(f"must hold sites without a path, not {url[:80]!r}")
        found.append(address.origin)
    return tuple(found)
