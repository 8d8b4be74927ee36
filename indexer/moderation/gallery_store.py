"""Store of fitted galleries, ``moderation.json`` in the home; derived and made again."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import Catalog
from indexer.core.atomic_files import read_sealed_json, write_sealed_json
from indexer.core.errors import CatalensError
from indexer.core.home import Home
from indexer.core.vectors import evenly_spaced
from indexer.imaging.decode import STORED_PHOTO_LIMITS, Photo, decode_photo
from indexer.index.embedding_store import EmbeddingStore
from indexer.model.bundle import Bundle
from indexer.moderation.alarm_budget import AlarmReport
from indexer.moderation.checker import screen_of
from indexer.moderation.described_kind import Describe, FittedWords, read_words, words_of
from indexer.moderation.fit_galleries import CatalogSample, FittedGalleries, fit_galleries
from indexer.moderation.gallery import BannedGallery, Embed, FittedGallery, galleries_of
from indexer.moderation.keypoint_matching import (
    DESCRIPTOR,
    EXAMPLE_SIDE,
    MOST_EXAMPLE_POINTS,
    PHOTO_SIDE,
    VERSION,
    KeypointBank,
    Keypoints,
    find_library,
)
from indexer.moderation.policy import PolicySet
from indexer.moderation.thresholds import Bounds, Rivals

log = structlog.get_logger(__name__)

FORMAT = 1
# vectors and photos of the catalog, evenly spread, among which near misses are looked for
_VECTORS = 20_000
_PHOTOS = 1_000
# px that a catalog photo keeps at least: symbols are looked for on fewer, codes on more
_SHORT_SIDE, _SCREENED_SIDE = 128, 640


def fitted_file(home: Home) -> Path:
    """Path of the stored galleries."""
    return home.path / "moderation.json"


def fit_home(
    home: Home,
    policies: PolicySet,
    bundle: Bundle,
    catalog: Catalog,
    embed: Embed,
    *,
    again: bool = False,
    describe: Describe | None = None,
) -> FittedGalleries:
    """Return the galleries stored for this policy version and ``embedding_id``, or fit and store.

    Fitted again where the catalog has twice the photos by now, until they fill the sample;
    ``again``: fit in any case; ``describe`` reads prompts, None where the model cannot. Takes some
    30 ms per gallery and catalog photo (at most 1,000 photos), with ``keypoints`` about twice that,
    with ``crops`` five passes of the network for each; where all galleries share a budget, 10 ms
    for each photo that detectors ``counted`` in it look at. What cannot be written is logged and
    holds all the same.
    """
    galleries = galleries_of(policies)
    banned = words_of(policies)
    if not galleries and not banned:
        return FittedGalleries({}, None)
    stored = None if again else _read(fitted_file(home), _key(policies, bundle), galleries)
    if stored is not None and stored[1] >= _VECTORS:
        return stored[0]
    with closing(
        EmbeddingStore(home.embeddings, bundle.embedding_id, bundle.spec.dim, catalog=catalog)
    ) as store:
        _, rows = catalog.entries()
        rows = rows[~np.isin(rows[:, 1], store.missing(rows[:, 1]))]
        if stored is not None and len(rows) < max(2 * stored[1], 1):
            return stored[0]
        screen = None if policies.false_alarms is None else screen_of(policies)
        side = _SHORT_SIDE if screen is None else _SCREENED_SIDE
        if any("keypoints" in one.match for one in galleries.values()):
            side = max(side, PHOTO_SIDE)
        sample = _sample(home, catalog, store, rows, side)
    fitted = fit_galleries(
        galleries,
        embed,
        bundle.spec.blocks,
        sample,
        general=bundle.general_spread(),
        budget=policies.false_alarms,
        screen=screen,
        words={name: read_words(one, describe) for name, one in banned.items()},
    )
    if any(one.reason is not None for one in fitted.words.values()):
        return fitted  # perhaps it can be read the next time
    try:
        write_sealed_json(
            fitted_file(home), {**_key(policies, bundle), "photos": len(rows), **_to_json(fitted)}
        )
    except OSError as error:
        log.warning(
            "fitted galleries cannot be stored, the next start fits them again", error=str(error)
        )
    return fitted


def read_fitted(home: Home, policies: PolicySet, bundle: Bundle) -> FittedGalleries | None:
    """Return the galleries stored for this policy version and ``embedding_id``, or None."""
    stored = _read(fitted_file(home), _key(policies, bundle), galleries_of(policies))
    return None if stored is None else stored[0]


def _key(policies: PolicySet, bundle: Bundle) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "policy_version": policies.policy_version,
        "embedding_id": bundle.embedding_id,
    }


def _sample(
    home: Home, catalog: Catalog, store: EmbeddingStore, rows: np.ndarray, side: int
) -> CatalogSample:
    """Sample the products' embedded photos ``rows`` int64 [N, 2], pid and photo_id."""
    rows = rows[evenly_spaced(len(rows), _VECTORS)]
    # A write may have erased some since they were looked for.
    there, halves = store.find(rows[:, 1])
    rows = rows[np.isin(rows[:, 1], there)]
    vectors = halves[np.searchsorted(there, rows[:, 1])].astype(np.float32)
    kinds: dict[Any, int] = {}
    products = catalog.by_pids(np.unique(rows[:, 0]).tolist())
    groups = np.full(len(rows), -1, np.int64)
    for place, pid in enumerate(rows[:, 0].tolist()):
        category = products[pid].category if pid in products else None
        if category:
            groups[place] = kinds.setdefault(category, len(kinds))
    chosen = {
        int(rows[place, 1]): int(place)
        for place in np.arange(len(rows))[evenly_spaced(len(rows), _PHOTOS)]
    }
    return CatalogSample(vectors, groups, _photos(home, catalog, chosen, side))


def _photos(
    home: Home, catalog: Catalog, chosen: dict[int, int], side: int
) -> Iterator[tuple[int, Photo]]:
    """Decode the photos that can be read; the others are no near misses to learn from.

    ``chosen``: photo_id -> what stands beside the photo.
    """
    store = PhotoStore(home)
    rows = catalog.photos_by_id(list(chosen))
    for photo_id, place in chosen.items():
        try:
            data = store.read(rows[photo_id])
            yield place, decode_photo(data, limits=STORED_PHOTO_LIMITS, shrink_to=side)
        except (CatalensError, KeyError):
            continue


def _to_json(fitted: FittedGalleries) -> dict[str, Any]:
    """All galleries, which share their rivals, and the prompts."""
    nothing = Rivals(np.zeros((0, 0), np.float32), np.zeros(0, np.float32))
    rivals = next((one.rivals for one in fitted.galleries.values()), nothing)
    return {
        "rivals": {"weight": _packed(rivals.weight), "bias": _packed(rivals.bias)},
        "galleries": {name: _gallery_to_json(one) for name, one in fitted.galleries.items()},
        "alarms": None if fitted.alarms is None else asdict(fitted.alarms),
        "words": {
            name: {
                "directions": _packed(one.directions),
                "bounds": None if one.bounds is None else asdict(one.bounds),
            }
            for name, one in fitted.words.items()
        },
    }


def _gallery_to_json(gallery: FittedGallery) -> dict[str, Any]:
    return {
        "weight": _packed(gallery.weight),
        "bias": gallery.bias,
        "examples": _packed(gallery.examples),
        "bounds": {match: asdict(found) for match, found in gallery.bounds.items()},
        **({} if gallery.keypoints is None else {"keypoints": _bank_to_json(gallery.keypoints)}),
    }


def _gallery_from_json(stored: dict[str, Any], rivals: Rivals) -> FittedGallery:
    return FittedGallery(
        _unpacked(stored["weight"]),
        float(stored["bias"]),
        rivals,
        _unpacked(stored["examples"]),
        {match: _bounds_from_json(bounds) for match, bounds in stored["bounds"].items()},
        _bank_from_json(stored["keypoints"]) if "keypoints" in stored else None,
    )


def _bank_to_json(bank: KeypointBank) -> dict[str, Any]:
    examples = [
        {
            "size": list(one.size),
            "frames": _packed(one.frames),
            "descriptors": base64.b64encode(one.raw.tobytes()).decode(),
        }
        for one in bank.examples
    ]
    return {"version": VERSION, "examples": examples}


def _bank_from_json(stored: dict[str, Any]) -> KeypointBank:
    """Raises ``ValueError`` for points of another version, or that no example could have."""
    if stored["version"] != VERSION:
        raise ValueError("points of another version")
    return KeypointBank(tuple(_points_from_json(one) for one in stored["examples"]))


def _points_from_json(stored: dict[str, Any]) -> Keypoints:
    width, height = (int(side) for side in stored["size"])
    frames = _unpacked(stored["frames"]).reshape(-1, 4)
    raw = np.frombuffer(base64.b64decode(stored["descriptors"], validate=True), np.uint8)
    raw = raw.reshape(-1, DESCRIPTOR)
    sizes_hold = 0 < width <= EXAMPLE_SIDE and 0 < height <= EXAMPLE_SIDE
    counts_hold = len(raw) == len(frames) <= MOST_EXAMPLE_POINTS
    # A diameter divides.
    if not (sizes_hold and counts_hold and np.isfinite(frames).all() and (frames[:, 2] > 0).all()):
        raise ValueError("no points of an example")
    return Keypoints((width, height), frames, raw)


def _lacks_points(gallery: BannedGallery, fitted: FittedGallery | None) -> bool:
    """Whether points are missing that could be found on this machine, or not one set an example."""
    if "keypoints" not in gallery.match or fitted is None:
        return False
    if fitted.keypoints is None:
        return find_library()[1] is None
    return len(fitted.keypoints.examples) != len(gallery.examples)


def _bounds_from_json(stored: dict[str, Any]) -> Bounds:
    block = stored["block"]
    return Bounds(float(stored["review"]), None if block is None else float(block))


def _words_from_json(stored: dict[str, Any]) -> FittedWords:
    bounds = None if stored["bounds"] is None else _bounds_from_json(stored["bounds"])
    return FittedWords(_unpacked(stored["directions"]), bounds)


def _packed(values: np.ndarray) -> dict[str, Any]:
    return {
        "shape": list(values.shape),
        "float32": base64.b64encode(values.astype("<f4").tobytes()).decode(),
    }


def _unpacked(stored: dict[str, Any]) -> np.ndarray:
    data = base64.b64decode(stored["float32"], validate=True)
    return np.frombuffer(data, "<f4").reshape(stored["shape"])


def _read(
    file: Path, key: dict[str, Any], galleries: Mapping[str, BannedGallery]
) -> tuple[FittedGalleries, int] | None:
    """The galleries stored under ``key``, and how many photos the catalog had.

    None where the file has another key, is absent, damaged, does not say how many or lacks
    keypoints that could be found now: then they are fitted again.
    """
    try:
        stored = read_sealed_json(file)
        if any(stored[name] != value for name, value in key.items()):
            return None
        rivals = Rivals(_unpacked(stored["rivals"]["weight"]), _unpacked(stored["rivals"]["bias"]))
        fitted = {
            name: _gallery_from_json(one, rivals) for name, one in stored["galleries"].items()
        }
        if any(_lacks_points(one, fitted.get(name)) for name, one in galleries.items()):
            return None
        alarms = stored.get("alarms")
        report = None if alarms is None else AlarmReport(**alarms)
        # Files from before there were any have none.
        words = {name: _words_from_json(one) for name, one in stored.get("words", {}).items()}
        return FittedGalleries(fitted, report, words), int(stored["photos"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
