"""Settings of photos by URL: what may be asked, how fast, how long, how large."""

from __future__ import annotations

from dataclasses import dataclass

DAY_S = 86_400.0


@dataclass(frozen=True)
class FetchSettings:
    """Limits and permissions of one fetcher.

    ``private`` names, as "host:port", exactly what may lie in a private network; the host is
    written as in the URL. ``hosts``, where any are given, are the only ones that are asked:
    "cdn.shop.example", or "*.shop.example" for all names below it.
    """

    private: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()
    # At once: to one host, and to all together.
    connections: int = 4
    concurrency: int = 32
    # A URL whose text did not change is asked again after this time, conditionally; one that the
    # server refused for good (404, a web page) after the other.
    recheck_s: float = 7 * DAY_S
    refused_recheck_s: float = 3600.0
    # Seconds: to a connection; between two pieces of an answer; for one request in all.
    connect_s: float = 10.0
    read_s: float = 20.0
    total_s: float = 60.0
    max_bytes: int = 32 * 2**20
    # Requests for one photo; a host's 429 costs none of the first, but has a limit of its own.
    attempts: int = 4
    refusals: int = 6
    # Seconds before the second request; doubled for each further one, to half a minute.
    backoff_s: float = 1.0
    # The longest Retry-After that is waited for.
    longest_wait_s: float = 120.0
    # Jobs that wait in memory, so that one slow host does not hold up the others.
    waiting: int = 2048
