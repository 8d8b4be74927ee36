"""A clock that tests set by hand."""

from __future__ import annotations

import time


class SetClock:
    """Stands in for the module ``time``: it stands still until ``now`` is changed."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def time(self) -> float:
        return self.now
