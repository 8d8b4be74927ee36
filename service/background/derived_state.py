"""Background task that brings what is derived from the catalog up to it."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

from indexer.core.backoff import Backoff

# Between two looks at whether the service ends.
_POLL_S = 1.0
# After a failure.
_AGAIN_S, _LONGEST_S = 2.0, 300.0


class Follower(Protocol):
    """Something that is made from the catalog and follows it."""

    def follow_some(self) -> bool:
        """Bring it nearer to the catalog, some tenths of a second's work; whether nothing is
        left."""
        ...


class DerivedState:
    """One worker for all that follows the catalog: no question does more than a moment of it.

    The ``followers`` take turns. One that fails is logged by its name and tried again later.
    """

    name = "derived"
    longest_wait_s = math.inf

    def __init__(self, followers: Mapping[str, Follower], *, log: Any) -> None:
        self._followers = dict(followers)
        self._log = log
        self._pauses = {name: Backoff(_AGAIN_S, _LONGEST_S) for name in self._followers}
        self._lowered: int | None = None

    def poll(self) -> None:
        """Work for a second, or until nothing is left."""
        self._lower_priority()
        until = time.monotonic() + _POLL_S
        working = True
        while working and time.monotonic() < until:
            working = False
            for name, follower in self._followers.items():
                if self._pauses[name].is_due:
                    working |= not self._follow(name, follower)

    def close(self) -> None:
        """Nothing runs between two polls."""

    def _follow(self, name: str, follower: Follower) -> bool:
        """Whether nothing is left, or nothing can be done now."""
        try:
            done = follower.follow_some()
        except Exception as error:  # a later turn may do
            self._log.error(
                "derived state is behind the catalog; it is tried again",
                name=name,
                again_s=self._pauses[name].fail(),
                error=str(error),
                exc_info=error,
            )
            return True
        self._pauses[name].succeed()
        return done

    def _lower_priority(self) -> None:
        """On Linux a thread has a priority of its own: what answers comes first."""
        thread = threading.get_native_id()
        if self._lowered == thread or not hasattr(os, "setpriority"):
            return
        self._lowered = thread
        # Of the thread that polls, never of the whole process.
        if thread != os.getpid():
            now = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, max(now, 10))
