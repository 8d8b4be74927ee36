"""Limits of the web server, and the memory that all bodies share."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from service.settings import Settings


@dataclass(frozen=True)
class ServerLimits:
    """What connections and bodies may cost before anybody has looked at a request."""

    body_bytes: int  # of one body
    bodies_bytes: int  # of all bodies that are held at once
    connections: int  # at once, of all peers
    drain_s: float  # how long what was begun may take at the end
    queue_s: float  # how long a request may wait for a thread
    # Connections of one peer that have not sent a whole head; one more closes its oldest.
    unfinished: int = 128
    header_s: float = 10.0  # for a head, from its first byte; of a new connection, from its start
    idle_s: float = 60.0  # between two requests of a connection
    # A body that arrives and an answer that is taken move this much in each such time.
    window_s: float = 20.0
    window_bytes: int = 320 * 2**10
    linger_s: float = 5.0  # how long the rest of a refused body is read and thrown away
    grace_s: float = 1.0  # at the end, for the next request of a connection that is kept open

    @classmethod
    def of(cls, settings: Settings) -> ServerLimits:
        """Those that ``settings`` give."""
        return cls(
            body_bytes=settings.max_body_bytes,
            bodies_bytes=max(settings.max_bodies_bytes, settings.max_body_bytes),
            connections=settings.max_connections,
            drain_s=settings.drain_s,
            queue_s=settings.deadline_s,
        )


class BodyBudget:
    """Bytes that all bodies together may hold in memory; safe to use from many threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes held now."""
        return self._used

    def reserve(self, size: int) -> bool:
        """Take ``size`` bytes; False, and nothing taken, where they are not there."""
        with self._lock:
            if self._used + size > self.limit:
                return False
            self._used += size
            return True

    def release(self, size: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._used -= size
