"""Photos of requests by URL: fetched through checked addresses, few at a time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from indexer.core.errors import UrlFailedError
from indexer.fetch.http_client import PhotoClient
from indexer.fetch.settings import FetchSettings
from service.settings import Settings

# Requests to all hosts at once: the web server's threads must not all wait for other servers.
_MOST = 16


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
    """Reads photos of requests by URL where ``allow_urls`` permits. Safe from threads; close it."""

    def __init__(self, settings: Settings) -> None:
        self.allowed = settings.allow_urls
        self.timeout_s = settings.fetch_timeout_s
        self._connections = settings.fetch_connections
        fetching = fetch_settings(settings)
        self._client = PhotoClient(fetching)
        # For strangers, who must not ask the shop's own network by the service.
        self._public_client = PhotoClient(replace(fetching, private=frozenset()))
        self._free = threading.Condition()
        self._open: Counter[str] = Counter()

    def close(self) -> None:
        """Close the kept connections."""
        self._client.close()
        self._public_client.close()

    def read(self, url: str, deadline: float, *, private: bool = True) -> bytes:
        """The photo's bytes by ``deadline`` (``time.monotonic``).

        ``private``: also of the servers that ``fetch_private`` names. Raises ``UrlRefusedError``,
        and ``UrlFailedError`` where its server gives no photo in time.
        """
        client = self._client if private else self._public_client
        checked = client.check(url)
        with self._turn(checked.endpoint, deadline):
            left = deadline - time.monotonic()
            if left <= 0:
                raise UrlFailedError("no time is left to fetch the photo", transient=True)
            data = client.get(checked, total_s=left).data
        if data is None:
            raise UrlFailedError("the server answered that nothing changed, though nobody asked")
        return data

    @contextmanager
    def _turn(self, host: str, deadline: float) -> Iterator[None]:
        """Wait until this host, and the service, have a connection left."""
        with self._free:
            if not self._free.wait_for(
                lambda: self._open[host] < self._connections and self._open.total() < _MOST,
                timeout=max(0.0, deadline - time.monotonic()),
            ):
                raise UrlFailedError("too many photos are being fetched already", transient=True)
            self._open[host] += 1
        try:
            yield
        finally:
            with self._free:
                self._open[host] -= 1
                if not self._open[host]:
                    del self._open[host]
                self._free.notify_all()
