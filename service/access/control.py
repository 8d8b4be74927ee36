"""Access control: decides by a request's headers whether it is answered, and names the caller."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indexer.core.errors import BadSettingsError
from indexer.core.home import Home
from service.access.caller import Caller
from service.access.key_ring import KeyRing
from service.access.origin import check_host, check_origin
from service.access.refusal import RequestRefusedError
from service.access.roles import PUBLIC, roles_for
from service.settings import Settings, is_loopback

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_HEALTH = frozenset({"/livez", "/readyz"})  # probes name the machine as they like


class AccessControl:
    """Who may ask what. Safe to call from many threads."""

    def __init__(self, settings: Settings, home: Home, log: Any) -> None:
        """Raises ``BadSettingsError`` where other machines could ask without a key."""
        self._settings = settings
        self.keys = KeyRing(settings, home, log)
        if not is_loopback(settings.host) and not self.keys.is_needed:
            raise BadSettingsError(
                f"host {settings.host!a} is reachable from other machines: make a key (catalens "
                "keys create NAME --role admin), or listen on 127.0.0.1"
            )

    def authorize(
        self, method: str, path: str, rule: str | None, headers: Mapping[str, str], peer: str
    ) -> Caller:
        """Who asks; nothing of the body is needed.

        ``rule`` of the URL map, None where nothing is at ``path``; ``headers`` by lower-case
        names; ``peer``: address of the connection. Raises ``RequestRefusedError``: 403 for a
        foreign Host or Origin or for a route that is not of the caller's role, 401 without a valid
        key where one is needed.
        """
        if path not in _HEALTH and (method not in _SAFE or not self.keys.is_needed):
            # A page of another site can point its own name at 127.0.0.1 (DNS rebinding); its
            # requests then carry that name. It cannot guess a key, so with keys only what changes
            # something is checked.
            check_host(headers, self._settings)
        if method not in _SAFE:
            check_origin(headers, self._settings)
        if rule in PUBLIC or (rule is None and not _needs_key(path)):
            return Caller("", None, peer)
        caller = self._identify(headers, peer)
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
                f"{' or '.join(sorted(roles))}: use a key of that role (catalens keys create NAME "
                "--role ROLE)",
            )

    def _identify(self, headers: Mapping[str, str], peer: str) -> Caller:
        if not self.keys.is_needed:
            return Caller("", "admin", peer)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        holder = self.keys.find(given.strip()) if scheme.lower() == "bearer" else None
        if holder is None:
            raise RequestRefusedError(
                401,
                "unauthorized",
                "this API key is not known"
                if given
                else "an API key is needed: Authorization: Bearer KEY",
                headers={"WWW-Authenticate": 'Bearer realm="catalens"'},
            )
        return Caller(holder.name, holder.role, peer)


def _needs_key(path: str) -> bool:
    """What is below ``/v1`` needs a key even where nothing is: paths are not told either. So do the
    numbers, from which can be read what a shop sells how often."""
    return path in ("/v1", "/metrics") or path.startswith("/v1/")
