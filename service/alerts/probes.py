"""Probes of a home: free disk, failed jobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

from indexer.core.home import Home
from indexer.operations.jobs import Jobs
from service.alerts.alert import AlertCause
from service.alerts.channels import open_channels
from service.alerts.monitor import AlertMonitor, AlertProbe
from service.settings.alerts import AlertSettings

_DISK = "disk"
_JOB = "job:"


def open_monitor(home: Home, settings: AlertSettings, *, log: Any) -> AlertMonitor:
    """The monitor of ``home`` with all probes and the channels of ``settings``."""
    probes: list[AlertProbe] = [DiskProbe(home, settings.disk_free), JobProbe(home)]
    return AlertMonitor(home, probes, open_channels(home, settings), log=log)


class DiskProbe:
    """Tells where less of the home's disk is free than a share."""

    def __init__(self, home: Home, least: float) -> None:
        self._home = home
        self._least = least

    def owns(self, key: str) -> bool:
        return key == _DISK

    def causes(self) -> Iterator[AlertCause]:
        usage = shutil.disk_usage(self._home.path)
        free = usage.free / usage.total
        if free < self._least:
            yield AlertCause(
                _DISK,
                "disk",
                f"Only {free:.0%} of the disk is free",
                f"{usage.free / 1e9:,.1f} GB of {usage.total / 1e9:,.1f} GB are left where "
                f"{self._home.path} lies. Remove old index versions (catalens index gc), or make "
                "room: imports and builds stop when it is full.",
            )


class JobProbe:
    """Tells where the last job of a kind failed; it ends with the next one that is done."""

    def __init__(self, home: Home) -> None:
        self._jobs = Jobs(home)

    def owns(self, key: str) -> bool:
        return key.startswith(_JOB)

    def causes(self) -> Iterator[AlertCause]:
        seen = set()
        # The newest come first.
        for job in self._jobs.list():
            if job.kind in seen or job.state not in ("done", "failed"):
                continue
            seen.add(job.kind)
            if job.state == "failed" and job.problem is not None:
                yield AlertCause(
                    f"{_JOB}{job.kind}",
                    "failed",
                    f"The last {job.kind} failed",
                    f"{job.problem.detail} (job {job.job_id}, {job.problem.code}). Mend that and "
                    "start it again.",
                )
