"""Progress-callback protocols; ``note`` is an optional annotation."""

from __future__ import annotations

from typing import Protocol


class OnProgress(Protocol):
    """How far one stage is."""

    def __call__(self, done: int, total: int, note: str = "", /) -> None: ...


class OnStage(Protocol):
    """How far each of several stages is."""

    def __call__(self, stage: str, done: int, total: int, note: str = "", /) -> None: ...


def no_progress(stage: str, done: int, total: int, note: str = "", /) -> None:
    """Report to nobody."""
