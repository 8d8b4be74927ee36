"""Pooled backbone features of photos, computed once and cached on disk by content hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexer.core.errors import CatalensError
from indexer.core.native import THREADS
from indexer.core.progress import OnStage, no_progress
from indexer.feeds.dataset import DatasetRow
from indexer.feeds.notice import Notice
from indexer.imaging.decode import ImageLimits, Photo, decode_photo, hash_content
from indexer.imaging.parallel import in_order
from indexer.imaging.recapture import recapture
from indexer.model.feature_store import FeatureCache, default_cache, features_id, to_halves
from indexer.model.runtime_base import Runtime
from indexer.training.frozen_graph import FrozenGraph, quicker_extractor

_BATCH = 64
# names what ``recapture`` does: another number where that changes
RECAPTURE = "reshot 1"
_CACHE_FAILURES = (CatalensError, OSError)


@dataclass(frozen=True)
class Features:
    """Rows that could be read, their features and the hashes that tell copies apart; N each."""

    rows: list[DatasetRow]
    values: np.ndarray  # float16 [N, F]
    # str [N], SHA-256 of the file's bytes; of a recapture, of that and how it was made
    content: np.ndarray
    # str [N], SHA-256 of the network's input: equal for exact duplicates in other files
    pixels: np.ndarray
    skipped: list[Notice]
    # why nothing was cached, where that is so
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Recaptures:
    """Simulated recaptures of some of the photos."""

    places: np.ndarray  # int [R], each one's photo among the features given
    values: np.ndarray  # float32 [R, F + K]

    def of(self, use: np.ndarray) -> Recaptures:
        """Select those of the photos that ``use`` (bool [N]) marks."""
        chosen = use[self.places]
        return Recaptures(self.places[chosen], self.values[chosen])


class _OptionalCache:
    """The cache of one run, or none from its first failure on: it only saves time.

    ``notes`` say why there is none.
    """

    def __init__(self, folder: Path | None, name: str) -> None:
        self.notes: list[str] = []
        self._store: FeatureCache | None = None
        try:
            self._store = FeatureCache(folder or default_cache(), name)
        except _CACHE_FAILURES as error:
            self._give_up(error)

    def get(self, content: str) -> tuple[str, np.ndarray] | None:
        try:
            return None if self._store is None else self._store.get(content)
        except _CACHE_FAILURES as error:
            self._give_up(error)
            return None

    def put(self, entries: Sequence[tuple[str, str, np.ndarray]]) -> None:
        try:
            if self._store is not None:
                self._store.put(entries)
        except _CACHE_FAILURES as error:
            self._give_up(error)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _give_up(self, error: Exception) -> None:
        self.close()
        self._store = None
        reason = str(error).removesuffix(": nothing can be written to this home")
        self.notes.append(
            f"went on without the feature cache, so photos are embedded again next time: {reason} "
            "(name another folder with --cache or CATALENS_CACHE; it can be deleted at any time)"
        )


def photo_features(
    rows: Sequence[DatasetRow],
    runtime: Runtime,
    *,
    cache: Path | None = None,
    recaptured: bool = False,
    progress: OnStage = no_progress,
) -> Features:
    """Features of every row's photo; a photo that cannot be read is a skipped row with its reason.

    With ``recaptured`` those of the photo as if taken again (``recapture``), cached under a
    key of their own. A cache that cannot be written or is damaged is gone without: ``notes`` of the
    result say so.
    """
    with closing(_OptionalCache(cache, features_id(runtime))) as store:
        return _Extraction(rows, runtime, store, recaptured=recaptured).run(progress)


def recapture_features(
    features: Features,
    runtime: Runtime,
    groups: Sequence[tuple[np.ndarray, int]],
    *,
    seed: int = 0,
    cache: Path | None = None,
    progress: OnStage = no_progress,
) -> Recaptures:
    """Extract features of recaptures drawn by ``seed`` from each group: (bool [N], limit)."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(group))[:limit] for group, limit in groups]
    places = np.concatenate([np.zeros(0, np.int64), *drawn])
    rows = [features.rows[place] for place in places]
    found = photo_features(rows, runtime, cache=cache, recaptured=True, progress=progress)
    # a photo may have become unreadable
    place = {id(features.rows[number]): number for number in places}
    return Recaptures(
        np.array([place[id(row)] for row in found.rows], np.int64), found.values.astype(np.float32)
    )


def recapture_key(content: str) -> str:
    """Under what the features of the recapture of a photo with that content hash are cached."""
    return hashlib.sha256(f"{RECAPTURE} {content}".encode()).hexdigest()


class _Extraction:
    """One run of ``photo_features``: what is cached, what has to go through the network."""

    def __init__(
        self,
        rows: Sequence[DatasetRow],
        runtime: Runtime,
        store: _OptionalCache,
        *,
        recaptured: bool,
    ) -> None:
        self._rows = rows
        self._runtime = runtime
        self._extractor: FrozenGraph | Runtime = runtime
        self._store = store
        self._recaptured = recaptured
        self._skipped: list[Notice] = []
        # number of a row -> cache key
        self._keys: dict[int, str] = {}
        # cache key -> hash of the pixels, features
        self._known: dict[str, tuple[str, np.ndarray]] = {}
        self._broken: dict[str, str] = {}

    def run(self, progress: OnStage) -> Features:
        missing = self._look_up()
        self._compute(missing, progress)
        return self._features()

    def _look_up(self) -> list[tuple[str, DatasetRow]]:
        """Take what is cached; (key, row) of what is not, each key once."""
        missing: list[tuple[str, DatasetRow]] = []
        for number, row in enumerate(self._rows):
            try:
                key = hash_content(row.image.read_bytes())
            except OSError as error:
                reason = f"{row.image} cannot be read: {error.strerror or error}"
                self._skipped.append(Notice(row.where, reason))
                continue
            if self._recaptured:
                key = recapture_key(key)
            self._keys[number] = key
            if key in self._known:
                continue
            found = self._store.get(key)
            self._known[key] = found or ("", np.empty(0, np.float16))
            if found is None:
                missing.append((key, row))
        return missing

    def _compute(self, missing: Sequence[tuple[str, DatasetRow]], progress: OnStage) -> None:
        """Compute features of what is not cached, committed every 64 photos."""
        self._extractor = quicker_extractor(self._runtime, len(missing))
        done = len(self._known) - len(missing)
        photos: list[tuple[str, Photo]] = []
        workers = min(4, THREADS)
        for (key, _), photo in in_order(missing, self._prepare, workers=workers):
            if isinstance(photo, CatalensError):
                self._broken[key] = str(photo)
                done += 1
                continue
            photos.append((key, photo))
            if len(photos) == _BATCH:
                done += self._embed(photos)
                progress("features", done, len(self._known))
                photos = []
        if photos:
            done += self._embed(photos)
            progress("features", done, len(self._known))

    def _prepare(self, item: tuple[str, DatasetRow]) -> Photo:
        """Decode a photo, and take it again where recaptures are asked for."""
        data = item[1].image.read_bytes()
        if not self._recaptured:
            return decode_photo(data, limits=ImageLimits(), shrink_to=self._runtime.shrink_to)
        # A recapture is made of the whole photo, as ``instance_hit_rate_at_1`` makes it.
        return recapture(decode_photo(data, limits=ImageLimits()))

    def _embed(self, photos: Sequence[tuple[str, Photo]]) -> int:
        found = self._extractor.extract_features([photo for _, photo in photos])
        values = to_halves(found, self._runtime.spec.feature_dim)
        entries = [
            (key, hashlib.sha256(photo.pixels.tobytes()).hexdigest(), value)
            for (key, photo), value in zip(photos, values, strict=True)
        ]
        self._store.put(entries)
        self._known.update({key: (pixels, value) for key, pixels, value in entries})
        return len(photos)

    def _features(self) -> Features:
        kept: list[int] = []
        for number, key in self._keys.items():
            if key in self._broken:
                row = self._rows[number]
                self._skipped.append(Notice(row.where, f"{row.image}: {self._broken[key]}"))
            else:
                kept.append(number)
        keys = [self._keys[number] for number in kept]
        values = np.empty((0, self._runtime.feature_width), np.float16)
        if keys:
            values = np.stack([self._known[key][1] for key in keys])
        return Features(
            rows=[self._rows[number] for number in kept],
            values=values,
            content=np.array(keys, dtype=object),
            pixels=np.array([self._known[key][0] for key in keys], dtype=object),
            skipped=self._skipped,
            notes=list(self._store.notes),
        )
