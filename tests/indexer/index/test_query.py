"""Queries with weights of their own: the score is the weighted mean of the blocks' cosines, bad
weights are named."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.core.errors import BadRequestError
from indexer.index.query import check_weights, reweigh
from indexer.model.spec import Block

BLOCKS = (Block("a", 4, 0.5), Block("c", 2, 0.2), Block("g", 6, 0.3))


def embeddings(n: int, seed: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """float32 [n, 12] and its unit blocks."""
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal((n, block.dim)) for block in BLOCKS]
    parts = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts]
    whole = np.concatenate(
        [part * block.weight**0.5 for part, block in zip(parts, BLOCKS, strict=True)], axis=1
    )
    return whole.astype(np.float32), parts


@pytest.mark.parametrize("weights", [{"c": 1.0}, {"a": 2, "g": 6}, {"a": 0.1, "c": 0.7, "g": 0.2}])
def test_score_is_the_weighted_mean_of_block_cosines(weights: dict[str, float]) -> None:
    """Index score times length = sum of q_j cos_j, the weights brought to sum 1; queries are of
    unit length."""
    (asked, asked_parts), (stored, stored_parts) = embeddings(3, 0), embeddings(5, 1)
    queries, lengths = reweigh(asked, BLOCKS, weights)
    assert queries.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1.0, atol=1e-6)
    total = sum(weights.values())
    expected = sum(
        weights.get(block.name, 0) / total * (mine @ theirs.T)
        for block, mine, theirs in zip(BLOCKS, asked_parts, stored_parts, strict=True)
    )
    np.testing.assert_allclose(queries @ stored.T * lengths[:, None], expected, atol=1e-6)


def test_the_embeddings_own_weights_change_nothing() -> None:
    """Asking with the weights that are stored is asking with the embedding itself."""
    asked, _ = embeddings(3, 0)
    queries, lengths = reweigh(asked, BLOCKS, {"a": 5, "c": 2, "g": 3})
    np.testing.assert_allclose(queries, asked, atol=1e-6)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-6)


def test_block_without_weight_cannot_be_asked_for() -> None:
    """Nothing of such a block is stored; the others still work beside it."""
    blocks = (Block("a", 4, 1.0), Block("c", 2, 0.0))
    vector = np.array([[1, 0, 0, 0, 0, 0]], np.float32)
    with pytest.raises(BadRequestError, match="block c weighs nothing"):
        reweigh(vector, blocks, {"c": 1})
    queries, lengths = reweigh(vector, blocks, {"a": 3})
    np.testing.assert_array_equal(queries, vector)
    assert lengths.tolist() == [1.0]


def test_a_vector_that_is_nothing_in_the_asked_block_is_refused() -> None:
    """There is no direction to ask for; a query of no numbers would be an answer in place of a
    failure."""
    vector = np.array([[1, 0, 0, 0, 0, 0]], np.float32)
    with pytest.raises(BadRequestError, match="holds nothing in the blocks"):
        reweigh(vector, (Block("a", 4, 0.5), Block("c", 2, 0.5)), {"c": 1})


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({"a": -0.1, "g": 1}, "a must not be negative, it is -0.1"),
        ({"a": 0, "c": 0.0}, "at least one block"),
        ({}, "at least one block"),
        ({"colour": 1}, r"no block 'colour'; it has: a, c, g"),
        ({"a": float("nan")}, "a must be a finite number, not nan"),
        ({"a": float("inf")}, "a must be a finite number"),
        ({"a": "1"}, "a must be a finite number, not '1'"),
        ({"a": True}, "a must be a finite number, not True"),
    ],
)
def test_bad_weights_are_named(weights: dict[str, float], reason: str) -> None:
    """Each fault is a bad request that says which weight and why."""
    with pytest.raises(BadRequestError, match=reason):
        check_weights(BLOCKS, weights)
