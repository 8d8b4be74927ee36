"""Times of requests by route, method and status, in a bounded number of series."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class RequestTimes:
    """The one place where requests are counted, by whom ever they are answered: what people send
    as a route or a method makes no series of its own, which would be kept until the end."""

    def __init__(self, registry: CollectorRegistry, buckets: tuple[float, ...]) -> None:
        self._seconds = Histogram(
            "catalens_request_seconds",
            "Time to answer, by route, method and status.",
            ("route", "method", "status"),
            buckets=buckets,
            registry=registry,
        )

    def observe(self, rule: str | None, method: str, status: int, seconds: float) -> None:
        """Count one request. ``rule``: of the URL map, None where nothing is there."""
        named = method if method in _METHODS else "other"
        self._seconds.labels(rule or "none", named, str(status)).observe(seconds)
