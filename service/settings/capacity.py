"""Capacity of the service: how many requests are worked on, wait, and have a thread at once."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.core.native import THREADS
from service.settings.model import Settings

# Threads of the web server; of each, address space for its stack.
MOST_THREADS = 256


@dataclass(frozen=True)
class Capacity:
    """What fits together: one asker who fills the line still finds a thread that refuses it, and
    all others find those that no asker alone may hold."""

    working: int
    waiting: int
    threads: int

    @classmethod
    def of(cls, settings: Settings, cores: int = THREADS) -> Capacity:
        """That of ``settings`` on a machine with so many cores.

        Threads that are not set are as many as the line needs; where they are set, or would be too
        many, the line is as long as they allow.
        """
        # More at work than cores only wait for each other's locks: with 40 of them half as much is
        # answered.
        working = settings.working or cores + 1
        wanted = working + settings.max_waiting + 1
        threads = settings.threads or min(_threads_for(wanted), MOST_THREADS)
        own = own_share(threads)
        working = max(1, min(working, own - 2))
        return cls(working, max(1, min(settings.max_waiting, own - 1 - working)), threads)


def own_share(threads: int) -> int:
    """How many of ``threads`` one asker, or all strangers together, may hold: nine in ten."""
    return threads - threads // 10


def _threads_for(share: int) -> int:
    """So many that ``share`` of them are one asker's (``own_share``)."""
    return share + share // 9
