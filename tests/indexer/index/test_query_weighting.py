"""Queries of several inputs and weighted blocks: scores by their definition, bad weights named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from indexer.core.errors import BadRequestError
from indexer.index.query_weighting import (
    check_weights,
    kept_portions,
    reweight_queries,
    vector_query,
)
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
    queries, lengths = reweight_queries(asked, BLOCKS, weights)
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
    queries, lengths = reweight_queries(asked, BLOCKS, {"a": 5, "c": 2, "g": 3})
    np.testing.assert_allclose(queries, asked, atol=1e-6)
    np.testing.assert_allclose(lengths, 1.0, atol=1e-6)


def test_block_without_weight_cannot_be_asked_for() -> None:
    """Nothing of such a block is stored; the others still work beside it."""
    blocks = (Block("a", 4, 1.0), Block("c", 2, 0.0))
    vector = np.array([[1, 0, 0, 0, 0, 0]], np.float32)
    with pytest.raises(BadRequestError, match="block c weighs nothing"):
        reweight_queries(vector, blocks, {"c": 1})
    queries, lengths = reweight_queries(vector, blocks, {"a": 3})
    np.testing.assert_array_equal(queries, vector)
    assert lengths.tolist() == [1.0]


def test_a_vector_that_is_nothing_in_the_asked_block_is_refused() -> None:
    """There is no direction to ask for; a query of no numbers would be an answer in place of a
    failure."""
    vector = np.array([[1, 0, 0, 0, 0, 0]], np.float32)
    with pytest.raises(BadRequestError, match="holds nothing in the blocks"):
        reweight_queries(vector, (Block("a", 4, 0.5), Block("c", 2, 0.5)), {"c": 1})


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


WIDE = (Block("a", 6, 0.5), Block("c", 4, 0.3), Block("g", 5, 0.2))
STARTS = (0, 6, 10, 15)
RNG = np.random.default_rng(3)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def drawn_embeddings(count: int) -> np.ndarray:
    """As a model makes them: unit blocks, each scaled by the root of its weight."""
    parts = [
        np.sqrt(block.weight) * unit(RNG.standard_normal((count, block.dim))) for block in WIDE
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def block_cosine(one: np.ndarray, other: np.ndarray, number: int) -> float:
    """The definition, from the block's own numbers."""
    span = slice(STARTS[number], STARTS[number + 1])
    return float(unit(one[span]) @ unit(other[span]))


STORED = drawn_embeddings(40)
IMAGE, PRODUCT = drawn_embeddings(1), drawn_embeddings(3)


@pytest.mark.parametrize("weights", [{"c": 1}, {"a": 2, "c": 1, "g": 1}, {"g": 0.1, "a": 0}])
def test_a_weighted_score_is_the_mean_of_the_blocks_cosines(weights: dict[str, float]) -> None:
    """Whatever the weights sum to; nothing is stored anew for it. Signals give each block, weighted
    or not."""
    asked = vector_query({"image": IMAGE}, WIDE, weights=weights)
    total = sum(weights.values())
    for stored in STORED:
        cosines = [block_cosine(IMAGE[0], stored, number) for number in range(3)]
        expected = sum(
            weights.get(b.name, 0) / total * c for b, c in zip(WIDE, cosines, strict=True)
        )
        assert asked.lengths[0] * (asked.queries[0] @ stored) == pytest.approx(expected, abs=1e-5)
        signals = asked.signals(stored)
        assert signals == pytest.approx(
            {"image": expected, "a": cosines[0], "c": cosines[1], "g": cosines[2]}, abs=1e-5
        )
    np.testing.assert_allclose(np.linalg.norm(asked.queries, axis=1), 1, atol=1e-6)


def test_the_models_own_weights_are_the_plain_cosine() -> None:
    """Asking with the model's weights is asking without."""
    own = vector_query({"image": IMAGE}, WIDE, weights={block.name: block.weight for block in WIDE})
    plain = vector_query({"image": IMAGE}, WIDE)
    for asked in (own, plain):
        np.testing.assert_allclose(
            (asked.queries * asked.lengths[:, None]) @ STORED.T, IMAGE @ STORED.T, atol=1e-5
        )


def test_a_mixed_score_is_the_mean_of_the_inputs_cosines() -> None:
    """Of a product with several photos the best one counts, photo by photo of the catalog."""
    asked = vector_query(
        {"image": IMAGE, "product_id": PRODUCT}, WIDE, mix={"image": 1, "product_id": 3}
    )
    for stored in STORED:
        image, product = float(IMAGE[0] @ stored), float((PRODUCT @ stored).max())
        best = float((asked.lengths * (asked.queries @ stored)).max())
        assert best == pytest.approx(0.25 * image + 0.75 * product, abs=1e-5)
        assert asked.signals(stored) == pytest.approx(
            {"image": image, "product_id": product}, abs=1e-5
        )


def test_a_mix_can_be_weighted_too() -> None:
    """Then the score is both: the mean over inputs and the mean over blocks."""
    asked = vector_query({"image": IMAGE, "product_id": PRODUCT}, WIDE, weights={"a": 1, "c": 3})
    for stored in STORED:
        score = float((asked.lengths * (asked.queries @ stored)).max())
        signals = asked.signals(stored)
        assert (signals["image"] + signals["product_id"]) / 2 == pytest.approx(score, abs=1e-5)
        assert 0.25 * signals["a"] + 0.75 * signals["c"] == pytest.approx(score, abs=1e-5)
        assert -1 <= score <= 1


def test_an_equal_product_scores_one_under_any_weights() -> None:
    for weights in ({"c": 1}, {"a": 1, "g": 5}, None):
        asked = vector_query({"image": STORED[:1]}, WIDE, weights=weights)
        assert asked.lengths[0] * (asked.queries[0] @ STORED[0]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        ({"image": -1}, "mix: image must be a finite number from 0, not -1"),
        ({"image": float("nan")}, "mix: image must be"),
        ({"image": float("inf")}, "mix: image must be"),
        ({"image": True}, "mix: image must be"),
        ({"image": "1"}, "mix: image must be"),
        ({"image": 0, "product_id": 0.0}, "mix: at least one input must count more than zero"),
        ({}, "mix: at least one input must count more than zero"),
        ({"text": 1}, "mix: the question has no input 'text'; it has: image, product_id"),
        ({"image": 1e308, "product_id": 1e308}, "mix: too large"),
    ],
)
def test_a_bad_mix_is_named(mix: Any, words: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        vector_query({"image": IMAGE, "product_id": PRODUCT}, WIDE, mix=mix)
    assert words in str(refused.value)


def test_inputs_that_cancel_out_are_refused() -> None:
    with pytest.raises(BadRequestError, match="opposite directions"):
        vector_query({"image": IMAGE, "product_id": -IMAGE}, WIDE)


def test_distinct_keeps_the_first_of_each_group() -> None:
    """By a plain loop: a result stays unless one that stays before it is nearly the same; across
    portions too."""
    rng = np.random.default_rng(5)
    centres = unit(rng.standard_normal((60, 16)))
    vectors = unit(centres[rng.integers(0, 60, 700)] + 0.02 * unit(rng.standard_normal((700, 16))))
    kept: list[int] = []
    for place, vector in enumerate(vectors):
        if all(float(vector @ vectors[other]) < 0.995 for other in kept):
            kept.append(place)
    assert np.concatenate(list(kept_portions(vectors))).tolist() == kept
    assert 30 < len(kept) < 200
    assert list(kept_portions(np.empty((0, 16), np.float32))) == []
