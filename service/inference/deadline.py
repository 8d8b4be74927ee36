"""Deadline of a request: until when its answer is worth computing."""

from __future__ import annotations

from dataclasses import dataclass, field

from indexer.core.timer import StageTimer
from service.inference.admission import DeadlineExceededError


@dataclass(frozen=True)
class Deadline:
    """``limit_s`` seconds on ``timer``, from its start."""

    limit_s: float
    timer: StageTimer = field(default_factory=StageTimer)

    def left_s(self) -> float:
        """Seconds to the deadline, not below 0."""
        return max(self.limit_s - self.timer.elapsed(), 0.0)

    def check(self) -> None:
        """Raise ``DeadlineExceededError`` after the deadline; asked in every loop whose length a
        client or the catalog decides."""
        if not self.left_s():
            raise DeadlineExceededError(
                f"not answered within {self.limit_s:g} s (setting deadline_s): ask for less, or "
                "try again"
            )
