"""Tasks that watch a home beside its queries: alerts, and feeds that are kept in step."""

from __future__ import annotations

from typing import Any

from indexer.core.home import Home
from service.background.alert_watch import watch_alerts
from service.background.leadership import Leadership
from service.background.runner import BackgroundTask
from service.background.sync_schedule import SyncSchedule
from service.query.photo_urls import fetch_settings
from service.settings import Settings


def home_tasks(
    home: Home, settings: Settings, leadership: Leadership, log: Any
) -> list[BackgroundTask]:
    """Those that ``settings`` ask for."""
    return [
        *watch_alerts(home, settings.alerts, leadership, log),
        SyncSchedule(
            home, leadership, fetch_settings(settings), memory=settings.job_memory, log=log
        ),
    ]
