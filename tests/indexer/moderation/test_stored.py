"""What was fitted to a home's catalog: stored under its key, used again, made again."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from indexer.catalog.dataset import read_dataset
from indexer.catalog.imports import import_dataset
from indexer.catalog.store import open_catalog
from indexer.embeddings import EmbeddingStore
from indexer.home import Home
from indexer.images import Photo
from indexer.model.spec import Block
from indexer.moderation.policy import load_policies
from indexer.moderation.stored import fit_home, fitted_file, read_fitted
from tests.indexer.moderation import drawn

DIM = 8
BUNDLE: Any = SimpleNamespace(
    embedding_id="e1", spec=SimpleNamespace(dim=DIM, blocks=(Block("g", DIM, 1.0),)), general_spread=lambda: None
)


class Counting:
    """A stand-in for the network, with a count of the photos it was shown."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, photos: Sequence[Photo]) -> np.ndarray:
        self.seen += len(photos)
        return vectors(len(photos), seed=1)


def vectors(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_home_is_fitted_once_for_a_file_and_a_model(tmp_path: Path) -> None:
    """The second time what is stored is read, equal to the last bit; another file, and damage, are fitted again."""
    data = tmp_path / "data"
    data.mkdir()
    for seed in range(12):
        drawn.product(seed).save(data / f"product{seed}.png")
    home = Home.create(tmp_path / "home")
    import_dataset(home, read_dataset(data))
    file = drawn.write(tmp_path, "  flags:\n    gallery: {photos: banned}\n", photos=2)
    policies, embed = load_policies(file), Counting()
    assert read_fitted(home, policies, BUNDLE) is None
    with open_catalog(home) as catalog:
        _, rows = catalog.entries()
        with closing(EmbeddingStore(home.embeddings, "e1", DIM)) as store:
            store.put(rows[:, 1], vectors(len(rows), seed=0))
        first = fit_home(home, policies, BUNDLE, catalog, embed)["flags"]
        assert embed.seen == 2
        again = fit_home(home, policies, BUNDLE, catalog, embed)["flags"]
        assert embed.seen == 2
        assert set(again.bounds) == {"whole", "symbol"}
        assert again.bounds == first.bounds
        for name in ("weight", "examples"):
            np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
        stored = fitted_file(home).read_text()
        assert "product" not in stored, "no product is named"
        fitted_file(home).write_text(stored[: len(stored) // 2])
        assert fit_home(home, policies, BUNDLE, catalog, embed)["flags"].bounds == first.bounds
        assert embed.seen == 4
        file.write_text(file.read_text() + "# changed\n")
        assert read_fitted(home, load_policies(file), BUNDLE) is None
