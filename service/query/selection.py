"""Choice of the snapshot that answers a request."""

from __future__ import annotations

import time

from indexer.catalog.store import Catalog
from indexer.core.errors import BadRequestError
from service.inference.admission import OverloadedError
from service.query.cursors import CursorSigner, version_of
from service.query.query import SearchOptions, SnapshotSelector
from service.state.snapshot import Snapshot
from service.state.snapshots import SnapshotManager

_PATIENCE_S = 2.0  # how long a query with `min_sequence` waits for a write of another process


class SnapshotChooser:
    """Finds the snapshot that a request asks for."""

    def __init__(self, catalog: Catalog, snapshots: SnapshotManager, cursors: CursorSigner) -> None:
        self._catalog = catalog
        self._snapshots = snapshots
        self._cursors = cursors

    def choose(self, at: SnapshotSelector) -> Snapshot:
        """The snapshot that answers; of a further page, the version that gave the page before.

        Raises ``NoIndexError``, ``CursorGoneError``, ``BadRequestError`` for a sequence that is
        still to come, ``OverloadedError`` where it does not arrive in time.
        """
        min_sequence, version, reached = at.min_sequence, at.version, 0
        if isinstance(at, SearchOptions) and at.cursor is not None:
            page = self._cursors.read(at.cursor)
            reached = page.sequence
            version = version or version_of(page, self._snapshots)
        until = time.monotonic() + _PATIENCE_S
        while True:
            snapshot = (
                self._snapshots.require() if version is None else self._snapshots.get(version)
            )
            if self._sees(snapshot, min_sequence or 0, reached):
                return snapshot
            wanted = max(min_sequence or 0, reached)
            if wanted > self._catalog.last_sequence():
                raise BadRequestError(f"min_sequence {wanted} is beyond the catalog's last change")
            if time.monotonic() > until:
                raise OverloadedError(f"sequence {wanted} is not searchable yet: try again shortly")
            if snapshot.live.sequence < wanted:
                self._snapshots.follow_step(snapshot)
            else:
                time.sleep(0.02)

    def _sees(self, snapshot: Snapshot, min_sequence: int, reached: int) -> bool:
        """Whether the write or batch ``min_sequence`` is searchable, and changes up to ``reached``
        were looked at. Other products whose photos still wait for the network hold nobody up."""
        if snapshot.live.sequence < max(min_sequence, reached):
            return False
        if not min_sequence or not len(snapshot.pending):
            return True
        written = self._catalog.change_log.pids_with(min_sequence)
        return not any(pid in snapshot.pending for pid in written)
