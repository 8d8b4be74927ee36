"""Order of an epoch: each photo once, alike ones together, the same for all processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from indexer.core.native import torch
from indexer.feeds.dataset import DatasetRow
from indexer.training.batches import epoch_order, photo_kinds
from indexer.training.targets import Target


def drawn(kind: np.ndarray, product: np.ndarray, alike: int, seed: int = 0) -> np.ndarray:
    return epoch_order((kind, product), alike, torch.Generator().manual_seed(seed))


def with_another(kind: np.ndarray, order: np.ndarray, size: int) -> float:
    """Share of the photos that have another one of their kind in the batch."""
    found = 0
    for start in range(0, len(order), size):
        batch = kind[order[start : start + size]]
        found += int((np.bincount(batch)[batch] > 1).sum())
    return found / len(order)


def test_of_many_small_kinds_nearly_all_have_another_in_the_batch() -> None:
    """1,000 kinds with 3 photos in batches of 32: by chance 6% have, so contrasts teach nothing."""
    kind = np.random.default_rng(0).permutation(np.repeat(np.arange(1000), 3))
    product = np.arange(3000)
    plain, together = (drawn(kind, product, alike) for alike in (1, 3))
    for order in (plain, together):
        assert sorted(order.tolist()) == list(range(3000))
    assert with_another(kind, plain, 32) < 0.1
    assert with_another(kind, together, 32) > 0.95
    assert np.array_equal(together, drawn(kind, product, 3))
    assert not np.array_equal(together, drawn(kind, product, 3, seed=1))


def test_photos_of_one_product_stand_together() -> None:
    """Two photos each of 50 products of one kind, in pairs."""
    product = np.random.default_rng(1).permutation(np.repeat(np.arange(50), 2))
    order = drawn(np.zeros(100, np.int64), product, 2)
    pairs = product[order].reshape(50, 2)
    assert np.array_equal(pairs[:, 0], pairs[:, 1])


def test_photos_of_no_kind_stand_alone() -> None:
    kind = np.array([-1] * 60 + [0] * 4)
    order = drawn(kind, np.arange(64), 4)
    at = np.flatnonzero(kind[order] == 0)
    assert at.tolist() == list(range(at[0], at[0] + 4))
    assert (np.abs(np.diff(order[kind[order] < 0])) == 1).mean() < 0.2
    assert len(drawn(np.zeros(0, np.int64), np.zeros(0, np.int64), 4)) == 0


def test_the_kind_is_the_first_target() -> None:
    rows = [
        DatasetRow(f"{place}", name, Path("x.png"), None, None, (), None, {})
        for place, name in enumerate("abab")
    ]
    pool = np.array([0, 2, 3])
    target = Target("category", ("x", "y"), np.array([0, 1, 1, -1]))
    kind, product = photo_kinds(rows, [target], pool)
    assert (kind.tolist(), product.tolist()) == ([0, 1, -1], [0, 0, 1])
    assert photo_kinds(rows, [], pool)[0].tolist() == [-1, -1, -1]
