"""What unknown kinds are compared with follows writes, removals and rewritten photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.classification.local_outlier import FEWEST, CatalogNeighbourhood, local_closeness
from indexer.core.home import Home
from indexer.index.faiss_index import FaissIndex
from indexer.index.live import LiveIndex
from indexer.index.version import Versions
from indexer.index.version_files import NewVersion
from service.state import neighbourhood
from service.state.neighbourhood import LiveNeighbourhood

DIM, COLUMNS = 16, (4, 16)
SIDES = {"mix": [1.0] * 4, "mean": [0.0] * 4, "spread": [1.0] * 4}


def drawn(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float16)


@pytest.fixture
def live(tmp_path: Path) -> LiveIndex:
    kinds = np.eye(DIM)[4 + np.arange(FEWEST) % 4] + 0.3 * drawn(FEWEST, 0)
    vectors = (kinds / np.linalg.norm(kinds, axis=1, keepdims=True)).astype(np.float16)
    rows = np.stack([np.arange(FEWEST)] * 2, 1)
    around = CatalogNeighbourhood.build(rows, vectors, COLUMNS)
    assert around is not None
    versions = Versions(Home.create(tmp_path / "home"))
    version = versions.publish(
        NewVersion(
            index=FaissIndex.build("Flat", vectors, device="cpu"),
            vectors=vectors,
            rows=rows,
            embedding_id="e1",
            model_version="m1",
            last_sequence=4,
            unknown={"threshold": 1.0, "products": FEWEST, "columns": list(COLUMNS), **SIDES},
            around=around.column,
        )
    )
    return LiveIndex(versions.open(version))


def test_without_a_write_it_is_what_the_build_measured(live: LiveIndex) -> None:
    around = CatalogNeighbourhood.build(
        np.asarray(live.base.rows), np.asarray(live.base.stored), COLUMNS
    )
    assert around is not None
    known = LiveNeighbourhood(live).current()
    np.testing.assert_array_equal(known.pids, around.products.pids)
    np.testing.assert_allclose(known.own, around.products.own)
    np.testing.assert_allclose(known.block, around.products.block, atol=1e-6)


def test_a_kind_that_was_written_since_is_near_itself_and_gone_once_removed(
    live: LiveIndex,
) -> None:
    """Forty photos of one kind: strange before, usual once they are in, strange again after."""
    axis = np.zeros(DIM)
    axis[9] = 1
    kind = axis + 0.1 * np.random.default_rng(1).normal(size=(40, DIM))
    kind /= np.linalg.norm(kind, axis=1, keepdims=True)
    asked = kind[:1, slice(*COLUMNS)] / np.linalg.norm(kind[0, slice(*COLUMNS)])
    around = LiveNeighbourhood(live)

    def told() -> float:
        return float(local_closeness(asked.astype(np.float32), around.current())[0])

    before = told()
    written = {1000 + n: ([2000 + n], kind[n : n + 1].astype(np.float32)) for n in range(1, 40)}
    live.apply(sequence=5, upserts=written)
    assert before < -0.2
    assert told() == pytest.approx(0, abs=0.05)
    live.apply(sequence=6, upserts={}, deletes=written)
    assert told() == pytest.approx(before)


def test_a_removed_or_rewritten_product_of_the_version_counts_no_more(live: LiveIndex) -> None:
    around = LiveNeighbourhood(live)
    other = drawn(1, 5).astype(np.float32)
    live.apply(sequence=5, upserts={7: ([900], other)}, deletes=[3])
    known = around.current()
    assert 3 not in known.pids
    (place,) = np.flatnonzero(known.pids == 7)
    block = other[0, slice(*COLUMNS)]
    np.testing.assert_allclose(known.block[place], block / np.linalg.norm(block), atol=1e-3)
    measured = known.own[place]
    live.apply(sequence=6, upserts={7: ([901], -other)})
    known = around.current()
    (place,) = np.flatnonzero(known.pids == 7)
    assert known.own[place] != measured
    # A change that touches no photo leaves what was measured.
    live.apply(sequence=7, upserts={}, facts={8: None})
    assert 8 in around.current().pids


def test_many_new_products_are_taken_in_over_several_questions(
    live: LiveIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbourhood, "_AT_ONCE", 8)
    around = LiveNeighbourhood(live)
    new = drawn(20, 2).astype(np.float32)
    live.apply(sequence=5, upserts={1000 + n: ([1000 + n], new[n : n + 1]) for n in range(20)})
    assert [len(around.current()) - FEWEST for _ in range(4)] == [8, 16, 20, 20]


def test_of_new_products_as_large_a_share_counts_as_of_the_others(
    live: LiveIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbourhood, "MOST", FEWEST // 3)
    around = LiveNeighbourhood(live)
    new = drawn(20, 2).astype(np.float32)
    live.apply(sequence=5, upserts={900 + n: ([900 + n], new[n : n + 1]) for n in range(20)})
    newer = around.current().pids[FEWEST:]
    assert newer.tolist() == [900, 903, 906, 909, 912, 915, 918]


def test_new_products_of_one_photo_are_one_and_those_of_a_known_one_none(live: LiveIndex) -> None:
    """Twelve variants of one photo would have each other for nearest, and what is like them would
    be strange."""
    around = LiveNeighbourhood(live)
    new = drawn(1, 2).astype(np.float32)
    live.apply(sequence=5, upserts={1000 + n: ([1000], new) for n in range(12)})
    known = around.current()
    assert known.pids[FEWEST:].tolist() == [1000]
    alone = LiveNeighbourhood(live)
    live.apply(sequence=6, upserts={}, deletes=range(1001, 1012))
    np.testing.assert_array_equal(known.own, alone.current().own)
    stored = np.asarray(live.base.stored[7:8], np.float32)
    live.apply(sequence=7, upserts={2000: ([7], stored)})
    assert 2000 not in around.current().pids
    live.apply(sequence=8, upserts={}, deletes=[7])
    assert 2000 in around.current().pids
