"""Addresses of clients: the connection's own, or what trusted proxies say of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

ClientAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# Proxies in a row; what a client wrote before them is not read.
_MOST_HOPS = 20


class TrustedProxies:
    """The proxies whose ``X-Forwarded-For`` is believed, by network."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in networks)

    def trust(self, peer: str) -> bool:
        """Whether ``peer`` is one of them."""
        address = _read_address(peer)
        return address is not None and self._holds(address)

    def client(self, peer: str, headers: Mapping[str, str]) -> str:
        """The nearest address that is none of them: each proxy adds whom it heard it from at the
        end, so what stands before that may be made up."""
        address = _read_address(peer)
        if address is None or not self._holds(address):
            return peer
        for text in reversed(headers.get("x-forwarded-for", "").split(",")[-_MOST_HOPS:]):
            found = _read_address(text.strip())
            if found is None:
                break
            address = found
            if not self._holds(found):
                break
        return str(address)

    def _holds(self, address: ClientAddress) -> bool:
        return any(address in network for network in self._networks)


def network_of(address: str) -> str:
    """Whom an address stands for: an IPv4 address itself, the /64 network of an IPv6 one, since
    that many are given to one customer."""
    found = _read_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return address if found is None else str(found)


def _read_address(text: str) -> ClientAddress | None:
    """An address, also ``1.2.3.4:5678``, ``[::1]:5678`` and an IPv4 address as IPv6 writes it."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
