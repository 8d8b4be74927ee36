"""Addresses behind proxies: what a client writes itself is not believed."""

from __future__ import annotations

import pytest

from service.access.addresses import TrustedProxies, network_of

PROXIES = TrustedProxies(("127.0.0.1", "10.0.0.0/8", "fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "1.1.1.1, 198.51.100.1, 10.3.2.1", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1:4711, 10.3.2.1:80", "198.51.100.1"),
        ("::ffff:127.0.0.1", "[2001:db8::7]:443", "2001:db8::7"),
        ("fd00::1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1, unknown", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1, <script>, 10.1.1.1", "10.1.1.1"),
        ("127.0.0.1", ", ".join(["10.0.0.1"] * 50), "10.0.0.1"),
        ("", "198.51.100.1", ""),
    ],
)
def test_the_nearest_address_that_is_no_trusted_proxy_counts(
    peer: str, forwarded: str, client: str
) -> None:
    """Read from the end, and not at all where the connection is not from a trusted proxy."""
    assert PROXIES.client(peer, {"x-forwarded-for": forwarded}) == client
    assert TrustedProxies(()).client(peer, {"x-forwarded-for": forwarded}) == peer


def test_a_customer_of_ipv6_is_one_address() -> None:
    """Whoever has a /64 network could else ask from 2**64 addresses."""
    assert network_of("2001:db8:1:2:3::4") == network_of("2001:db8:1:2:ffff::1")
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1")
    assert network_of("198.51.100.1") != network_of("198.51.100.2")
    assert network_of("::ffff:198.51.100.1") == "198.51.100.1"
