"""Alerts: a cause that began or ended, and the message about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

AlertKind = Literal["held", "failed", "silent", "photos", "disk", "test"]


@dataclass(frozen=True)
class AlertCause:
    """Something that a person should know, as long as it lasts.

    ``key`` names it: a cause of the same key is the same one, whatever its figures are by now.
    """

    key: str
    kind: AlertKind
    title: str
    # What is wrong and what to do, in one or a few sentences.
    detail: str


@dataclass(frozen=True)
class Alert:
    """One message: that a cause began, or that it ended. Times in seconds since 1970."""

    cause: AlertCause
    ended: bool
    began_at: float
    at: float
    # How the home is called in it.
    home: str

    @property
    def subject(self) -> str:
        state = "Over: " if self.ended else ""
        return f"[Catalens] {state}{self.cause.title}"

    @property
    def text(self) -> str:
        """The message for people, plain text."""
        lines = [f"{'Over: ' if self.ended else ''}{self.cause.title}", ""]
        lines.append(
            f"It began {_time(self.began_at)} and ended {_time(self.at)}."
            if self.ended
            else self.cause.detail
        )
        lines += ["", f"Home: {self.home}", f"Time: {_time(self.at)}"]
        return "\n".join(lines)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
