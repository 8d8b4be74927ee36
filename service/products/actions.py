"""Actions of people and machines on a home: what was done, and its undo."""

from __future__ import annotations

from dataclasses import dataclass

from indexer.catalog.store import Catalog
from indexer.core.home import Home
from indexer.core.timer import StageTimer
from indexer.operations.undo import ListedAction, UndoResult, is_long, list_actions, undo
from service.inference.deadline import Deadline
from service.query.response import Envelope
from service.settings import Settings
from service.state.snapshots import SnapshotManager


@dataclass(frozen=True)
class ActionList:
    """What was done, the newest first."""

    actions: list[ListedAction]


class ActionHistory:
    """What was done to a home; safe to call from many threads."""

    def __init__(
        self, home: Home, catalog: Catalog, snapshots: SnapshotManager, settings: Settings
    ) -> None:
        self._home = home
        self._undo_days = settings.undo_days
        self._deadline_s = settings.deadline_s
        self._catalog = catalog
        self._snapshots = snapshots

    def list(self, *, limit: int, writes: bool) -> Envelope[ActionList]:
        """The last ``limit`` actions; ``writes``: single writes too. Raises
        ``DeadlineExceededError``."""
        deadline = Deadline(self._deadline_s)
        found = list_actions(
            self._home,
            self._catalog,
            limit=limit,
            writes=writes,
            days=self._undo_days,
            on_step=deadline.check,
        )
        return Envelope.around(ActionList(found), self._snapshots.current, deadline.timer)

    def is_long(self, name: str) -> bool:
        """Whether ``undo`` would take longer than an answer may. Raises as
        ``operations.undo.is_long``."""
        return is_long(self._home, self._catalog, name)

    def undo(self, name: str, *, dry_run: bool) -> Envelope[UndoResult]:
        """Take an action back; the next query finds what was before.

        Raises ``UnknownActionError``, ``NotUndoableError``, ``ChangedError``.
        """
        timer = StageTimer()
        result = undo(self._home, self._catalog, name, dry_run=dry_run)
        if not dry_run:
            self._snapshots.follow()
        return Envelope.around(result, self._snapshots.current, timer)
