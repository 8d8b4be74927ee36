"""A clock that tests set by hand."""

from __future__ import annotations

import time


class SetClock:
    """Stands in for the module ``time``: it stands still until ``now`` is changed, by which it
    jumps, or it is let ``run``."""

    CLOCK_MONOTONIC = time.CLOCK_MONOTONIC
    monotonic = staticmethod(time.monotonic)

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now
        self.uptime = 1000.0

    def run(self, seconds: float) -> None:
        """So much time goes by."""
        self.now += seconds
        self.uptime += seconds

    def clock_gettime(self, _: int) -> float:
        return self.uptime

    def time(self) -> float:
        return self.now
