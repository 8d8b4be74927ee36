"""Pooled backbone features of photos, computed once and cached on disk by content hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.catalog.dataset import DatasetRow, Skipped
from indexer.core.atomic_files import canonical_json
from indexer.core.errors import BusyError, CatalensError, ReadOnlyError, StorageError
from indexer.core.sqlite import Database, Schema
from indexer.imaging.decode import Photo, hash_content
from indexer.imaging.parallel import decode_all
from indexer.imaging.recapture import recapture
from indexer.model.runtime_base import Runtime

OnCached = Callable[[str, int, int], None]  # stage, done, total
_BATCH = 64
_SCHEMA = Schema(
    format=0,
    tables=(
        "CREATE TABLE IF NOT EXISTS features (content BLOB PRIMARY KEY, pixels BLOB NOT NULL, "
        "value BLOB NOT NULL)",
    ),
    remedy="delete it (features are computed again)",
    shared=True,
)
RESHOT = "reshot 1"  # names what ``recapture`` does: another number where that changes


@dataclass(frozen=True)
class Features:
    """Rows that could be read, their features and the hashes that tell copies apart; all of one
    length N."""

    rows: list[DatasetRow]
    values: np.ndarray  # float16 [N, F]
    content: (
        np.ndarray
    )  # str [N], SHA-256 of the file's bytes; of a re-shot, of that and how it was made
    pixels: (
        np.ndarray
    )  # str [N], SHA-256 of the network's input: equal for exact duplicates in other files
    skipped: list[Skipped]


def default_cache() -> Path:
    """``CATALENS_CACHE``, else ``~/.cache/catalens``."""
    return Path(os.environ.get("CATALENS_CACHE") or Path.home() / ".cache" / "catalens")


@dataclass(frozen=True)
class Reshots:
    """Re-shots of some of the photos."""

    places: np.ndarray  # int [R], each one's photo among the features given
    values: np.ndarray  # float32 [R, F + K]

    def of(self, use: np.ndarray) -> Reshots:
        """Those of the photos that ``use`` (bool [N]) marks."""
        chosen = use[self.places]
        return Reshots(self.places[chosen], self.values[chosen])


class FeatureCache:
    """One SQLite file per feature extractor: content hash -> features float16 [F] and the hash of
    its input pixels."""

    def __init__(self, folder: Path, features_id: str) -> None:
        self._database = Database(folder / f"{features_id}.sqlite3", _SCHEMA)
        self._database.prepare()

    def get(self, content: str) -> tuple[str, np.ndarray] | None:
        """(pixel hash, float16 [F]) or None."""
        query = "SELECT pixels, value FROM features WHERE content = ?"
        with self._database.statements() as sql:
            found = sql.execute(query, (bytes.fromhex(content),)).fetchone()
        return None if found is None else (found[0].hex(), np.frombuffer(found[1], np.float16))

    def put(self, entries: Sequence[tuple[str, str, np.ndarray]]) -> None:
        """(content hash, pixel hash, float16 [F]) each, in one transaction."""
        rows = [
            (bytes.fromhex(key), bytes.fromhex(pixels), value.tobytes())
            for key, pixels, value in entries
        ]
        with self._database.transaction() as sql:
            sql.executemany("INSERT OR REPLACE INTO features VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        self._database.close()


def photo_features(
    rows: Sequence[DatasetRow],
    runtime: Runtime,
    *,
    cache: Path | None = None,
    reshot: bool = False,
    progress: OnCached | None = None,
) -> Features:
    """Features of every row's photo; a photo that cannot be read is a skipped row with its reason.

    With ``reshot`` those of the photo as if taken again (``recapture``), cached under a key of
    their own. Raises ``StorageError`` where the cache cannot be written or is damaged.
    """
    try:
        with closing(FeatureCache(cache or default_cache(), _features_id(runtime))) as store:
            return _photo_features(rows, runtime, store, reshot, progress)
    except (StorageError, BusyError, ReadOnlyError) as error:
        raise StorageError(f"feature cache {error} (it can be deleted at any time)") from error


def reshot_features(
    features: Features,
    runtime: Runtime,
    groups: Sequence[tuple[np.ndarray, int]],
    *,
    seed: int = 0,
    cache: Path | None = None,
    progress: OnCached | None = None,
) -> Reshots:
    """Re-shots of photos drawn by ``seed`` from each group: (bool [N], how many at most)."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(np.flatnonzero(group))[:most] for group, most in groups]
    places = np.concatenate([np.zeros(0, np.int64), *drawn])
    found = photo_features(
        [features.rows[place] for place in places],
        runtime,
        cache=cache,
        reshot=True,
        progress=progress,
    )
    place = {
        id(features.rows[number]): number for number in places
    }  # a photo may have become unreadable
    return Reshots(
        np.array([place[id(row)] for row in found.rows], np.int64), found.values.astype(np.float32)
    )


def _photo_features(
    rows: Sequence[DatasetRow],
    runtime: Runtime,
    store: FeatureCache,
    reshot: bool,
    progress: OnCached | None,
) -> Features:
    skipped: list[Skipped] = []
    known: dict[str, tuple[str, np.ndarray]] = {}
    hashes: dict[int, str] = {}
    missing: list[tuple[str, DatasetRow]] = []
    for number, row in enumerate(rows):
        try:
            key = hash_content(row.image.read_bytes())
        except OSError as error:
            skipped.append(
                Skipped(row.where, f"{row.image} cannot be read: {error.strerror or error}")
            )
            continue
        if reshot:
            key = hashlib.sha256(f"{RESHOT} {key}".encode()).hexdigest()
        hashes[number] = key
        if key not in known:
            found = store.get(key)
            known[key] = found or ("", np.empty(0, np.float16))
            if found is None:
                missing.append((key, row))

    broken: dict[str, str] = {}
    photos: list[tuple[str, Photo]] = []
    done = len(known) - len(missing)

    def flush() -> None:
        nonlocal done
        values = runtime.extract_features([photo for _, photo in photos]).astype(np.float16)
        entries = [
            (key, hashlib.sha256(photo.pixels.tobytes()).hexdigest(), value)
            for (key, photo), value in zip(photos, values, strict=True)
        ]
        store.put(entries)
        known.update({key: (pixels, value) for key, pixels, value in entries})
        done += len(photos)
        photos.clear()
        if progress:
            progress("features", done, len(known))

    # A re-shot is made of the whole photo, as the figure ``instance_hit_rate_at_1`` makes it.
    shrink_to = None if reshot else runtime.shrink_to
    for (key, _), photo in decode_all(
        missing, lambda item: item[1].image.read_bytes(), shrink_to=shrink_to
    ):
        if isinstance(photo, CatalensError):
            broken[key] = str(photo)
            done += 1
            continue
        photos.append((key, recapture(photo) if reshot else photo))
        if len(photos) == _BATCH:
            flush()
    if photos:
        flush()

    kept: list[int] = []
    for number, key in hashes.items():
        if key in broken:
            skipped.append(Skipped(rows[number].where, f"{rows[number].image}: {broken[key]}"))
        else:
            kept.append(number)
    width = runtime.feature_width
    return Features(
        rows=[rows[number] for number in kept],
        values=np.stack([known[hashes[n]][1] for n in kept])
        if kept
        else np.empty((0, width), np.float16),
        content=np.array([hashes[n] for n in kept], dtype=object),
        pixels=np.array([known[hashes[n]][0] for n in kept], dtype=object),
        skipped=skipped,
    )


def _features_id(runtime: Runtime) -> str:
    """Names the backbone's weights and the preprocessing: two models that share both share the
    cache."""
    digest = hashlib.sha256(canonical_json(runtime.spec.embedding_part()["preprocess"]))
    digest.update(f"{runtime.feature_width} {runtime.backbone_digest}".encode())
    return "f" + digest.hexdigest()[:32]
