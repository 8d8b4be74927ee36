"""Access control: decides by a request's headers whether it is answered, and names the caller."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from indexer.core.errors import BadSettingsError
from indexer.core.home import Home
from service.access.addresses import TrustedProxies, network_of
from service.access.caller import Caller
from service.access.key_ring import KeyHolder, KeyRing
from service.access.origin import check_host, check_origin, is_web_origin
from service.access.rate_limit import RateLimit, RateLimiter
from service.access.refusal import RequestRefusedError
from service.access.roles import PUBLIC, roles_for
from service.access.sharing import foreign_origin, is_shared, preflight_headers
from service.settings import Settings, is_loopback

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HEALTH = frozenset({"/livez", "/readyz"})  # probes name the machine as they like
_LONGEST_NAME = 100


class AccessControl:
    """Who may ask what, and how much of it. Safe to call from many threads."""

    def __init__(self, settings: Settings, home: Home, log: Any) -> None:
        """Raises as ``open_keys``."""
        self.keys = open_keys(settings, home, log)
        self._settings = settings
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._limiter = RateLimiter(home, log)

    def authorize(
        self, method: str, path: str, rule: str | None, headers: Mapping[str, str], peer: str
    ) -> Caller:
        """Who asks; nothing of the body is needed, and the request is counted.

        ``rule`` of the URL map, None where nothing is at ``path``; ``headers`` by lower-case
        names; ``peer``: address of the connection. Raises ``RequestRefusedError``: 403 for a
        foreign Host or Origin or for a route that is not of the caller's role, 401 without a valid
        key where one is needed, 429 beyond the limit of the key or the address.
        """
        settings = self._settings
        if path not in _HEALTH and (method not in _SAFE or not self.keys.is_needed):
            # A page of another site can point its own name at 127.0.0.1 (DNS rebinding); its
            # requests then carry that name. It cannot guess a key, so with keys only what changes
            # something is checked.
            check_host(headers, settings)
        shared = is_shared(method, rule)
        origin = foreign_origin(headers, settings) if shared else None
        if method not in _SAFE and origin is None:
            check_origin(headers, settings, shared=shared)
        address = self._proxies.client(peer, headers)
        if rule in PUBLIC or (rule is None and not _needs_key(path)):
            return Caller("", None, address)
        holder = self._find_key(headers.get("authorization", ""))
        if holder is None or holder.role == "search":
            self._count_address(address)
        if holder is None and self.keys.is_needed:
            raise _unknown_key(headers.get("authorization", ""))
        caller = Caller(
            self._name(headers, peer) or ("" if holder is None else holder.name),
            "admin" if holder is None else holder.role,
            address,
        )
        if origin is not None and caller.role != "search":
            raise RequestRefusedError(
                403,
                "forbidden-origin",
                f"pages of {origin} ask with a key of the role search: what lies in a page is read "
                "by everybody",
            )
        self.require(caller, method, rule)
        if holder is not None:
            self._count_key(holder)
        return caller

    def confirm(self, caller: Caller, method: str, rule: str | None, authorization: str) -> Caller:
        """``caller``, found by the head of a request a while ago (its body may take an hour), as
        the keys are now. Nothing is counted. Raises ``RequestRefusedError``: 401 where the key was
        revoked or its secret ended, 403 where a route is not of the caller's role any more."""
        if caller.role is not None:
            holder = self._find_key(authorization)
            if holder is None and self.keys.is_needed:
                raise _unknown_key(authorization)
            caller = replace(caller, role="admin" if holder is None else holder.role)
        self.require(caller, method, rule)
        return caller

    def require(self, caller: Caller, method: str, rule: str | None) -> None:
        """Raise ``RequestRefusedError`` 403 where a route is not of the caller's role."""
        if rule is None or rule in PUBLIC or method == "OPTIONS":
            return
        roles = roles_for(method, rule)
        if caller.role not in roles:
            raise RequestRefusedError(
                403,
                "forbidden",
                f"the key {caller.name!a} has the role {caller.role}, and this call is for "
                f"{' or '.join(sorted(roles))}: use a key of that role",
            )

    def preflight(
        self, method: str, rule: str | None, headers: Mapping[str, str], peer: str
    ) -> dict[str, str]:
        """Headers of the answer to a browser that asks whether a page may call ``method``, which
        is asked without a key. Raises ``RequestRefusedError`` 403 and 429."""
        self._count_address(self._proxies.client(peer, headers))
        origin = foreign_origin(headers, self._settings)
        if origin is None or not is_shared(method, rule):
            named = headers.get("origin", "")
            what = f"add {named}" if is_web_origin(named) else "that is no address of a site"
            what = f"{method} is not for pages of other sites" if origin else what
            raise RequestRefusedError(
                403,
                "forbidden-origin",
                f"pages of {named} may not call this: {what} (setting allowed_origins: for calls "
                "of the role search)",
            )
        return preflight_headers(origin, method)

    def _find_key(self, authorization: str) -> KeyHolder | None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer" or not self.keys.is_needed:
            return None
        return self.keys.find(given.strip())

    def _name(self, headers: Mapping[str, str], peer: str) -> str:
        """The person that a trusted proxy names; empty where none does."""
        header = self._settings.user_header.lower()
        if not header or not self._proxies.trust(peer):
            return ""
        # Headers arrive as Latin-1, names as UTF-8.
        name = headers.get(header, "").strip().encode("latin-1", "replace").decode(errors="replace")
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise RequestRefusedError(
                400,
                "bad-request",
                f"{self._settings.user_header} must name a person in at most {_LONGEST_NAME} "
                "printable characters (setting user_header)",
            )
        return name

    def _count_address(self, address: str) -> None:
        rate = self._settings.address_rate
        if rate:
            wait_s = self._limiter.take(RateLimit("address", network_of(address), rate))
            if wait_s:
                raise _rate_excess(f"an address may ask {rate:g} times", "address_rate", wait_s)

    def _count_key(self, holder: KeyHolder) -> None:
        rate = holder.rate
        if rate is None:
            rate = 0.0 if holder.role == "admin" else self._settings.key_rate
        if rate:
            wait_s = self._limiter.take(RateLimit("key", holder.name, rate))
            if wait_s:
                said = f"the key {holder.name!a} may ask {rate:g} times"
                raise _rate_excess(said, "key_rate, or catalens keys rate", wait_s)


def _refuse_others(settings: Settings) -> None:
    """Raise ``BadSettingsError`` where others than this machine could ask: without a key whoever
    asks may do all. What comes through a proxy comes from this machine, too."""
    if not is_loopback(settings.host):
        what, way = f"host {settings.host!a}", "listen on 127.0.0.1"
    elif settings.public_url and not is_loopback(settings.public_address.host):
        what, way = f"public_url {settings.public_url!a}", "leave it out"
    elif settings.trusted_proxies and not settings.public_url:
        what, way = "what stands behind trusted_proxies (--trusted-proxy)", "leave it out"
    else:
        return
    raise BadSettingsError(
        f"{what} is reachable from other machines: make a key (catalens keys create NAME --role "
        f"admin), or {way}"
    )


def open_keys(settings: Settings, home: Home, log: Any) -> KeyRing:
    """The keys of a service.

    Raises ``BadSettingsError`` where other machines could ask without a key, or name people, and
    ``BadHomeError`` where the home's keys cannot be read.
    """
    if settings.user_header and not settings.trusted_proxies:
        raise BadSettingsError(
            "user_header needs trusted_proxies (--trusted-proxy): else whoever asks could write it"
        )
    keys = KeyRing(settings, home, log)
    if not keys.is_needed:
        _refuse_others(settings)
    return keys


def _needs_key(path: str) -> bool:
    """What is below ``/v1`` needs a key even where nothing is: paths are not told either. So do the
    numbers, from which can be read what a shop sells how often."""
    return path in ("/v1", "/metrics") or path.startswith("/v1/")


def _unknown_key(authorization: str) -> RequestRefusedError:
    known = " " in authorization
    return RequestRefusedError(
        401,
        "unauthorized",
        "this API key is not known" if known else "an API key is needed: Authorization: Bearer KEY",
        headers={"WWW-Authenticate": 'Bearer realm="catalens"'},
    )


def _rate_excess(said: str, setting: str, wait_s: float) -> RequestRefusedError:
    seconds = max(1, math.ceil(wait_s))
    return too_many(f"{said} a second (setting {setting}): wait {seconds} s", seconds)


def too_many(detail: str, wait_s: int) -> RequestRefusedError:
    """429: an asker's own excess, which ends in ``wait_s`` seconds."""
    return RequestRefusedError(
        429, "too-many-requests", detail, headers={"Retry-After": str(wait_s)}
    )
