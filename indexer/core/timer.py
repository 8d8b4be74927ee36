"""Timer that adds up seconds by stage."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class StageTimer:
    """Seconds by stage, in order of first use. Threads may share one; their times are summed."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._lap_started = self._started
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to ``name``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._add(name, time.perf_counter() - started)

    def lap(self, name: str) -> None:
        """Add the time since the lap before, or since the timer was made, to ``name``."""
        now = time.perf_counter()
        self._add(name, now - self._lap_started)
        self._lap_started = now

    def elapsed(self) -> float:
        """Seconds since the timer was made."""
        return time.perf_counter() - self._started

    def seconds(self) -> dict[str, float]:
        """Seconds of each stage."""
        with self._lock:
            return dict(self._seconds)

    def milliseconds(self) -> dict[str, float]:
        """Milliseconds of each stage, and the ``total`` since the timer was made; two decimals."""
        stages = {**self.seconds(), "total": self.elapsed()}
        return {name: round(1000 * seconds, 2) for name, seconds in stages.items()}

    def bottleneck(self) -> str:
        """The stage that takes most of the work, with its share: ``network 71%``; "" before any."""
        found = self.seconds()
        if not found:
            return ""
        name = max(found, key=lambda stage: found[stage])
        return f"{name} {found[name] / sum(found.values()):.0%}"

    def _add(self, name: str, seconds: float) -> None:
        with self._lock:
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds
