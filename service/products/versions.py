"""Index versions of a home: list and activate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from indexer.core.home import Home
from indexer.core.timer import StageTimer
from indexer.index.version import Versions
from service.query.response import Envelope
from service.state.pinned_versions import check_version_name
from service.state.snapshots import SnapshotManager


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


@dataclass(frozen=True)
class VersionList:
    """The published versions, oldest first."""

    indexes: list[VersionSummary]
    blocks: Annotated[
        dict[str, float],
        Field(description="The blocks of the serving model's embedding and their weights."),
    ]


@dataclass(frozen=True)
class Activation:
    """The version that was activated."""

    activated: str


class IndexVersions:
    """The index versions of a home; safe to call from many threads."""

    def __init__(self, home: Home, snapshots: SnapshotManager) -> None:
        self._versions = Versions(home)
        self._snapshots = snapshots

    def list(self) -> Envelope[VersionList]:
        """The published versions, and which one serves."""
        timer = StageTimer()
        now = self._snapshots.current
        rows = [
            VersionSummary(
                manifest.version,
                manifest.model_version,
                manifest.embedding_id,
                manifest.recipe,
                manifest.counts,
                manifest.last_sequence,
                manifest.recall,
                manifest.created,
                now is not None and manifest.version == now.index_version,
            )
            for manifest in self._versions.list()
        ]
        blocks = {block.name: block.weight for block in now.bundle.spec.blocks} if now else {}
        return Envelope.around(VersionList(rows, blocks), now, timer)

    def activate(self, version: str) -> Envelope[Activation]:
        """Switch to ``version`` and its model. Raises ``UnknownVersionError``,
        ``DamagedIndexError``, ``IndexMismatchError``."""
        timer = StageTimer()
        check_version_name(version)
        self._versions.activate(version)
        self._snapshots.follow()
        return Envelope.around(Activation(version), self._snapshots.current, timer)
