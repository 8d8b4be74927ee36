"""Reuse of features that training or evaluation cached: their photos need no network again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import structlog

from indexer.catalog.store import Catalog
from indexer.core.errors import CatalensError
from indexer.index.embedding_store import EmbeddingStore
from indexer.model.feature_store import FeatureCache, cache_file, default_cache, features_id
from indexer.model.runtime_base import Runtime

log = structlog.get_logger(__name__)

_CHUNK = 1024


def embed_cached(
    catalog: Catalog,
    store: EmbeddingStore,
    embedder: Runtime,
    photo_ids: np.ndarray,
    *,
    cache: Path | None = None,
) -> np.ndarray:
    """Store the vectors of those of ``photo_ids`` whose features are cached; returns the others.

    The cache has the features of the same network and preprocessing as float16, so a vector differs
    from the network's own by less than 1e-3. An unusable cache only costs time.
    """
    name = features_id(embedder)
    found = []
    try:
        folder = cache or default_cache()
        if not cache_file(folder, name).is_file():
            return photo_ids
        with closing(FeatureCache(folder, name)) as features:
            for start in range(0, len(photo_ids), _CHUNK):
                part = photo_ids[start : start + _CHUNK]
                found.append(_embed_part(catalog, store, embedder, features, part))
    except (CatalensError, OSError, ValueError) as error:
        log.warning("feature cache not used", reason=str(error))
    return np.setdiff1d(photo_ids, np.concatenate([np.zeros(0, np.int64), *found]))


def _embed_part(
    catalog: Catalog,
    store: EmbeddingStore,
    embedder: Runtime,
    features: FeatureCache,
    photo_ids: np.ndarray,
) -> np.ndarray:
    rows = catalog.photos_by_id(photo_ids.tolist())
    stored = features.get_many([row.content_hash for row in rows.values()])
    cached = {name: value for name, value in stored.items() if np.isfinite(value).all()}
    ids = [photo_id for photo_id, row in rows.items() if row.content_hash in cached]
    if ids:
        values = np.stack([cached[rows[photo_id].content_hash] for photo_id in ids])
        store.put(np.array(ids), embedder.embed_features(values.astype(np.float32)))
    return np.array(ids, np.int64)
