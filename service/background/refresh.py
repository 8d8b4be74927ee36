"""Background task that picks up other processes' activations and writes."""

from __future__ import annotations

import math

from indexer.catalog.probe import CatalogProbe
from service.state.snapshots import SnapshotManager


class SnapshotRefresh:
    """Refreshes the snapshot of this service, whoever leads, while the catalog is the right one."""

    name = "refresh"
    longest_wait_s = math.inf

    def __init__(self, snapshots: SnapshotManager, probe: CatalogProbe) -> None:
        self._snapshots = snapshots
        self._probe = probe

    def poll(self) -> None:
        self._probe.require()
        self._snapshots.follow()

    def close(self) -> None:
        """Nothing runs between two polls."""
