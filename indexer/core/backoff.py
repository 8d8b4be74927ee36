"""Pauses between tries of what failed: each twice as long as the one before."""

from __future__ import annotations

import time


class Backoff:
    """When to try again. What failed for a moment must not be given up for good, and what stays
    broken must not cost a try at every look."""

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self.wait_s = 0.0
        self._not_before = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it may be tried now."""
        return time.monotonic() >= self._not_before

    def fail(self) -> float:
        """Note a failure; returns the seconds until the next try."""
        self.wait_s = min(2 * self.wait_s or self._first_s, self._longest_s)
        self._not_before = time.monotonic() + self.wait_s
        return self.wait_s

    def succeed(self) -> None:
        """Forget all failures."""
        self.wait_s = 0.0
        self._not_before = 0.0

    def hurry(self) -> None:
        """Let the next try come now; the pause after it is as long as it would have been."""
        self._not_before = 0.0
