"""Snapshot manager: the current snapshot, in step with activations and the change log."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import PhotoRow, Written
from indexer.catalog.store import Catalog
from indexer.core.atomic_files import file_stamp
from indexer.core.backoff import Backoff
from indexer.core.errors import (
    BadImageError,
    CatalensError,
    IndexMismatchError,
    NoIndexError,
    UnavailableError,
)
from indexer.core.home import Active, Home
from indexer.imaging.decode import STORED_PHOTO_LIMITS, Photo, decode_photo
from indexer.imaging.parallel import held_bytes
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
_CHUNK_BYTES = 64 * 2**20  # of decoded photos, from which fewer are embedded at once
# Changes laid over an index in one step, while own writes wait.
_STEP = 1000
# Between two tries of an activated pair that could not be opened.
_AGAIN_S, _LONGEST_S = 1.0, 300.0
# How often a start opens what is active, where that changes meanwhile.
_START_TRIES = 5
# How long a request waits while another version is opened.
_OPENING_S = 2.0


class SnapshotManager:
    """Holds the current snapshot; ``follow`` picks up activations and the change log, and
    ``follow_some`` embeds the photos that nobody has embedded yet.

    A switch replaces the whole snapshot at once. A version that cannot be opened is logged, tried
    again after a pause, and the old one serves on. What needs no network is seen at once: photos
    that wait to be embedded hold up no other product.
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
        # Of CURRENT when it was last taken.
        self._stamp: tuple[int, ...] | None = None
        # Of CURRENT when its pair could not be opened, when that is tried again, and whether it may
        # be for a moment only.
        self._refused: tuple[int, ...] | None = None
        self._activating = Backoff(_AGAIN_S, _LONGEST_S)
        self._is_away = False
        # Between two lines of the log about a fault that lasts.
        self._silence = Backoff(_AGAIN_S, _LONGEST_S)
        self._refreshing = threading.Lock()
        self._applying = threading.Lock()  # catalog state read and laid over the index as one step
        self._embedding = threading.Lock()  # one portion of photos at a time
        self._opening = threading.Lock()  # one version at a time: each reads a model and an index

    def start(self) -> None:
        """Open the active pair, if there is one; raises what is wrong with it.

        Where another one was activated meanwhile, the first may be gone: then that is opened.
        """
        with self._refreshing:
            for left in reversed(range(_START_TRIES)):
                self._stamp = file_stamp(self._home.current_file)
                active = self._home.active()
                if active is None:
                    return
                try:
                    self._switch(self._open(active))
                    return
                except (CatalensError, OSError):
                    if not left or self._home.active() == active:
                        raise

    def refresh(self) -> None:
        """Pick up all that is new now, with the photos that wait to be embedded, and those that
        could not be read before. Logs instead of raising."""
        self._silence.hurry()
        if self._is_away:
            self._activating.hurry()
        self.follow()
        try:
            for snapshot in self._open_snapshots():
                snapshot.pending.hurry()
            while not self.follow_some():
                pass
        except Exception as error:
            self._log.error("refresh failed", error=str(error), exc_info=error)

    def follow(self) -> None:
        """Pick up a newly activated version and what others wrote to the catalog, but for photos
        that were never embedded. Logs instead of raising."""
        with self._refreshing:
            try:
                try:
                    self._follow_activation()
                finally:  # whatever is wrong with the new pair, what serves goes on
                    if self.current is not None:
                        self._follow_log(self.current)
                    self._follow_pinned()
            except Exception as error:
                if self._silence.is_due:
                    again_s = self._silence.fail()
                    self._log.error(
                        "refresh failed; it is tried again",
                        error=str(error),
                        said_again_after_s=again_s,
                        exc_info=error,
                    )
            else:
                self._silence.succeed()

    def follow_some(self) -> bool:
        """Embed the next photos that no index version and no writer has embedded; whether none
        are left that can be embedded now."""
        try:
            for snapshot in self._open_snapshots():
                if not self._embed_next(snapshot):
                    return False
        except OverloadedError:
            pass  # requests go first; the next round tries again
        return True

    def follow_step(self, snapshot: Snapshot) -> None:
        """Lay the next changes over one snapshot's index, for a request that waits for them."""
        with self._applying:
            self._step(snapshot)

    def _open_snapshots(self) -> list[Snapshot]:
        current = [] if self.current is None else [self.current]
        return [*current, *self.pinned.snapshots()]

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
            waiting = self._apply_overlay(snapshot, pids, sequences[-1] if follows else None, first)
        if waiting:
            self._log.warning(
                "written, but not searchable before its photos are embedded", pids=waiting
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
        pair = self.pinned.pair_of(version)
        found = self.pinned.find(pair)
        if found is None:
            found = self._opened(pair)
        self.pinned.add(found)
        return found

    def _opened(self, pair: Active) -> Snapshot:
        """A version that is not open yet. Raises ``OverloadedError`` while others are opened."""
        if not self._opening.acquire(timeout=_OPENING_S):
            raise OverloadedError("another index version is being opened: try again shortly")
        try:
            found = self.pinned.find(pair)
            if found is None:
                found = self._open(pair)
                self._catch_up(found)
            return found
        finally:
            self._opening.release()

    def _follow_pinned(self) -> None:
        for snapshot in self.pinned.snapshots():
            try:
                self._follow_log(snapshot)
            except CatalensError as error:
                self.pinned.close(snapshot.index_version, error)

    def _follow_activation(self) -> None:
        stamp = file_stamp(self._home.current_file)
        if stamp == self._stamp or (stamp == self._refused and not self._activating.is_due):
            return
        if stamp != self._refused:
            self._activating.succeed()
        active, now = None, self.current
        try:
            active = self._home.active()
            if active is not None and (
                now is None
                or (active.index_version, active.model_version)
                != (now.index_version, now.model_version)
            ):
                self._switch(self._open(active))
        except Exception as error:
            self._refused = stamp
            again_s = self._activating.fail()
            self._is_away = not isinstance(error, CatalensError) or isinstance(
                error, UnavailableError
            )
            if self._is_away:
                raise
            self._log.error(
                "activated version cannot be served; the old one goes on",
                index_version=active.index_version if active else None,
                serving=now.index_version if now else None,
                again_s=again_s,
                code=getattr(error, "code", None),
                error=str(error),
            )
        else:
            self._stamp, self._refused, self._is_away = stamp, None, False

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
        self._home.require()
        store = EmbeddingStore(
            self._home.embeddings, bundle.embedding_id, bundle.spec.dim, catalog=self._catalog
        )
        return Snapshot(active.index_version, bundle, embedder, LiveIndex(base), store)

    def _switch(self, snapshot: Snapshot) -> None:
        if self.current is not None and self.current.pending is not snapshot.pending:
            snapshot.pending.take_over(self.current.pending)
        # Everything that needs no network is laid over before the first request sees the version;
        # the rest follows.
        self._catch_up(snapshot)
        with self._applying:
            while self._step(snapshot):
                pass
            self.current = snapshot
        self._log.info(
            "serving",
            index_version=snapshot.index_version,
            model_version=snapshot.model_version,
            products=snapshot.live.product_count,
            sequence=snapshot.live.sequence,
        )

    # -- following the change log

    def _catch_up(self, snapshot: Snapshot) -> None:
        """Lay all changes over a snapshot that nobody sees yet, so that own writes wait for none of
        them."""
        while self._step(snapshot):
            pass

    def _follow_log(self, snapshot: Snapshot) -> None:
        """Lay all changes over a snapshot; own writes come in between."""
        more = True
        while more:
            with self._applying:
                more = self._step(snapshot)

    def _step(self, snapshot: Snapshot) -> bool:
        """Lay the next commits over; needs ``_applying`` where requests see the snapshot. Whether
        there were any."""
        if self._catalog.last_sequence() == snapshot.live.sequence:
            return False
        changes = self._catalog.change_log.step(snapshot.live.sequence, _STEP)
        if not changes:
            return False
        first = {change.pid: change.sequence for change in reversed(changes)}
        touched = sorted({change.pid for change in changes if change.photos_changed})
        self._apply_overlay(snapshot, touched, changes[-1].sequence, first)
        return True

    def _apply_overlay(
        self,
        snapshot: Snapshot,
        pids: Iterable[int],
        sequence: int | None,
        first: dict[int, int] | None = None,
    ) -> list[int]:
        """The catalog's present state of ``pids`` over the index; needs ``_applying``. Returns the
        products that wait for their photos."""
        pids = list(pids)
        held = self._catalog.photo_ids(pids)
        wanted = np.unique([photo_id for ids in held.values() for photo_id in ids]).astype(np.int64)
        stored, halves = snapshot.store.find(wanted)
        vectors = halves.astype(np.float32)
        missing = np.setdiff1d(wanted, stored, assume_unique=True)
        there = set(stored.tolist())
        absent = snapshot.pending.to_embed(missing.tolist())
        snapshot.pending.forget(there)
        waiting: dict[int, list[int]] = {}
        upserts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        for pid, ids in held.items():
            if not absent.isdisjoint(ids):
                waiting[pid] = [photo_id for photo_id in ids if photo_id in absent]
                continue
            photo_ids = np.array([photo_id for photo_id in ids if photo_id in there], np.int64)
            upserts[pid] = (photo_ids, vectors[np.searchsorted(stored, photo_ids)])
        # Read last: what filters see of a product is at least as new as its photos.
        facts = self._catalog.facts({*pids, *(first or ())})
        deletes = [pid for pid in pids if pid not in held]
        reached = max(snapshot.live.sequence, sequence or 0)
        snapshot.pending.note(waiting, [*upserts, *deletes])
        snapshot.live.apply(sequence=reached, upserts=upserts, deletes=deletes, facts=facts)
        return list(waiting)

    # -- photos that nobody has embedded yet

    def _embed_next(self, snapshot: Snapshot) -> bool:
        """Embed the photos of the products that have waited longest; whether none wait."""
        with self._embedding:
            # What could not be read comes last, and never counts among what waits.
            chosen = snapshot.pending.next(_CHUNK) or snapshot.pending.due(_CHUNK)
            if not chosen:
                return True
            self._embed(snapshot, chosen)
            with self._applying:
                self._apply_overlay(snapshot, chosen, None)
            return False

    def _embed(self, snapshot: Snapshot, chosen: dict[int, list[int]]) -> None:
        holders: dict[int, list[int]] = {}
        for pid, photo_ids in chosen.items():
            for photo_id in photo_ids:
                holders.setdefault(photo_id, []).append(pid)
        rows = self._catalog.photos_by_id(holders)
        # The others' products were deleted meanwhile.
        snapshot.pending.forget(holders.keys() - rows.keys())
        photos: dict[int, Photo] = {}
        for photo_id, row in rows.items():
            if len(photos) == _CHUNK or sum(map(held_bytes, photos.values())) > _CHUNK_BYTES:
                self._store(snapshot, photos)
                photos = {}
            try:
                photos[photo_id] = self._decode(snapshot, row)
            except CatalensError as error:
                again_s = snapshot.pending.leave_out(
                    photo_id, holders[photo_id], damaged=isinstance(error, BadImageError)
                )
                self._log.warning(
                    "photo left out of the search",
                    photo_id=photo_id,
                    again_s=again_s,
                    code=error.code,
                    error=str(error),
                )
        self._store(snapshot, photos)

    def _store(self, snapshot: Snapshot, photos: Mapping[int, Photo]) -> None:
        """Embed decoded photos, by photo_id, and store the vectors."""
        if photos:
            vectors = self._queue.embed(snapshot.embedder, list(photos.values()), patient=True)
            snapshot.store.put(np.array(list(photos), dtype=np.int64), vectors)

    def _decode(self, snapshot: Snapshot, row: PhotoRow) -> Photo:
        return decode_photo(
            self._photos.read(row),
            limits=STORED_PHOTO_LIMITS,
            shrink_to=snapshot.embedder.shrink_to,
        )


def _revision_of(one: Bundle, other: Bundle) -> bool:
    """Whether both have the same weights, heads included: their decision layers
    alone may differ."""
    names = (one.decision.origin or one.model_version, other.decision.origin or other.model_version)
    return one.embedding_id == other.embedding_id and names[0] == names[1]
