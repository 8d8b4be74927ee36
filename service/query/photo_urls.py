"""Photos of requests by URL: fetched through checked addresses, few at a time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from indexer.core.errors import UrlFailedError
from indexer.fetch.address_check import AddressCheck
from indexer.fetch.http_client import PhotoClient
from indexer.fetch.settings import FetchSettings
from service.inference.admission import OverloadedError
from service.settings import Capacity, Settings

# Requests to all hosts at once: the web server's threads must not all wait for other servers.
_MOST = 16
# The settings that ``fetch_settings`` reads.
FETCH_SETTINGS = (
    "fetch_private",
    "fetch_hosts",
    "fetch_connections",
    "fetch_recheck_s",
    "max_image_bytes",
)


@dataclass
class FetchedBytes:
    """What the photos of one request by URL take in memory. ``stranger``: with a key that anybody
    may have."""

    stranger: bool
    size: int = 0


def fetch_settings(settings: Settings) -> FetchSettings:
    """What the service's settings say of photos by URL."""
    return FetchSettings(
        private=frozenset(settings.fetch_private),
        hosts=frozenset(settings.fetch_hosts),
        connections=settings.fetch_connections,
        recheck_s=settings.fetch_recheck_s,
        max_bytes=settings.max_image_bytes,
    )


class PhotoUrls:
    """Reads photos of requests by URL where ``allow_urls`` permits. Safe from threads; close it.

    Photos that were fetched count as bodies do: those of one request take what its body may, all
    together what all bodies may, and strangers half of that and of the connections: of all, and of
    those to one host where it has more than one. Beyond it comes what is being fetched: a photo a
    connection. Requests that fetch or wait for it hold a thread of the web server each: they have
    half of those, strangers a quarter.
    """

    def __init__(self, settings: Settings) -> None:
        self.allowed = settings.allow_urls
        self.timeout_s = settings.fetch_timeout_s
        self._connections = settings.fetch_connections
        self._most_of_one = settings.max_body_bytes
        self._largest = settings.max_image_bytes
        self._most_of_all = max(settings.max_bodies_bytes, 2 * self._largest)
        fetching = fetch_settings(settings)
        self._client = PhotoClient(fetching)
        # For strangers, who must not ask the shop's own network by the service, nor for its names.
        public = replace(fetching, private=frozenset())
        check = AddressCheck(public, tells_names=False)
        self._public_client = PhotoClient(public, check=check)
        self._free = threading.Condition()
        threads = Capacity.of(settings).threads
        self._most_asking = {
            False: max(threads // 2, 1),
            True: max(threads // 4, 1),
        }
        self._asking = {False: 0, True: 0}  # requests, by whether a stranger's
        self._open: Counter[str] = Counter()
        self._strangers: Counter[str] = Counter()  # connections of theirs
        self._held = {False: 0, True: 0}  # bytes, by whether a stranger holds them

    def close(self) -> None:
        """Close the kept connections."""
        self._client.close()
        self._public_client.close()

    def read(self, url: str, deadline: float, held: FetchedBytes) -> bytes:
        """The photo's bytes by ``deadline`` (``time.monotonic``), counted in ``held``, which is to
        be released.

        Of the servers that ``fetch_private`` names too, but for strangers. Raises
        ``UrlRefusedError``, ``UrlFailedError`` where its server gives no photo in time or there is
        no memory for it, and ``OverloadedError`` where others that wait for photos are enough.
        """
        share = 2 if held.stranger else 1
        # The second is a request that would wait for what it holds itself.
        if (
            held.size >= self._most_of_one
            or share * (held.size + self._largest) > self._most_of_all
        ):
            raise UrlFailedError(
                "the photos of this request by URL take as many bytes as one request may (settings "
                "max_body_bytes and max_bodies_bytes): ask for fewer at once"
            )
        client = self._public_client if held.stranger else self._client
        # To look a name up may take as long as its owner likes, too.
        with self._thread(stranger=held.stranger):
            checked = client.check(url)
            with self._turn(checked.endpoint, deadline, held):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise UrlFailedError("no time is left to fetch the photo", transient=True)
                data = client.get(checked, total_s=left).data
                self._count(held, len(data or b""))
        if data is None:
            raise UrlFailedError("the server answered that nothing changed, though nobody asked")
        return data

    def release(self, held: FetchedBytes) -> None:
        """Give back what a request's photos took."""
        self._count(held, -held.size)

    def _count(self, held: FetchedBytes, size: int) -> None:
        with self._free:
            held.size += size
            self._held[held.stranger] += size
            self._free.notify_all()

    @contextmanager
    def _thread(self, *, stranger: bool) -> Iterator[None]:
        """Inside is a request that may wait for a photo. Raises ``OverloadedError``."""
        with self._free:
            asking = self._asking[True] if stranger else sum(self._asking.values())
            if asking >= self._most_asking[stranger]:
                raise OverloadedError(
                    f"{asking} requests fetch photos by URL or wait for it: try again shortly, or "
                    "send the photo's bytes"
                )
            self._asking[stranger] += 1
        try:
            yield
        finally:
            with self._free:
                self._asking[stranger] -= 1

    @contextmanager
    def _turn(self, host: str, deadline: float, held: FetchedBytes) -> Iterator[None]:
        """Wait until this host, and the service, have a connection left, and room for a photo."""
        with self._free:
            if not self._free.wait_for(
                lambda: self._is_free(host, held.stranger) and self._has_room(held.stranger),
                timeout=max(0.0, deadline - time.monotonic()),
            ):
                raise UrlFailedError("too many photos are being fetched already", transient=True)
            self._open[host] += 1
            self._strangers[host] += held.stranger
        try:
            yield
        finally:
            with self._free:
                self._open[host] -= 1
                self._strangers[host] -= held.stranger
                # Which leaves positive ones alone.
                self._open, self._strangers = +self._open, +self._strangers
                self._free.notify_all()

    def _is_free(self, host: str, stranger: bool) -> bool:
        """Whether one more connection to the host may be opened."""
        most = max(self._connections // 2, 1)
        if stranger and self._strangers[host] >= most:
            return False
        return self._open[host] < self._connections

    def _has_room(self, stranger: bool) -> bool:
        """Whether one more photo may come."""
        held = self._held[stranger] if stranger else sum(self._held.values())
        taken = self._strangers.total() if stranger else self._open.total()
        share = 2 if stranger else 1
        fits = share * (held + self._largest) <= self._most_of_all
        return fits and share * taken < _MOST and self._open.total() < _MOST
