"""Held-out queries: embeddings of simulated re-captures, never indexed."""

from __future__ import annotations

import numpy as np

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import Catalog
from indexer.imaging.decode import STORED_PHOTO_LIMITS, Photo
from indexer.imaging.parallel import decode_all
from indexer.imaging.recapture import recapture
from indexer.model.runtime_base import Runtime

MOST = 64
_BATCH = 16


def recapture_vectors(
    catalog: Catalog,
    photos: PhotoStore,
    embedder: Runtime,
    photo_ids: np.ndarray,
    *,
    limit: int = MOST,
    seed: int = 0,
) -> np.ndarray:
    """The vectors [n, D] of ``embed_recaptures`` without their ids."""
    return embed_recaptures(catalog, photos, embedder, photo_ids, limit=limit, seed=seed)[1]


def embed_recaptures(
    catalog: Catalog,
    photos: PhotoStore,
    embedder: Runtime,
    photo_ids: np.ndarray,
    *,
    limit: int = MOST,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Photos picked among ``photo_ids`` by ``seed``, recaptured and embedded: (their ids int64 [n],
    float32 [n, D]).

    A photo that cannot be read any more is left out: the index is built without its question.
    """
    picked = np.random.default_rng(seed).permutation(np.unique(photo_ids))[:limit].tolist()
    found = catalog.photos_by_id(picked)
    rows = [found[photo_id] for photo_id in picked if photo_id in found]
    shots = [
        (row.photo_id, recapture(photo, seed=seed))
        for row, photo in decode_all(
            rows, photos.read, limits=STORED_PHOTO_LIMITS, shrink_to=embedder.shrink_to
        )
        if isinstance(photo, Photo)
    ]
    ids = np.array([photo_id for photo_id, _ in shots], np.int64)
    photos_again = [shot for _, shot in shots]
    parts = [
        embedder.embed(photos_again[start : start + _BATCH])
        for start in range(0, len(photos_again), _BATCH)
    ]
    return ids, np.concatenate(parts) if parts else np.empty((0, 0), dtype=np.float32)
