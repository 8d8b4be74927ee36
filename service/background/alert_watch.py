"""Watch for alerts: the leader of a home checks it every minute."""

from __future__ import annotations

import time
from typing import Any

from indexer.core.home import Home
from service.alerts.monitor import AlertMonitor
from service.alerts.probes import open_monitor
from service.background.leadership import Leadership
from service.settings.alerts import AlertSettings

_EVERY_S = 60.0


class AlertWatch:
    """Runs the monitor while this service leads."""

    name = "alerts"
    longest_wait_s = 5.0

    def __init__(self, monitor: AlertMonitor, leadership: Leadership) -> None:
        self._monitor = monitor
        self._leadership = leadership
        self._next = 0.0

    def poll(self) -> None:
        """Check where a minute has passed; takes as long as the channels do."""
        if time.monotonic() < self._next or not self._leadership.holds():
            return
        self._next = time.monotonic() + _EVERY_S
        self._monitor.check()

    def close(self) -> None:
        """Nothing runs on."""


def watch_alerts(
    home: Home, settings: AlertSettings, leadership: Leadership, log: Any
) -> list[AlertWatch]:
    """The task that watches ``home``, where somebody is to be told."""
    if settings.is_empty:
        return []
    return [AlertWatch(open_monitor(home, settings, log=log), leadership)]
