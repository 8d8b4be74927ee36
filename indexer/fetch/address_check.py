"""Address check: which URLs and which network addresses may be asked for a photo."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urljoin

import idna

from indexer.core.errors import UrlFailedError, UrlRefusedError
from indexer.fetch.settings import FetchSettings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]

_LONGEST = 8192
_SHOWN = 200
_DEFAULT_PORTS = {"http": 80, "https": 443}
# RFC 3986: what a path may hold as it is; a query also "?". Quotes would end an HTML attribute.
_PATH = "/:@!$&'()*+,;=-._~"
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
# What the URL standard takes for a number of an IPv4 address: decimal, octal or hexadecimal.
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]*|[0-9]+")
_DOTTED = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")

# IANA's special-purpose registries: not the public Internet, or not one machine of it.
_SPECIAL_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24"),
        *("192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        # Azure's, reachable from every machine there.
        "168.63.129.16/32",
    )
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
# Of the global ones; Teredo and 6to4 carry an IPv4 address to whatever relay is near.
_SPECIAL_V6 = tuple(
    ipaddress.IPv6Network(text)
    for text in ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")
)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# The lower half of ISATAP's, in any network (RFC 5214).
_ISATAP = {0x00005EFE, 0x02005EFE}
# Not even where ``private`` names the host: its name may resolve to them.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254")
)


@dataclass(frozen=True)
class CheckedURL:
    """An http(s) URL taken apart strictly, percent-encoded, without its fragment."""

    scheme: str
    # ASCII, lower case, without brackets: a name, or a canonical address.
    host: str
    port: int
    # Path and query, as sent.
    target: str

    @property
    def netloc(self) -> str:
        """Host, and port where it is not the scheme's: what stands in ``Host``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """ "host:port", as ``FetchSettings.private`` names it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def text(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"


def shown_url(text: str) -> str:
    """A URL for a message or a log: without user and password, printable, shortened."""
    plain = re.sub(r"^(\s*[A-Za-z][A-Za-z0-9+.-]*:[/\\]*)[^/\\?#]*@", r"\1", text)
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain.strip())
    return plain if len(plain) <= _SHOWN else plain[: _SHOWN - 1] + "…"


def check_url(text: str, base: CheckedURL | None = None) -> CheckedURL:
    """Take a URL apart; ``base`` is where a redirect was found. Raises ``UrlRefusedError``.

    What two readers could understand differently is refused: control characters, a backslash or an
    escape in the host, numbers that are no dotted address, a user name.
    """
    url = text.strip(" \t\r\n\f")
    if len(url) > _LONGEST:
        raise UrlRefusedError(f"the URL has {len(url)} characters, more than {_LONGEST}")
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in url):
        raise UrlRefusedError("the URL holds a control character or half a character")
    if base is not None and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url):
        try:
            url = urljoin(base.text, url)
        except ValueError as error:
            raise UrlRefusedError(f"the redirect cannot be followed: {error}") from error
    found = re.match(r"(?i)(https?)://([^/?#]*)([^?#]*)(\?[^#]*)?", url)
    if found is None:
        raise UrlRefusedError("only http:// and https:// URLs are fetched")
    scheme, authority = found[1].lower(), found[2]
    if "@" in authority:
        raise UrlRefusedError("the URL names a user or a password: give one without")
    host, port = _split_authority(authority, scheme)
    target = _encode(found[3] or "/", _PATH) + _encode(found[4] or "", _PATH + "?")
    return CheckedURL(scheme, host, port, target)


def _split_authority(authority: str, scheme: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?", authority)
    if found is None:
        raise UrlRefusedError("the URL's host or port is not readable")
    digits = (found[2] or "").lstrip("0")
    if len(digits) > 5 or (found[2] and not 0 < int(digits or 0) < 65536):
        raise UrlRefusedError("the URL's port is not between 1 and 65535")
    port = int(digits) if digits else _DEFAULT_PORTS[scheme]
    return _host(found[1]), port


def _host(text: str) -> str:
    """A host in one canonical form. Raises ``UrlRefusedError``."""
    if text.startswith("["):
        try:
            # A zone is no part of an address that others could know.
            if "%" in text:
                raise ValueError("it has a zone")
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError as error:
            raise UrlRefusedError(f"the URL's host is no IPv6 address: {error}") from error
    try:
        name = idna.encode(text, uts46=True).decode() if not text.isascii() else text.lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise UrlRefusedError(f"the URL's host is no host name: {error}") from error
    name = name.removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefusedError("the URL's host is no host name")
    # "2130706433", "0x7f.1" and "0177.0.0.1" are 127.0.0.1 to some readers.
    if _NUMBER.fullmatch(labels[-1]):
        try:
            if not _DOTTED.fullmatch(name):
                raise ValueError("write it as four decimal numbers")
            return str(ipaddress.IPv4Address(name))
        except ValueError as error:
            raise UrlRefusedError(f"the URL's host is no usable IPv4 address: {error}") from error
    return name


def _encode(text: str, safe: str) -> str:
    """Percent-encode what a URL may not hold, and leave alone what is encoded already."""
    return quote(_ESCAPE.sub("%25", text), safe=safe + "%")


def forbidden_address(address: Address) -> str | None:
    """Why a photo must not be asked for at this address; None where it may."""
    if isinstance(address, ipaddress.IPv4Address):
        if any(address in network for network in _SPECIAL_V4) or not address.is_global:
            return "it is not an address of the public Internet"
        return None
    if address.scope_id is not None:
        return "it has a zone"
    # These two stand for the IPv4 address in their last bits (RFC 4291, 6052).
    if address in _MAPPED or address in _NAT64:
        return forbidden_address(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return "it carries an IPv4 address"
    outside = address not in _GLOBAL_V6 or not address.is_global
    if outside or any(address in network for network in _SPECIAL_V6):
        return "it is not an address of the public Internet"
    return None


def _never(address: Address) -> bool:
    """Whether no setting can allow it."""
    if isinstance(address, ipaddress.IPv6Address) and (address in _MAPPED or address in _NAT64):
        return _never(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _METADATA or address.is_multicast or address.is_unspecified


class AddressCheck:
    """Checks URLs, and resolves each host once to addresses that may be connected to.

    ``tells_names``: whether the refusal of a host says if its name is known here. Where not, one
    that does not resolve is refused as one that resolves to an address of this network is.
    """

    def __init__(
        self,
        settings: FetchSettings,
        resolver: Resolver | None = None,
        *,
        tells_names: bool = True,
    ) -> None:
        self._tells_names = tells_names
        self._private = frozenset(map(check_endpoint, settings.private))
        self._hosts = frozenset(map(check_host_pattern, settings.hosts))
        self._resolve = resolver or _system_addresses
        self._resolve_s = settings.connect_s

    def check(self, text: str, base: CheckedURL | None = None) -> CheckedURL:
        """``check_url``, and whether host and port are among the allowed ones."""
        url = check_url(text, base)
        if url.endpoint in self._private:
            return url
        if self._hosts and not _matches(url.host, self._hosts):
            raise UrlRefusedError(f"host {url.host} is not in the list of allowed hosts")
        if url.port < 1024 and url.port not in _DEFAULT_PORTS.values():
            raise UrlRefusedError(f"port {url.port} is not one that serves photos")
        return url

    def addresses(self, url: CheckedURL) -> list[str]:
        """Where to connect to, all of them checked: one forbidden address refuses the host.

        Raises ``UrlRefusedError``, and ``UrlFailedError`` where the name does not resolve.
        """
        try:
            return self._checked(url)
        except (UrlRefusedError, UrlFailedError):
            if self._tells_names:
                raise
        # Not as the cause of it: nothing of what was found is to be told.
        raise UrlRefusedError(f"{url.endpoint} is not known to the public Internet")

    def _checked(self, url: CheckedURL) -> list[str]:
        private = url.endpoint in self._private
        checked = []
        for text in self._lookup(url):
            try:
                address = ipaddress.ip_address(text)
            except ValueError as error:
                raise UrlRefusedError(f"host {url.host} has no usable address") from error
            reason = None if private else forbidden_address(address)
            if _never(address):
                reason = "it is not an address of one machine that serves photos"
            if reason is not None:
                raise UrlRefusedError(
                    f"{url.endpoint} may not be asked: {reason} (a shop's own network is allowed "
                    f"by the setting fetch_private, or --fetch-private {url.endpoint})"
                )
            checked.append(str(address))
        if not checked:
            raise UrlFailedError(f"host {url.host} has no address", transient=True)
        return list(dict.fromkeys(checked))

    def _lookup(self, url: CheckedURL) -> Sequence[str]:
        """The host's addresses, within a time: the system's resolver knows no deadline."""
        try:
            return [str(ipaddress.ip_address(url.host))]
        except ValueError:
            pass
        found: list[Sequence[str]] = []

        def look_up() -> None:
            try:
                found.append(self._resolve(url.host, url.port))
            except (OSError, UnicodeError):
                found.append([])

        thread = threading.Thread(target=look_up, name="resolve", daemon=True)
        thread.start()
        thread.join(self._resolve_s)
        if not found:
            raise UrlFailedError(f"host {url.host} was not resolved in time", transient=True)
        if not found[0]:
            raise UrlFailedError(f"host {url.host} cannot be resolved", transient=True)
        return found[0]


def _system_addresses(host: str, port: int) -> Sequence[str]:
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def check_endpoint(text: str) -> str:
    """A "host:port" of the settings in its canonical form. Raises ``UrlRefusedError``."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]/@]+):([0-9]+)", text.strip())
    if found is None:
        raise UrlRefusedError(f"{shown_url(text)!r} is no host:port, as in photos.local:8080")
    return check_url(f"http://{found[1]}:{found[2]}/").endpoint


def check_host_pattern(text: str) -> str:
    """A host name of the settings, or "*." and one, in canonical form. ``UrlRefusedError``."""
    name = text.strip()
    star = "*." if name.startswith("*.") else ""
    return star + _host(name.removeprefix(star))


def _matches(host: str, patterns: frozenset[str]) -> bool:
    levels = host.split(".")
    parents = (".".join(levels[start:]) for start in range(1, len(levels)))
    return host in patterns or any(f"*.{parent}" in patterns for parent in parents)
