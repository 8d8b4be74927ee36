"""Snapshot manager: the current snapshot, in step with activations and the change log."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import PhotoRow, Written
from indexer.catalog.store import Catalog
from indexer.core.atomic_files import file_stamp
from indexer.core.errors import CatalensError, IndexMismatchError, NoIndexError
from indexer.core.home import Active, Home
from indexer.imaging.decode import STORED_PHOTO_LIMITS, Photo, decode_photo
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.live import LiveIndex
from indexer.index.version import Versions
from indexer.model.bundle import Bundle
from indexer.model.open_runtime import open_embedder
from indexer.model.registry import by_version
from service.inference.admission import OverloadedError
from service.inference.queue import InferenceQueue
from service.state.pinned_versions import PinnedVersions, check_version_name
from service.state.snapshot import Snapshot

_CHUNK = 8  # photos embedded between two looks at the queue of requests


class SnapshotManager:
    """Holds the current snapshot; ``refresh`` follows activations and the change log.

    A switch replaces the whole snapshot at once. A version that cannot be opened is logged and the
    old one serves on.
    """

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        photos: PhotoStore,
        queue: InferenceQueue,
        pinned: PinnedVersions,
        *,
        device: str,
        engine: str,
        log: Any,
    ) -> None:
        self._home = home
        self._catalog = catalog
        self._photos = photos
        self._queue = queue
        self.pinned = pinned
        self._device = device
        self._engine = engine
        self._log = log
        self._versions = Versions(home)
        self.current: Snapshot | None = None
        # Of CURRENT when it was last read: a refused pair is not tried twice.
        self._stamp: tuple[int, ...] | None = None
        self._refreshing = threading.Lock()
        self._applying = threading.Lock()  # catalog state read and laid over the index as one step
        self._unreadable: set[int] = set()  # photo ids already reported
        self._opening = threading.Lock()  # one version at a time: each reads a model and an index

    def start(self) -> None:
        """Open the active pair, if there is one; raises what is wrong with it."""
        with self._refreshing:
            self._stamp = file_stamp(self._home.current_file)
            active = self._home.active()
            if active is not None:
                self._switch(self._open(active))

    def refresh(self) -> None:
        """Pick up a newly activated version and what others wrote to the catalog. Logs instead of
        raising."""
        with self._refreshing:
            try:
                self._follow_activation()
                if self.current is not None:
                    self._replay(self.current)
                self._refresh_pinned()
            except OverloadedError:
                pass  # requests go first; the next round tries again
            except Exception as error:
                self._log.error("refresh failed", error=str(error), exc_info=error)

    def apply(self, pids: Iterable[int], written: Sequence[Written]) -> None:
        """Show this process's own writes to the next search: ``written``, what one commit did, in
        its order.

        ``pids``: the products whose photos it concerns. The sequence is moved up only if nothing
        else lies between, and no other product was changed with them; otherwise ``refresh``
        follows.
        """
        first: dict[int, int] = {}
        for found in written:
            if found.outcome != "unchanged":
                first.setdefault(found.pid, found.sequence)
        # A commit's numbers follow each other.
        sequences = [found.sequence for found in written if found.outcome != "unchanged"]
        with self._applying:
            # Read under the lock: a switch in between has replayed the log up to here.
            snapshot = self.current
            if snapshot is None:
                return
            follows = bool(sequences) and sequences[0] <= snapshot.live.sequence + 1
            follows = follows and not any(found.warnings for found in written)
            pending = self._apply_overlay(snapshot, pids, sequences[-1] if follows else None, first)
        if pending:
            self._log.warning(
                "written, but not searchable before its photos are embedded", pids=list(pending)
            )

    def require(self) -> Snapshot:
        """The current snapshot. Raises ``NoIndexError``."""
        if self.current is None:
            raise NoIndexError("no index version is active: run catalens index build --activate")
        return self.current

    def get(self, version: str) -> Snapshot:
        """The snapshot of ``version``, opened beside the current one unless it is open.

        Raises ``UnknownVersionError``, ``DamagedIndexError`` and ``BadModelError`` naming the file,
        ``OutdatedVersionError``, ``NewerFormatError``, ``IndexMismatchError``,
        ``UnknownModelError``.
        """
        check_version_name(version)
        now = self.current
        if now is not None and now.index_version == version:
            return now
        with self._opening:
            pair = self.pinned.pair_of(version)
            found = self.pinned.find(pair)
            if found is None:
                found = self._open(pair)
                with self._applying:
                    self._replay_log(found)
            self.pinned.add(found)
            return found

    def _refresh_pinned(self) -> None:
        for snapshot in self.pinned.snapshots():
            try:
                self._replay(snapshot)
            except CatalensError as error:
                self.pinned.close(snapshot.index_version, error)

    def _follow_activation(self) -> None:
        stamp = file_stamp(self._home.current_file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        active, now = None, self.current
        try:
            active = self._home.active()
            if active is None or (
                now
                and (active.index_version, active.model_version)
                == (now.index_version, now.model_version)
            ):
                return
            self._switch(self._open(active))
        except CatalensError as error:
            self._log.error(
                "activated version cannot be served; the old one goes on",
                index_version=active.index_version if active else None,
                serving=now.index_version if now else None,
                code=error.code,
                error=str(error),
            )

    def _open(self, active: Active) -> Snapshot:
        bundle = by_version(self._home, active.model_version)
        now = self.current
        if (
            now is not None
            and now.index_version == active.index_version
            and _revision_of(now.bundle, bundle)
        ):
            return replace(now, bundle=bundle)
        base = self._versions.open(active.index_version, device=self._device)
        if base.manifest.embedding_id != bundle.embedding_id:
            raise IndexMismatchError(
                f"index {active.index_version} was built for embedding "
                f"{base.manifest.embedding_id}, "
                f"model {active.model_version} has embedding {bundle.embedding_id}: rebuild or "
                "activate a fitting pair"
            )
        if now is not None and _revision_of(now.bundle, bundle):
            embedder = now.embedder
        else:
            embedder = open_embedder(bundle, device=self._device, engine=self._engine)
            embedder.configure_threads()
        store = EmbeddingStore(self._home.embeddings, bundle.embedding_id, bundle.spec.dim)
        return Snapshot(active.index_version, bundle, embedder, LiveIndex(base), store)

    def _switch(self, snapshot: Snapshot) -> None:
        # Everything that needs no network is laid over before the first request sees the version;
        # the rest follows. Most of it before the lock is taken, so that writes wait for the last
        # bit only.
        self._replay_log(snapshot)
        with self._applying:
            self._replay_log(snapshot)
            self.current = snapshot
        self._log.info(
            "serving",
            index_version=snapshot.index_version,
            model_version=snapshot.model_version,
            products=snapshot.live.product_count,
            sequence=snapshot.live.sequence,
        )

    def _replay(self, snapshot: Snapshot) -> None:
        """Lay over all changes since the snapshot's sequence, embedding photos that were never
        seen."""
        if self._catalog.last_sequence() == snapshot.live.sequence:
            return
        with self._applying:
            pending = self._replay_log(snapshot)
        chunk: list[int] = []
        size = 0
        for pid, photo_ids in pending.items():
            chunk.append(pid)
            size += len(photo_ids)
            if size >= _CHUNK:
                self._embed_and_apply(snapshot, chunk, pending)
                chunk, size = [], 0
        self._embed_and_apply(snapshot, chunk, pending)
        if pending:
            with self._applying:
                self._replay_log(snapshot)

    def _replay_log(self, snapshot: Snapshot) -> dict[int, list[int]]:
        """Lay over what needs no embedding. Returns pid -> photo ids still to embed; the sequence
        stops before them."""
        changes = self._catalog.changes(snapshot.live.sequence)
        if not changes:
            return {}
        first = {change.pid: change.sequence for change in reversed(changes)}
        touched = sorted({change.pid for change in changes if change.photos_changed})
        return self._apply_overlay(snapshot, touched, changes[-1].sequence, first)

    def _apply_overlay(
        self,
        snapshot: Snapshot,
        pids: Iterable[int],
        sequence: int | None,
        first: dict[int, int] | None = None,
    ) -> dict[int, list[int]]:
        """The catalog's present state of ``pids`` over the index; needs ``_applying``. Returns as
        ``_replay_log``."""
        pids = list(pids)
        held = self._catalog.photo_ids(pids)
        wanted = np.unique([photo_id for ids in held.values() for photo_id in ids]).astype(np.int64)
        missing = snapshot.store.missing(wanted)
        stored = np.setdiff1d(wanted, missing, assume_unique=True)
        vectors = snapshot.store.get(stored).astype(np.float32)
        absent = set(missing.tolist()) - self._unreadable
        self._unreadable -= set(stored.tolist())  # sent again
        pending: dict[int, list[int]] = {}
        upserts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for pid, ids in held.items():
            if not absent.isdisjoint(ids):
                pending[pid] = [photo_id for photo_id in ids if photo_id in absent]
                continue
            photo_ids = np.array(
                [photo_id for photo_id in ids if photo_id not in self._unreadable], dtype=np.int64
            )
            upserts[pid] = (photo_ids, vectors[np.searchsorted(stored, photo_ids)])
        reached = snapshot.live.sequence
        if sequence is not None:
            stops = [first[pid] - 1 if first and pid in first else reached for pid in pending]
            reached = max(reached, min([sequence, *stops]))
        # Read last: what filters see of a product is at least as new as its photos.
        facts = self._catalog.facts({*pids, *(first or ())})
        deletes = [pid for pid in pids if pid not in held]
        snapshot.live.apply(sequence=reached, upserts=upserts, deletes=deletes, facts=facts)
        return pending

    def _decode(self, snapshot: Snapshot, row: PhotoRow) -> Photo:
        return decode_photo(
            self._photos.read(row),
            limits=STORED_PHOTO_LIMITS,
            shrink_to=snapshot.embedder.shrink_to,
        )

    def _embed_and_apply(
        self, snapshot: Snapshot, pids: list[int], pending: dict[int, list[int]]
    ) -> None:
        if not pids:
            return
        photo_ids = [photo_id for pid in pids for photo_id in pending[pid]]
        rows = self._catalog.photos_by_id(photo_ids)
        done: list[int] = []
        photos: list[Photo] = []
        for photo_id in dict.fromkeys(photo_ids):
            try:
                if photo_id in rows:  # else its product was deleted meanwhile
                    photos.append(self._decode(snapshot, rows[photo_id]))
                    done.append(photo_id)
            except CatalensError as error:
                self._unreadable.add(photo_id)
                self._log.warning(
                    "photo left out of the search",
                    photo_id=photo_id,
                    code=error.code,
                    error=str(error),
                )
        if done:
            vectors = self._queue.embed(snapshot.embedder, photos, patient=True)
            snapshot.store.put(np.array(done, dtype=np.int64), vectors)
        with self._applying:
            self._apply_overlay(snapshot, pids, None)


def _revision_of(one: Bundle, other: Bundle) -> bool:
    """Whether both have the same weights, heads included: their decision layers
    alone may differ."""
    names = (one.decision.origin or one.model_version, other.decision.origin or other.model_version)
    return one.embedding_id == other.embedding_id and names[0] == names[1]
