"""Signatures of the whole catalog, brought up to its change log in portions."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import Catalog
from indexer.core.backoff import Backoff
from indexer.core.errors import OutdatedVersionError
from indexer.core.home import Home
from indexer.duplicates.hash_store import (
    SignatureIndex,
    Signatures,
    SignatureStore,
    sign_photos,
)

# Photos that one step signs: some tenths of a second. Changes that one step looks at.
_PHOTOS, _CHANGES = 8, 500
# Photos that a request signs itself, and changes that it looks at for that.
_OWN_PHOTOS, _OWN_CHANGES = 4, 100
# Between two tries of a photo that could not be read.
_AGAIN_S, _LONGEST_S = 2.0, 600.0


class SignatureFollower:
    """Keeps a ``SignatureIndex`` in step with the catalog, by steps of bounded work.

    First what is stored is read, then photos without a signature are signed, then the change log is
    followed. Searches of ``index`` take no lock. A photo that cannot be read is tried again after
    pauses that grow.
    """

    def __init__(self, home: Home, catalog: Catalog, photos: PhotoStore) -> None:
        self._home = home
        self._catalog = catalog
        self._photos = photos
        self._store: SignatureStore | None = None
        self._opening = threading.Lock()
        self._following = threading.Lock()
        self.index = SignatureIndex.empty()
        # Of what is stored, while it is read: the photos that products have, and what is left.
        self._wanted: np.ndarray | None = None
        self._stored: Iterator[tuple[np.ndarray, np.ndarray]] | None = None
        self._signed = np.empty(0, bool)
        self._is_read = False
        # Photos still to be signed, and those that could not be read.
        self._unsigned: deque[int] = deque()
        self._left_out: dict[int, Backoff] = {}

    def close(self) -> None:
        """Close the file of signatures."""
        if self._store is not None:
            self._store.close()

    @property
    def store(self) -> SignatureStore:
        """The open store. Raises as ``SignatureStore``."""
        with self._opening:
            if self._store is None:
                self._store = SignatureStore(self._home, self._catalog)
            return self._store

    def is_current(self) -> bool:
        """Whether the photos of all that was written were looked at."""
        return (
            self._is_read
            and not self._unsigned
            and self.index.sequence >= self._catalog.last_sequence()
        )

    def follow_some(self) -> bool:
        """Do the next portion; whether nothing is left that can be done now."""
        with self._following:
            if not self._is_read:
                self._read_next()
                return False
            if self._unsigned:
                self._sign(_PHOTOS)
                return False
            return not (self._step(_CHANGES) or self._retry())

    def catch_up(self) -> bool:
        """Look at a few changes for a request; whether that was all there were."""
        if self.is_current():
            return True
        waiting = self._catalog.last_sequence() - self.index.sequence
        if not self._is_read or waiting > _OWN_CHANGES:
            return False
        if not self._following.acquire(blocking=False):
            return False  # somebody is at it
        try:
            while not self._unsigned and self._step(_OWN_CHANGES):
                pass
            if len(self._unsigned) <= _OWN_PHOTOS:
                self._sign(_OWN_PHOTOS)
            return self.is_current()
        finally:
            self._following.release()

    # -- all that is stored

    def _read_next(self) -> None:
        if self._stored is None or self._wanted is None:
            sequence, rows = self._catalog.entries()
            self._wanted = np.unique(rows[:, 1])
            self._stored = self.store.portions()
            self.index = SignatureIndex.empty(sequence)
            self._unsigned.clear()
            self._signed = np.zeros(len(self._wanted), bool)
        for ids, thumbs in self._stored:
            places = np.searchsorted(self._wanted, ids)
            held = places < len(self._wanted)
            held[held] = self._wanted[places[held]] == ids[held]
            self._signed[places[held]] = True
            self.index.add(Signatures.compute(ids[held], thumbs[held]))
            return
        self._unsigned.extend(self._wanted[~self._signed].tolist())
        self._stored = self._wanted = None
        self._signed = np.empty(0, bool)
        self._is_read = True

    # -- what was written since

    def _step(self, most: int) -> bool:
        """Look at the next changes of the log; whether there were any."""
        if self._catalog.last_sequence() == self.index.sequence:
            return False
        try:
            changes = self._catalog.change_log.step(self.index.sequence, most)
        except OutdatedVersionError:  # compacted past what was seen
            self._is_read = False
            self._stored = None
            return True
        if not changes:
            return False
        touched = {change.pid for change in changes if change.photos_changed}
        held = self._catalog.photo_ids(touched)
        wanted = np.unique(np.array([i for ids in held.values() for i in ids], np.int64))
        new = wanted[~self.index.holds(wanted)].tolist()
        self._unsigned.extend(i for i in new if i not in self._left_out)
        self.index.sequence = changes[-1].sequence
        return True

    def _retry(self) -> bool:
        """Try some photos again that could not be read; whether any were due."""
        due = (photo_id for photo_id, backoff in self._left_out.items() if backoff.is_due)
        part = list(islice(due, _PHOTOS))
        if part:
            self._sign_all(part)
        return bool(part)

    def _sign(self, most: int) -> None:
        """Sign the next photos that wait."""
        if not self._unsigned:
            return
        part = [self._unsigned.popleft() for _ in range(min(most, len(self._unsigned)))]
        try:
            self._sign_all(part)
        except BaseException:
            self._unsigned.extendleft(reversed(part))
            raise

    def _sign_all(self, photo_ids: Sequence[int]) -> None:
        ids = np.unique(np.array(photo_ids, np.int64))
        for photo in sign_photos(self._catalog, self._photos, self.store, ids, in_threads=False):
            self._left_out.setdefault(photo.photo_id, Backoff(_AGAIN_S, _LONGEST_S)).fail()
        there, thumbs = self.store.get(ids)
        fresh = there & ~self.index.holds(ids)
        self.index.add(Signatures.compute(ids[fresh], thumbs[fresh]))
        for photo_id in ids[there].tolist():
            self._left_out.pop(photo_id, None)
        rows = self._catalog.photos_by_id(ids.tolist())
        for photo_id in set(ids.tolist()) - rows.keys():  # deleted meanwhile
            self._left_out.pop(photo_id, None)
