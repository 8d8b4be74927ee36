"""Index versions of a home: list, compare, activate, roll back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from indexer.catalog.store import Catalog
from indexer.core.home import Home
from indexer.core.manifest import Manifest
from indexer.core.timer import StageTimer
from indexer.index.activation import PastActivation
from indexer.index.version import Versions
from indexer.index.version_comparison import VersionComparison, compare_versions
from service.inference.deadline import Deadline
from service.query.response import Envelope
from service.state.pinned_versions import check_version_name
from service.state.snapshots import SnapshotManager


@dataclass(frozen=True)
class ActivationNote:
    """Since when a version served last (ISO 8601, UTC), and who activated it; "" where that is not
    known."""

    at: str
    by: str


@dataclass(frozen=True)
class VersionSummary:
    """A published index version, and whether it serves."""

    version: str
    model_version: str
    embedding_id: str
    recipe: Any
    counts: dict[str, int]
    last_sequence: int
    recall: Any
    created: Any
    active: bool
    activated: ActivationNote | None


@dataclass(frozen=True)
class VersionList:
    """The published versions, oldest first."""

    indexes: list[VersionSummary]
    blocks: Annotated[
        dict[str, float],
        Field(description="The blocks of the serving model's embedding and their weights."),
    ]
    previous: Annotated[
        str | None,
        Field(description="The version that a rollback returns to."),
    ]


@dataclass(frozen=True)
class Activation:
    """The version that was activated."""

    activated: str


class IndexVersions:
    """The index versions of a home; safe to call from many threads."""

    def __init__(
        self, home: Home, catalog: Catalog, snapshots: SnapshotManager, deadline_s: float
    ) -> None:
        self._deadline_s = deadline_s
        self._home = home
        self._catalog = catalog
        self._versions = Versions(home)
        self._snapshots = snapshots

    def list(self) -> Envelope[VersionList]:
        """The published versions, and which one serves. Raises ``DeadlineExceededError``."""
        deadline = Deadline(self._deadline_s)
        now = self._snapshots.current
        past = {entry.version: entry for entry in self._versions.history()}
        rows = []
        for manifest in self._versions.iterate():
            deadline.check()
            serves = now is not None and manifest.version == now.index_version
            rows.append(_summary(manifest, serves, past.get(manifest.version)))
        blocks = {block.name: block.weight for block in now.bundle.spec.blocks} if now else {}
        previous = self._versions.previous()
        target = None if previous is None else previous.index_version
        return Envelope.around(VersionList(rows, blocks, target), now, deadline.timer)

    def compare(self, version: str) -> Envelope[VersionComparison]:
        """What changes where ``version`` is activated. Raises ``UnknownVersionError``,
        ``DamagedIndexError``, ``DeadlineExceededError``."""
        deadline = Deadline(self._deadline_s)
        check_version_name(version)
        found = compare_versions(self._home, self._catalog, version, on_step=deadline.check)
        return Envelope.around(found, self._snapshots.current, deadline.timer)

    def activate(self, version: str) -> Envelope[Activation]:
        """Switch to ``version`` and its model. Raises ``UnknownVersionError``,
        ``DamagedIndexError``, ``IndexMismatchError``."""
        timer = StageTimer()
        check_version_name(version)
        self._catalog.database.require_writable()
        self._versions.activate(version)
        self._snapshots.follow()
        return Envelope.around(Activation(version), self._snapshots.current, timer)

    def roll_back(self, *, instead_of: str | None = None) -> Envelope[Activation]:
        """Undo the last activation: what was active before serves again.

        ``instead_of``: the version that whoever asks has seen active. Raises ``ChangedError`` where
        another is by now, ``UnknownVersionError`` where nothing was before.
        """
        timer = StageTimer()
        if instead_of is not None:
            check_version_name(instead_of)
        self._catalog.database.require_writable()
        version = self._versions.rollback(instead_of=instead_of)
        self._snapshots.follow()
        return Envelope.around(Activation(version), self._snapshots.current, timer)


def _summary(manifest: Manifest, serves: bool, past: PastActivation | None) -> VersionSummary:
    return VersionSummary(
        manifest.version,
        manifest.model_version,
        manifest.embedding_id,
        manifest.recipe,
        manifest.counts,
        manifest.last_sequence,
        manifest.recall,
        manifest.created,
        serves,
        _note(past),
    )


def _note(past: PastActivation | None) -> ActivationNote | None:
    return None if past is None else ActivationNote(past.at, past.by)
