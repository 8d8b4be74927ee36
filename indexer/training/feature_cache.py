"""Pooled backbone features of photos, computed once and cached on disk by content hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from indexer.core.errors import CatalensError
from indexer.core.native import THREADS
from indexer.core.progress import OnStage, no_progress
from indexer.feeds.dataset import DatasetRow
from indexer.feeds.notice import Notice
from indexer.imaging.decode import (
    ImageLimits,
    Photo,
    decode_photo,
    decoded_alike,
    hash_content,
)
from indexer.imaging.parallel import held_bytes, in_order
from indexer.imaging.photo_file import read_photo
from indexer.imaging.recapture import recapture
from indexer.model.feature_store import FeatureCache, default_cache, features_id, to_halves
from indexer.model.runtime_base import Runtime
from indexer.training.frozen_graph import FrozenGraph, frozen_graph

# Photos that go through the network together, and the bytes from which fewer do.
_BATCH, _BATCH_BYTES = 64, 256 * 2**20
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

    def entries(self, contents: Sequence[str]) -> dict[str, tuple[str, np.ndarray]]:
        try:
            return {} if self._store is None else self._store.entries(contents)
        except _CACHE_FAILURES as error:
            self._give_up(error)
            return {}

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
    [found] = features_of_looks(
        rows, [runtime], cache=cache, recaptured=recaptured, progress=progress
    )
    return found


def features_of_looks(
    rows: Sequence[DatasetRow],
    runtimes: Sequence[Runtime],
    *,
    cache: Path | None = None,
    recaptured: bool = False,
    progress: OnStage = no_progress,
) -> list[Features]:
    """``photo_features`` by each of several runtimes of one backbone, which show it their photos
    each in its way: every photo is decoded once."""
    with ExitStack() as stack:
        looks = [
            _Look(
                runtime, stack.enter_context(closing(_OptionalCache(cache, features_id(runtime))))
            )
            for runtime in runtimes
        ]
        return _Extraction(rows, looks, recaptured=recaptured).run(progress)


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


@dataclass
class _Look:
    """A runtime with its cache, and the features that are known so far."""

    runtime: Runtime
    store: _OptionalCache
    # cache key -> hash of the pixels, features
    known: dict[str, tuple[str, np.ndarray]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Missing:
    """A photo that is not cached for all looks."""

    key: str
    row: DatasetRow
    # numbers of the looks that lack it
    looks: tuple[int, ...]


@dataclass(frozen=True)
class _Computed:
    """What a photo gave: look -> its pixels' hash; look -> its features, where they are there."""

    pixels: dict[int, str]
    photos: dict[int, Photo]
    features: dict[int, np.ndarray]

    @property
    def nbytes(self) -> int:
        """What it holds; a photo that looks share is one."""
        distinct = {id(photo): photo for photo in self.photos.values()}
        return sum(map(held_bytes, (*distinct.values(), *self.features.values())))


class _Extraction:
    """One run of ``features_of_looks``: what is cached, what has to go through the network."""

    def __init__(
        self, rows: Sequence[DatasetRow], looks: Sequence[_Look], *, recaptured: bool
    ) -> None:
        self._rows = rows
        self._looks = looks
        self._recaptured = recaptured
        self._graph: FrozenGraph | None = None
        self._skipped: list[Notice] = []
        # number of a row -> cache key
        self._keys: dict[int, str] = {}
        self._broken: dict[str, str] = {}

    def run(self, progress: OnStage) -> list[Features]:
        missing = self._look_up()
        self._compute(missing, progress)
        return [self._features(look) for look in self._looks]

    def _look_up(self) -> list[_Missing]:
        """Take what is cached; return what is not, each photo once."""
        first: dict[str, DatasetRow] = {}
        for number, row in enumerate(self._rows):
            try:
                key = hash_content(read_photo(row.image))
            except OSError as error:
                reason = f"{row.image} cannot be read: {error.strerror or error}"
                self._skipped.append(Notice(row.where, reason))
                continue
            if self._recaptured:
                key = recapture_key(key)
            self._keys[number] = key
            first.setdefault(key, row)
        for look in self._looks:
            look.known.update(look.store.entries(list(first)))
        missing = []
        for key, row in first.items():
            lacking = [number for number, look in enumerate(self._looks) if key not in look.known]
            if lacking:
                missing.append(_Missing(key, row, tuple(lacking)))
        return missing

    def _compute(self, missing: Sequence[_Missing], progress: OnStage) -> None:
        """Compute what is not cached, committed every 64 photos, of large ones sooner."""
        inputs = sum(len(one.looks) for one in missing)
        self._graph = frozen_graph([look.runtime for look in self._looks], inputs)
        total = len(set(self._keys.values()))
        done = total - len(missing)
        workers = min(4, THREADS) if self._graph is None else self._graph.workers
        found: list[tuple[_Missing, _Computed]] = []
        held = 0
        # One BLAS thread for each worker: small products of several threads wait for a shared team.
        with threadpool_limits(1, "blas"):
            for number, (one, computed) in enumerate(
                in_order(missing, self._prepare, workers=workers), 1
            ):
                if isinstance(computed, CatalensError):
                    self._broken[one.key] = str(computed)
                else:
                    found.append((one, computed))
                    held += held_bytes(computed)
                if len(found) == _BATCH or held > _BATCH_BYTES or number == len(missing):
                    self._keep(found)
                    found, held = [], 0
                    progress("features", done + number, total)

    def _prepare(self, one: _Missing) -> _Computed:
        """Decode a photo for each look, take it again where recaptures are asked for, and pass it
        through the graph, if there is one."""
        photos = self._decode(one)
        # Looks may share a decoded photo.
        distinct = {id(photo): photo for photo in photos.values()}
        hashes = {
            name: hashlib.sha256(photo.pixels.tobytes()).hexdigest()
            for name, photo in distinct.items()
        }
        pixels = {number: hashes[id(photo)] for number, photo in photos.items()}
        if self._graph is None:
            return _Computed(pixels, photos, {})
        return _Computed(pixels, {}, self._graph.extract(photos))

    def _decode(self, one: _Missing) -> dict[int, Photo]:
        """The photo as each look that lacks it has it decoded, once where they agree."""
        data = read_photo(one.row.image)
        if self._recaptured:
            # A recapture is made of the whole photo, as ``instance_hit_rate_at_1`` makes it.
            return dict.fromkeys(one.looks, recapture(decode_photo(data, limits=ImageLimits())))
        found: dict[int, Photo] = {}
        sizes = {number: self._looks[number].runtime.shrink_to for number in one.looks}
        for number, size in sizes.items():
            same = (
                photo
                for other, photo in found.items()
                if size == sizes[other] or decoded_alike(photo, size, sizes[other])
            )
            photo = next(same, None)
            found[number] = photo or decode_photo(data, limits=ImageLimits(), shrink_to=size)
        return found

    def _keep(self, found: Sequence[tuple[_Missing, _Computed]]) -> None:
        """Remember and cache the features of some photos; compute those that are not there."""
        for number, look in enumerate(self._looks):
            mine = [(one.key, computed) for one, computed in found if number in one.looks]
            if not mine:
                continue
            if self._graph is None:
                rows = look.runtime.extract_features([each.photos[number] for _, each in mine])
            else:
                rows = np.stack([each.features[number] for _, each in mine])
            values = to_halves(rows, look.runtime.spec.feature_dim)
            entries = [
                (key, each.pixels[number], value)
                for (key, each), value in zip(mine, values, strict=True)
            ]
            look.store.put(entries)
            look.known.update({key: (pixels, value) for key, pixels, value in entries})

    def _features(self, look: _Look) -> Features:
        kept: list[int] = []
        skipped = list(self._skipped)
        for number, key in self._keys.items():
            if key in self._broken:
                row = self._rows[number]
                skipped.append(Notice(row.where, f"{row.image}: {self._broken[key]}"))
            else:
                kept.append(number)
        keys = [self._keys[number] for number in kept]
        values = np.empty((0, look.runtime.feature_width), np.float16)
        if keys:
            values = np.stack([look.known[key][1] for key in keys])
        return Features(
            rows=[self._rows[number] for number in kept],
            values=values,
            content=np.array(keys, dtype=object),
            pixels=np.array([look.known[key][0] for key in keys], dtype=object),
            skipped=skipped,
            notes=list(look.store.notes),
        )
