"""Draws of many: always the same, in order, and all where there are few."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.catalog.dataset import DatasetRow
from indexer.model.spec import Block
from indexer.training.sampling import sample_indices
from indexer.training.tag_samples import TaggedPhotos, sample_of


def test_few_are_all_taken_and_many_are_drawn_alike_each_time() -> None:
    chosen = np.arange(1000) % 3 == 0
    assert sample_indices(chosen, 334).tolist() == list(range(0, 1000, 3))
    some = sample_indices(chosen, 50)
    assert len(set(some.tolist())) == 50
    assert np.array_equal(some, np.sort(some))
    assert set(some.tolist()) <= set(range(0, 1000, 3))
    assert np.array_equal(some, sample_indices(chosen, 50))
    assert some.max() > 800, "from all over, not the first ones"


def test_a_tag_rule_is_fitted_on_a_draw_of_products_and_judged_on_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 30 asked and 40 voting products 7 and 20 fit a rule, with all of their photos; who judges
    sees all."""
    monkeypatch.setattr("indexer.training.tag_samples.MAX_QUERIES", 7)
    monkeypatch.setattr("indexer.training.tag_samples.MAX_VOTERS", 20)
    rng = np.random.default_rng(0)

    def photos(name: str, products: int) -> TaggedPhotos:
        rows = [
            DatasetRow(
                f"f:{n}", f"{name}{n // 2}", Path("x"), None, None, (f"t{n // 2 % 3}",), None, {}
            )
            for n in range(2 * products)
        ]
        vectors = rng.normal(size=(len(rows), 8)).astype(np.float32)
        pixels = np.array([f"{name}{n}" for n in range(len(rows))], dtype=object)
        return TaggedPhotos(rows, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), pixels)

    asked, voters, blocks = photos("a", 30), photos("v", 40), [Block("g", 8, 1.0)]
    sizes = []
    for fitting in (True, False):
        sample = sample_of(asked, voters, blocks, fitting=fitting)
        assert sample is not None
        sizes.append((len(sample.actual), sample.voters.shape[0]))
    assert sizes == [(7, 20), (30, 40)]
