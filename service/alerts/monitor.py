"""Monitor of a home: one message when a cause begins and one when it ends, by each channel."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from indexer.core.atomic_files import read_sealed_json, write_sealed_json
from indexer.core.errors import BusyError, CatalensError
from indexer.core.home import Home
from service.alerts.alert import Alert, AlertCause
from service.alerts.channels import AlertChannel

# After a channel refused a message, that long nothing is sent by it.
_RETRY_S = 600.0


class AlertProbe(Protocol):
    """Looks for causes of one kind."""

    def causes(self) -> Iterator[AlertCause]:
        """Those that last now. What cannot be looked up raises, and its causes stay as they were:
        ``keys`` tells which are its own."""
        ...

    def owns(self, key: str) -> bool:
        """Whether a cause of this key is one of this probe's."""
        ...


@dataclass(frozen=True)
class _OpenCause:
    """A cause that lasts, or one whose end is still to be told."""

    cause: AlertCause
    began_at: float
    # Names of channels that were told of its beginning, and those told of its end.
    told: tuple[str, ...] = ()
    ended_at: float | None = None
    told_end: tuple[str, ...] = ()


@dataclass
class AlertReport:
    """What one check did: titles that were sent, and why some were not."""

    sent: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class AlertMonitor:
    """Checks the probes of one home and tells the channels what changed.

    What is open is kept in the home, so that a restart tells nothing twice and a message that could
    not be sent is sent later. One process at a time checks.
    """

    def __init__(
        self,
        home: Home,
        probes: Sequence[AlertProbe],
        channels: Sequence[AlertChannel],
        *,
        log: Any,
    ) -> None:
        self._home = home
        self._path = home.path / "alerts.json"
        self._probes = tuple(probes)
        self._channels = tuple(channels)
        self._log = log
        self._not_before: dict[str, float] = {}
        # What is open, where it could not be stored: a full disk is told of once, too.
        self._unsaved: dict[str, _OpenCause] | None = None

    def check(self) -> AlertReport:
        """Look at everything once. Returns nothing to report where another process checks now."""
        report = AlertReport()
        try:
            with self._home.lock("alerts"):
                opened = self._load() if self._unsaved is None else self._unsaved
                self._tell(self._update(opened), report)
        except BusyError:
            return report
        return report

    def _update(self, opened: dict[str, _OpenCause]) -> dict[str, _OpenCause]:
        """Add causes that began and mark those that ended."""
        now = time.time()
        for probe in self._probes:
            try:
                lasting = {cause.key: cause for cause in probe.causes()}
            except Exception as error:  # whatever a probe looks at may be broken just now
                self._log.warning("alert probe failed", probe=type(probe).__name__, exc_info=error)
                continue
            for key, cause in lasting.items():
                known = opened.get(key)
                if known is None:
                    opened[key] = _OpenCause(cause, now)
                elif known.ended_at is not None:
                    # It is back before all were told of its end: for those it goes on.
                    told = tuple(name for name in known.told if name not in known.told_end)
                    began_at = known.began_at if told else now
                    opened[key] = _OpenCause(cause, began_at, told)
                else:
                    opened[key] = replace(known, cause=cause)
            for key, known in list(opened.items()):
                if probe.owns(key) and key not in lasting and known.ended_at is None:
                    opened[key] = replace(known, ended_at=now)
        return opened

    def _tell(self, opened: Mapping[str, _OpenCause], report: AlertReport) -> None:
        """Send what is due, and store it after each cause, so that a kill has little told twice."""
        names = [channel.name for channel in self._channels]
        kept = dict(opened)
        self._save(kept)
        for key, known in opened.items():
            before = known
            told = self._send(known, known.told, report, ended=False)
            known = kept[key] = replace(known, told=told)
            if known.ended_at is not None:
                # Who never heard of the beginning need not hear of the end.
                told_end = self._send(known, known.told_end, report, ended=True)
                known = kept[key] = replace(known, told_end=told_end)
                if not any(name in known.told and name not in known.told_end for name in names):
                    del kept[key]
            if kept.get(key) != before:
                self._save(kept)

    def _send(
        self, known: _OpenCause, told: tuple[str, ...], report: AlertReport, *, ended: bool
    ) -> tuple[str, ...]:
        """Tell the channels that were not told yet; returns all that are by now."""
        if not ended and known.ended_at is not None:
            return told
        due = [
            channel
            for channel in self._channels
            if channel.name not in told and (not ended or channel.name in known.told)
        ]
        at = known.ended_at if ended and known.ended_at is not None else time.time()
        alert = Alert(known.cause, ended, known.began_at, at, str(self._home.path))
        return (*told, *self._deliver(alert, due, report))

    def _deliver(
        self, alert: Alert, channels: Iterable[AlertChannel], report: AlertReport
    ) -> Iterator[str]:
        for channel in channels:
            if time.monotonic() < self._not_before.get(channel.name, 0.0):
                continue
            try:
                channel.send(alert)
            except Exception as error:  # whatever a channel does, the others are told
                known = isinstance(error, CatalensError)
                # Of others not the text, which may hold an address and so a key.
                reason = str(error) if known else f"{channel.name}: {type(error).__name__}"
                self._not_before[channel.name] = time.monotonic() + _RETRY_S
                self._log.error("alert not sent", reason=reason, title=alert.cause.title)
                report.failed.append(reason)
                continue
            report.sent.append(alert.subject)
            yield channel.name

    def _load(self) -> dict[str, _OpenCause]:
        try:
            stored = read_sealed_json(self._path)
            return {
                key: _OpenCause(
                    AlertCause(**entry["cause"]),
                    float(entry["began_at"]),
                    tuple(entry["told"]),
                    entry["ended_at"],
                    tuple(entry["told_end"]),
                )
                for key, entry in stored.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self._log.warning(
                "alerts.json cannot be read: open alerts are told again", reason=str(error)
            )
            return {}

    def _save(self, opened: Mapping[str, _OpenCause]) -> None:
        try:
            if opened or self._path.exists():
                stored = {key: asdict(known) for key, known in opened.items()}
                write_sealed_json(self._path, stored)
        except (OSError, UnicodeError) as error:
            if self._unsaved is None:
                self._log.error("open alerts cannot be stored", reason=str(error))
            self._unsaved = dict(opened)
        else:
            self._unsaved = None
