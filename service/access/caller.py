"""Caller: who asks, by the name of a person or a machine, and in which role."""

from __future__ import annotations

from dataclasses import dataclass

from service.access.addresses import network_of
from service.access.roles import Role


@dataclass(frozen=True)
class Asker:
    """For whom questions wait: an address, or the name of a key. ``stranger``: it holds no key but
    that of a page, which anybody may have, from as many addresses as anybody has."""

    name: str = ""
    stranger: bool = False


@dataclass(frozen=True)
class Caller:
    """Who asks. ``name`` is empty where nobody is known; ``role`` None: without a key, on a route
    that needs none. ``address``: the client's, as far as proxies are trusted."""

    name: str
    role: Role | None
    address: str = ""

    @property
    def stranger(self) -> str | None:
        """The network of whoever has no key but that of a page, which anybody may have."""
        return network_of(self.address) if self.role == "search" else None

    @property
    def owners(self) -> tuple[str, ...]:
        """For whom what a request takes is counted: its address, and its name where it has one of
        its own. A `search` key lies in a page: one stranger's excess must not be all shoppers'."""
        own_name = "" if self.role == "search" else self.name
        names = (f"address {network_of(self.address)}", own_name and f"name {own_name}")
        return tuple(filter(None, names))

    @property
    def asker(self) -> Asker:
        """For whom its questions wait: the name where it has one of its own, else the address."""
        return Asker(self.owners[-1], stranger=self.role in (None, "search"))


@dataclass(frozen=True)
class CallerInfo:
    """Who the service takes the caller for."""

    name: str
    role: Role | None
