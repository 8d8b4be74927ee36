"""What training embedded, the index does not embed again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indexer.index.embedding_store import EmbeddingStore
from indexer.index_build.feature_reuse import embed_cached
from indexer.model.feature_store import FeatureCache, cache_file, features_id

HASHES = {number: f"{number:064x}" for number in (1, 2, 3, 4)}


class Embedder:
    """A neck that halves the first two features; no network."""

    feature_width = 3
    backbone_digest = "d"
    spec = SimpleNamespace(embedding_part=lambda: {"preprocess": {"resize": 1}})

    def embed_features(self, features: np.ndarray) -> np.ndarray:
        return features[:, :2] / 2


class Photos:
    """A catalog that knows photos 1 to 4."""

    def photos_by_id(self, ids: list[int]) -> dict[int, Any]:
        return {number: SimpleNamespace(content_hash=HASHES[number]) for number in ids}


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path / "embeddings", "e", 2)


def test_cached_photos_get_their_vectors_without_the_network(
    tmp_path: Path, store: EmbeddingStore
) -> None:
    """Of four photos two are cached: theirs are stored, the other two are left to the network."""
    embedder: Any = Embedder()
    with closing(FeatureCache(tmp_path, features_id(embedder))) as cache:
        cache.put(
            [
                (HASHES[2], "00", np.array([0, 2, 9], np.float16)),
                (HASHES[4], "00", np.array([2, 0, 9], np.float16)),
            ]
        )
    catalog: Any = Photos()
    rest = embed_cached(catalog, store, embedder, np.array([1, 2, 3, 4]), cache=tmp_path)
    assert rest.tolist() == [1, 3]
    assert store.get(np.array([2, 4])).tolist() == [[0, 1], [1, 0]]


def test_a_cache_that_is_absent_or_damaged_only_costs_time(
    tmp_path: Path, store: EmbeddingStore
) -> None:
    embedder: Any = Embedder()
    catalog: Any = Photos()
    ids = np.array([1, 2])
    assert embed_cached(catalog, store, embedder, ids, cache=tmp_path).tolist() == [1, 2]
    assert list(tmp_path.glob("*.sqlite3")) == []
    cache_file(tmp_path, features_id(embedder)).write_bytes(b"no database" * 1000)
    assert embed_cached(catalog, store, embedder, ids, cache=tmp_path).tolist() == [1, 2]


def test_a_damaged_cache_only_costs_time(tmp_path: Path, store: EmbeddingStore) -> None:
    """Features that are no numbers, or of another width, are left to the network."""
    embedder: Any = Embedder()
    with closing(FeatureCache(tmp_path, features_id(embedder))) as cache:
        cache.put([(HASHES[1], "00", np.array([np.nan, 2, 9], np.float16))])
        cache.put([(HASHES[2], "00", np.array([0, 2, 9], np.float16))])
    catalog: Any = Photos()
    rest = embed_cached(catalog, store, embedder, np.array([1, 2]), cache=tmp_path)
    assert rest.tolist() == [1]
    with closing(FeatureCache(tmp_path, features_id(embedder))) as cache:
        cache.put([(HASHES[3], "00", np.array([0, 2], np.float16))])
    assert embed_cached(catalog, store, embedder, np.array([2, 3]), cache=tmp_path).tolist() == [
        2,
        3,
    ]
