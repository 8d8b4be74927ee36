"""Probes of a home: free disk, failed jobs, feeds that are kept in step."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from typing import Any

from indexer.core.home import Home
from indexer.operations.jobs import Jobs
from indexer.operations.sync_source import SyncRun, SyncSource, SyncSources
from indexer.text.glossary import glossary_damage
from service.alerts.alert import AlertCause
from service.alerts.channels import open_channels
from service.alerts.monitor import AlertMonitor, AlertProbe
from service.settings.alerts import AlertSettings

_DISK = "disk"
_GLOSSARY = "glossary"
_JOB = "job:"
_SYNC = "sync:"


def open_monitor(home: Home, settings: AlertSettings, *, log: Any) -> AlertMonitor:
    """The monitor of ``home`` with all probes and the channels of ``settings``."""
    probes: list[AlertProbe] = [
        DiskProbe(home, settings.disk_free),
        JobProbe(home),
        SyncProbe(home, settings.photo_failures),
        GlossaryProbe(home),
    ]
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


class GlossaryProbe:
    """Tells where the home's own glossary cannot be read, so that an earlier one is asked."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def owns(self, key: str) -> bool:
        return key == _GLOSSARY

    def causes(self) -> Iterator[AlertCause]:
        if (what := glossary_damage(self._home)) is not None:
            yield AlertCause(
                _GLOSSARY,
                "failed",
                "The glossary cannot be read",
                f"{what}. Searches by text go on with the last good one, after a start with the "
                "shipped one. Correct the file, or import a good one (catalens glossary import).",
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


class SyncProbe:
    """Tells which feeds are held, failed, fell silent, or lost photos above a share."""

    def __init__(self, home: Home, photo_failures: float) -> None:
        self._sources = SyncSources(home)
        self._photo_failures = photo_failures

    def owns(self, key: str) -> bool:
        return key.startswith(_SYNC)

    def causes(self) -> Iterator[AlertCause]:
        for error in self._sources.damaged():
            digest = hashlib.sha256(str(error).encode("utf-8", "replace")).hexdigest()[:12]
            yield AlertCause(
                f"{_SYNC}file-{digest}:damaged", "failed", "A feed cannot be read", f"{error}."
            )
        for source in self._sources.all():
            runs = self._sources.runs(source.name)
            if runs:
                yield from self._of_run(source, runs[0])
                # A run that read nothing says nothing of photos.
                read = next((run for run in runs if run.outcome == "done"), None)
                if read is not None:
                    yield from self._of_photos(source, read)
            if self._sources.silent_since(source) is not None:
                yield AlertCause(
                    f"{_SYNC}{source.name}:silent",
                    "silent",
                    f"Feed {source.name} is silent",
                    f"It was not read for more than twice its period of {source.every_s / 60:g} "
                    "minutes. See catalens sync list, and whether the service or cron runs.",
                )

    def _of_run(self, source: SyncSource, run: SyncRun) -> Iterator[AlertCause]:
        if run.outcome not in ("held", "failed"):
            return
        todo = (
            f"Look at the feed; if it is right: catalens sync run {source.name} --accept"
            if run.outcome == "held"
            else f"Mend it, then: catalens sync run {source.name}"
        )
        yield AlertCause(
            f"{_SYNC}{source.name}:{run.outcome}",
            "held" if run.outcome == "held" else "failed",
            f"Feed {source.name} {'is held' if run.outcome == 'held' else 'failed'}",
            f"{run.reason}. {todo}",
        )

    def _of_photos(self, source: SyncSource, run: SyncRun) -> Iterator[AlertCause]:
        photos = run.counts.get("photos", 0)
        if photos and run.photos_failed / photos > self._photo_failures:
            yield AlertCause(
                f"{_SYNC}{source.name}:photos",
                "photos",
                f"{run.photos_failed / photos:.0%} of the photos of feed {source.name} failed",
                f"{run.photos_failed:,} of {photos:,}; the first: "
                f"{next(iter(run.warnings), 'no reason was kept')}",
            )
