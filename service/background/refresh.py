"""Background task that picks up other processes' activations and writes."""

from __future__ import annotations

import math

from service.state.snapshots import SnapshotManager


class SnapshotRefresh:
    """Refreshes the snapshot of this service, whoever leads."""

    name = "refresh"
    longest_wait_s = math.inf

    def __init__(self, snapshots: SnapshotManager) -> None:
        self._snapshots = snapshots

    def poll(self) -> None:
        self._snapshots.follow()

    def close(self) -> None:
        """Nothing runs between two polls."""
