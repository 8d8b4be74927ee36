"""Re-shot photos as questions: picked by seed, changed, embedded; a photo that is gone costs only
itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.index.recapture_queries import recapture_vectors
from indexer.index_build import pipeline, publish
from tests.indexer.index_build.test_pipeline import FakeBundle, FakeEmbedder, add_photo, put


def test_photos_are_shot_again(tmp_path: Path) -> None:
    """Each picked photo once, as other bytes than its own; the same seed asks the same, another one
    another."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        photos = [add_photo(home, i) for i in range(6)]
        put(catalog, "p", *photos)
        ids = catalog.entries()[1][:, 1]
        embedder = FakeEmbedder()
        found = recapture_vectors(catalog, PhotoStore(home), embedder, ids, limit=4)
        assert found.shape == (4, 6)
        assert len(set(embedder.seen)) == 4
        assert not set(embedder.seen) & {photo.content_hash for photo in photos}
        again = recapture_vectors(catalog, PhotoStore(home), FakeEmbedder(), ids, limit=4)
        np.testing.assert_array_equal(found, again)
        other = recapture_vectors(catalog, PhotoStore(home), FakeEmbedder(), ids, limit=4, seed=1)
        assert not np.array_equal(found, other)
        for gone in (home.path / "photos").rglob("*"):
            if gone.is_file():
                gone.unlink()
        assert len(recapture_vectors(catalog, PhotoStore(home), FakeEmbedder(), ids)) == 0


def test_a_build_asks_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the index may be approximate, the build hands re-shots to the tuner; an exact one needs
    no questions."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        put(catalog, "p", *(add_photo(home, i) for i in range(6)))
    handed: list[int] = []
    real = publish.build_tuned

    def watched(vectors: np.ndarray, **options: object) -> object:
        asked = options["query_vectors"]
        handed.append(0 if asked is None else len(asked))  # type: ignore[arg-type]
        return real(vectors, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(publish, "build_tuned", watched)
    pipeline.build_index(home, bundle=FakeBundle(), embedder=FakeEmbedder())  # type: ignore[arg-type]
    monkeypatch.setattr(pipeline, "FLAT_BELOW", 5)
    pipeline.build_index(home, bundle=FakeBundle(), embedder=FakeEmbedder())  # type: ignore[arg-type]
    assert handed == [0, 6]
