"""How near the nearest are over how near those are to their own: by hand, and as if not there."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.classification import local_outlier
from indexer.classification.local_outlier import (
    FEWEST,
    MOST,
    NEIGHBOURS,
    CatalogNeighbourhood,
    Neighbourhood,
    local_closeness,
    with_own,
)

DIM = 8


def drawn(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def plainly(asked: np.ndarray, block: np.ndarray) -> float:
    """The definition, one cosine after the other."""
    own = [
        np.sort([a @ b for other, b in enumerate(block) if other != one])[-NEIGHBOURS:].mean()
        for one, a in enumerate(block)
    ]
    cosines = block @ asked
    nearest = np.argsort(-cosines)[:NEIGHBOURS]
    return float(np.mean([cosines[one] - own[one] for one in nearest]))


def table_of(count: int) -> np.ndarray:
    return np.stack([np.arange(count)] * 2, 1)


def test_it_is_the_mean_lead_of_the_nearest_over_their_own_nearest() -> None:
    block, asked = drawn(FEWEST), drawn(3, seed=1)
    around = CatalogNeighbourhood.build(table_of(FEWEST), block, (0, DIM))
    assert around is not None
    found = local_closeness(asked, around.products)
    assert found == pytest.approx([plainly(one, block) for one in asked], abs=1e-5)
    np.testing.assert_allclose(around.column[:, 1], around.products.own, rtol=1e-6)


def test_a_product_of_the_catalog_is_judged_as_if_it_were_not_in_it() -> None:
    """Neither its own neighbour nor one of its neighbours': as of a catalog built without it."""
    block = drawn(FEWEST)
    around = CatalogNeighbourhood.build(table_of(FEWEST), block, (0, DIM))
    assert around is not None
    wanted = [plainly(block[one], np.delete(block, one, axis=0)) for one in (0, 7, 250)]
    found = around.judge_own(np.array([0, 7, 250]), block[[0, 7, 250]])
    assert found == pytest.approx(wanted, abs=1e-5)


def test_copies_of_a_photo_make_no_product_close() -> None:
    """Variants of one photo, three each, are judged as the catalog of the photos is: neither is how
    near they are to their own told by each other, nor how near each is to the catalog."""
    block = drawn(FEWEST)
    alone = CatalogNeighbourhood.build(table_of(FEWEST), block, (0, DIM))
    table = np.stack([np.arange(3 * FEWEST), np.repeat(np.arange(FEWEST), 3)], 1)
    around = CatalogNeighbourhood.build(table, np.repeat(block, 3, axis=0), (0, DIM))
    assert alone is not None
    assert around is not None
    np.testing.assert_array_equal(around.rows, 3 * alone.rows)
    np.testing.assert_array_equal(around.products.own, alone.products.own)
    last = table[2::3, 1]
    np.testing.assert_array_equal(around.judge_own(last, block), alone.judge_own(last, block))
    few = np.stack([np.arange(FEWEST), np.arange(FEWEST) // 2], 1)
    assert CatalogNeighbourhood.build(few, block, (0, DIM)) is None


def test_only_a_catalog_of_some_size_has_one_and_a_large_one_is_drawn_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first photo of evenly spread products, so that the cost has a bound."""
    block = drawn(2 * FEWEST)
    assert CatalogNeighbourhood.build(table_of(FEWEST - 1), block[: FEWEST - 1], (0, DIM)) is None
    monkeypatch.setattr(local_outlier, "MOST", 101)
    table = np.stack([np.arange(2 * FEWEST) // 2, np.arange(2 * FEWEST)], 1)
    around = CatalogNeighbourhood.build(table, block, (0, DIM))
    assert around is not None
    assert len(around.products) == 101
    np.testing.assert_array_equal(around.rows, 2 * around.products.pids)
    assert around.products.pids[[0, -1]].tolist() == [0, FEWEST - 1]
    assert MOST >= 10 * FEWEST


def test_new_products_are_measured_against_all_and_change_no_other() -> None:
    block = drawn(60)
    others = Neighbourhood(np.arange(50), block[:50], np.zeros(50, np.float32))
    new = with_own(np.arange(50, 60), block[50:], others)
    cosines = block[50:] @ block.T
    cosines[np.arange(10), np.arange(50, 60)] = -1
    assert new.own == pytest.approx(np.sort(cosines)[:, -NEIGHBOURS:].mean(1), abs=1e-5)
    alone = with_own(np.array([1]), block[:1], others.chosen(np.zeros(50, bool)))
    assert alone.own.tolist() == [0]


def test_what_is_left_out_is_not_looked_at_and_nothing_left_says_nothing() -> None:
    block = drawn(40)
    known = Neighbourhood(np.arange(40), block, np.full(40, 0.5, np.float32))
    without = local_closeness(block[:1], known, {0})
    assert without == pytest.approx(np.sort(block[1:] @ block[0])[-NEIGHBOURS:].mean() - 0.5)
    assert local_closeness(block[:2], known, set(range(40))).tolist() == [0, 0]
