"""Limits of the web server, and the memory that all bodies share."""

from __future__ import annotations

import threading
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from service.settings import Settings


@dataclass(frozen=True)
class ServerLimits:
    """What connections and bodies may cost before anybody has looked at a request."""

    body_bytes: int  # of one body
    bodies_bytes: int  # of all bodies that are held at once
    connections: int  # at once, of all peers
    drain_s: float  # how long what was begun may take at the end
    queue_s: float  # how long a request may wait for a thread
    # Of all answers that clients have not taken yet; beyond it those end that wait for longer than
    # `taken_s`.
    answers_bytes: int = 256 * 2**20
    taken_s: float = 2.0
    # Connections of one peer that have not sent a whole head; one more closes its oldest.
    unfinished: int = 128
    header_s: float = 10.0  # for a head, from its first byte; of a new connection, from its start
    idle_s: float = 60.0  # between two requests of a connection
    # A body that arrives and an answer that is taken move this much in each such time.
    window_s: float = 20.0
    window_bytes: int = 320 * 2**10
    # A whole body arrives within this and a second for each `body_rate` bytes of it; 0: no end.
    body_s: float = 10.0
    body_rate: float = 20_000.0
    linger_s: float = 5.0  # how long the rest of a refused body is read and thrown away
    grace_s: float = 1.0  # at the end, for the next request of a connection that is kept open

    @classmethod
    def of(cls, settings: Settings) -> ServerLimits:
        """Those that ``settings`` give."""
        return cls(
            body_bytes=settings.max_body_bytes,
            # A client that is alone may hold half of them, and so one body of any allowed size.
            bodies_bytes=max(settings.max_bodies_bytes, 2 * settings.max_body_bytes),
            answers_bytes=max(settings.max_bodies_bytes, 2 * settings.max_body_bytes),
            connections=settings.max_connections,
            drain_s=settings.drain_s,
            queue_s=settings.deadline_s,
            body_rate=settings.min_body_rate,
        )

    def body_deadline_s(self, size: int) -> float:
        """How long a body of ``size`` bytes may take from the end of its head."""
        return self.body_s + size / self.body_rate if self.body_rate else float("inf")


class Shortage(Enum):
    """Why a body has no place."""

    OWN = "own"  # one owner has as much as it may have were it alone
    SHARED = "shared"  # the bodies of others take the rest


class BodyBudget:
    """Bytes that all bodies together may hold in memory; safe to use from many threads.

    No owner (an address, a key) holds more than what is then left: one alone half of all, the next
    half of the rest (dynamic thresholds: Choudhury and Hahne, 1998). So a few that hold all they
    can leave room for another.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._by_owner: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes held now."""
        return self._used

    def reserve(self, size: int, owners: Collection[str]) -> Shortage | None:
        """Take ``size`` bytes for a body of ``owners``; a shortage, and nothing taken, where they
        are not there. What gives bytes back is never refused."""
        with self._lock:
            if size > 0:
                left = self.limit - self._used - size
                most = max((self._by_owner.get(owner, 0) for owner in owners), default=0) + size
                if most > left:
                    return Shortage.OWN if 2 * most > self.limit else Shortage.SHARED
            self._take(size, owners)
            return None

    def release(self, size: int, owners: Collection[str]) -> None:
        """Give back what was taken for ``owners``."""
        with self._lock:
            self._take(-size, owners)

    def _take(self, size: int, owners: Collection[str]) -> None:
        self._used += size
        for owner in owners:
            held = self._by_owner.get(owner, 0) + size
            if held:
                self._by_owner[owner] = held
            else:
                self._by_owner.pop(owner, None)
