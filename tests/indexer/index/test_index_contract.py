"""The oracle contract: every index kind answers as brute force does, in values; approximate ones by
measured recall."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.core.errors import BadRequestError, BadVectorsError
from indexer.index.base import Hits, SearchParams, VectorIndex
from indexer.index.exact import ExactIndex
from indexer.index.faiss_index import FaissIndex
from tests.indexer.index.conftest import brute_force, clustered, queries_near, unit

N, DIM = 3000, 48
VECTORS = clustered(N, DIM)
QUERIES = queries_near(VECTORS, 24)
# Looking everywhere makes IVF exact but for its codes, which the scores of the stored vectors put
# right; HNSW stays approximate at any effort.
EVERYWHERE = SearchParams(effort=10**6, rerank=32)
Build = Callable[[np.ndarray], VectorIndex]


def lists(vectors: np.ndarray) -> int:
    return min(32, max(1, len(vectors) // 40))


KINDS: dict[str, Build] = {
    "exact": ExactIndex,
    "flat": lambda vectors: FaissIndex.build("Flat", vectors),
    "ivf": lambda vectors: FaissIndex.build(f"IVF{lists(vectors)},SQ8", vectors),
    "ivf-plain": lambda vectors: FaissIndex.build(f"IVF{lists(vectors)},Flat", vectors),
    "hnsw": lambda vectors: FaissIndex.build("HNSW16,SQ8", vectors),
    "ivf-pq": lambda vectors: FaissIndex.build(
        f"IVF{lists(vectors)},PQ24x4fsr,Refine(SQ8)", vectors
    ),
    "ivf-pq-bare": lambda vectors: FaissIndex.build(
        f"IVF{lists(vectors)},PQ24x4fsr", vectors, block_dims=(16, 32)
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def index(kind: str) -> VectorIndex:
    return KINDS[kind](VECTORS)


def assert_same(hits: Hits, expected: list[tuple[int, float]]) -> None:
    """Row for row and score for score; only rows closer than float32 can tell apart (1e-6) may
    change places."""
    assert hits.rows.dtype == np.int64
    assert hits.scores.dtype == np.float32
    assert len(hits) == len(expected)
    scores = np.array([score for _, score in expected])
    np.testing.assert_allclose(hits.scores, scores, atol=1e-6)
    assert np.lexsort((hits.rows, -hits.scores)).tolist() == list(range(len(hits)))
    place = {row: at for at, (row, _) in enumerate(expected)}
    for at, row in enumerate(hits.rows.tolist()):
        assert row in place, f"row {row} is not among the {len(expected)} best"
        assert abs(scores[place[row]] - scores[at]) <= 1e-6, (
            f"row {row} at {at} belongs to {place[row]}"
        )


@pytest.mark.parametrize("k", [1, 10, 100, N, N + 5])
def test_rows_and_scores_are_those_of_brute_force(index: VectorIndex, kind: str, k: int) -> None:
    """Same rows, same scores, same order, ties by row, and min(k, N) of them however large k is."""
    queries = QUERIES if k <= 100 else QUERIES[:4]
    for query, hits in zip(queries, index.search(queries, k, params=EVERYWHERE), strict=True):
        expected = brute_force(VECTORS, query, k)
        assert len(hits) == min(k, N)
        if kind == "hnsw" and k <= 100:  # approximate: most of them, with their true scores
            true = VECTORS[hits.rows].astype(np.float64) @ query
            np.testing.assert_allclose(hits.scores, true, atol=1e-6)
            assert np.mean(hits.scores >= expected[-1][1] - 1e-6) >= 0.95
        else:
            assert_same(hits, expected)


def test_repeated_vectors_tie_to_the_last_bit(index: VectorIndex) -> None:
    """Two rows with the same vector have one score, and the lower row comes first."""
    for first in (8, 108, 1008):
        hits = index.search(VECTORS[first : first + 1].astype(np.float32), 2, params=EVERYWHERE)[0]
        assert hits.rows.tolist() == [first, first + 1]
        assert hits.scores[0] == hits.scores[1]
        assert 0.999 <= hits.scores[0] <= 1.001


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("form", ["mask", "rows"])
def test_allowed_rows_are_searched_as_if_they_were_all(
    index: VectorIndex, kind: str, share: float, form: str
) -> None:
    """An allowed set, as a mask or as row numbers in any order, gives exactly its own nearest, none
    short."""
    rng = np.random.default_rng(5)
    rows = rng.permutation(N)[: max(1, int(share * N))]
    mask = np.zeros(N, dtype=bool)
    mask[rows] = True
    found = index.search(QUERIES, 10, params=EVERYWHERE, allowed=mask if form == "mask" else rows)
    for query, hits in zip(QUERIES, found, strict=True):
        assert set(hits.rows.tolist()) <= set(rows.tolist())
        assert len(hits) == min(10, len(rows))
        if kind != "hnsw":
            assert_same(hits, brute_force(VECTORS, query, 10, rows))


def test_large_allowed_sets_go_through_the_selector(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Above the size that is simply scanned, FAISS's own selector gives the same answer, at every
    selectivity."""
    if kind == "exact":
        pytest.skip("has no selector")
    index = KINDS[kind](VECTORS)
    monkeypatch.setattr("indexer.index.faiss_index._SMALL", 0)
    rng = np.random.default_rng(6)
    for share in (0.01, 0.3, 0.9):
        rows = rng.permutation(N)[: int(share * N)]
        for query, hits in zip(
            QUERIES, index.search(QUERIES, 10, params=EVERYWHERE, allowed=rows), strict=True
        ):
            expected = brute_force(VECTORS, query, 10, rows)
            assert len(hits) == 10
            assert set(hits.rows.tolist()) <= set(rows.tolist())
            if kind != "hnsw":
                assert_same(hits, expected)


def test_least_effort_still_gives_k_hits(index: VectorIndex) -> None:
    """One list or a narrow beam is widened until min(k, N) hits are there; no -1 comes out."""
    for hits in index.search(QUERIES[:4], 500, params=SearchParams(effort=1, rerank=1)):
        assert len(hits) == 500
        assert hits.rows.min() >= 0
        assert len(np.unique(hits.rows)) == 500


@pytest.mark.parametrize("n", [0, 1, 2])
def test_tiny_indexes(n: int) -> None:
    """No, one and two entries: an index that a shop with one photo can use."""
    vectors = clustered(2, DIM)[:n]
    for build in (ExactIndex, lambda v: FaissIndex.build("Flat", v)):
        hits = build(vectors).search(QUERIES[:2], 10)
        assert [len(found) for found in hits] == [n, n]
        assert_same(hits[1], brute_force(vectors, QUERIES[1], 10))


def test_hundreds_of_equal_photos_are_ordered_by_row() -> None:
    """A tie that runs far past k is cut by row number, not by chance."""
    vectors = clustered(2000, DIM, seed=3)
    vectors[500:1700] = vectors[500]
    for name in ("exact", "flat"):
        hits = KINDS[name](vectors).search(vectors[500:501].astype(np.float32), 20)[0]
        assert hits.rows.tolist() == list(range(500, 520))


@pytest.mark.parametrize("name", ["exact", "flat"])
@pytest.mark.parametrize("k", [300, 310, 700])
def test_ties_behind_better_rows_are_ordered_by_row(name: str, k: int) -> None:
    """Better rows that are seen after a long tie push out its last rows, not its first."""
    query = unit(np.random.default_rng(2).standard_normal((1, DIM)))
    vectors = np.repeat(clustered(8, DIM)[:1], 1500, axis=0)
    vectors[1200:] = query.astype(np.float16)
    hits = KINDS[name](vectors).search(query, k)[0]
    assert hits.rows.tolist() == [*range(1200, 1500), *range(k - 300)]


def test_scores_do_not_depend_on_the_company(index: VectorIndex) -> None:
    """A query's answer is the same to the last bit alone and in a batch, for k = 5 and for
    k = 50."""
    together = index.search(QUERIES, 50, params=EVERYWHERE)
    for q in range(0, 24, 7):
        alone = index.search(QUERIES[q : q + 1], 5, params=EVERYWHERE)[0]
        assert alone.scores.tolist() == together[q].scores[:5].tolist()


def test_saved_and_loaded_answers_the_same(index: VectorIndex, kind: str, tmp_path: Path) -> None:
    """What comes back from disk is what was built."""
    if not isinstance(index, FaissIndex):
        pytest.skip("the oracle is not saved")
    wrote = index.save(tmp_path / "index.faiss")
    assert wrote == (tmp_path / "index.faiss").exists() == (kind != "flat")
    again = FaissIndex.load(
        index.recipe, VECTORS, tmp_path / "index.faiss" if wrote else None, params={}
    )
    for before, after in zip(index.search(QUERIES, 10), again.search(QUERIES, 10), strict=True):
        assert before.rows.tolist() == after.rows.tolist()
        assert before.scores.tolist() == after.scores.tolist()


def test_params_travel_with_the_call(kind: str) -> None:
    """A call with its own effort changes nothing for the next one."""
    index = KINDS[kind](VECTORS)
    before = [
        hits.rows.tolist()
        for hits in index.search(QUERIES, 10, params=SearchParams(effort=1, rerank=1))
    ]
    index.search(QUERIES, 10, params=EVERYWHERE)
    after = [
        hits.rows.tolist()
        for hits in index.search(QUERIES, 10, params=SearchParams(effort=1, rerank=1))
    ]
    assert before == after


def test_vectors_come_back(index: VectorIndex) -> None:
    """The stored vectors of any rows, in the order asked for."""
    np.testing.assert_array_equal(index.vectors([7, 3, 7]), VECTORS[[7, 3, 7]].astype(np.float32))


def broken(row: int, value: float) -> np.ndarray:
    vectors = unit(np.random.default_rng(0).standard_normal((20, DIM)))
    vectors[row] = value
    return vectors


@pytest.mark.parametrize(
    ("vectors", "reason"),
    [
        (broken(7, 2.0), "vector 7 has length"),
        (broken(3, np.nan), "vector 3 has values that are not finite"),
        (broken(4, np.inf), "vector 4 has values that are not finite"),
        (broken(0, 0.0), "vector 0 has length 0"),
        (unit(np.ones((2, DIM + 1))), f"index has D={DIM}, vectors have D={DIM + 1}"),
        (np.ones(DIM, np.float32), "two-dimensional"),
        (np.eye(DIM, dtype=np.int64), "floating point"),
    ],
)
def test_bad_queries_are_refused_and_named(
    index: VectorIndex, vectors: np.ndarray, reason: str
) -> None:
    """An index mends nothing: wrong length, NaN, infinity, dimension and type are refused, the
    first bad row named."""
    with pytest.raises(BadVectorsError, match=reason):
        index.search(vectors, 3)


@pytest.mark.parametrize("value", [2.0, np.nan])
def test_bad_stored_vectors_are_refused(kind: str, value: float) -> None:
    """Nor does it take bad vectors in."""
    vectors = clustered(400, DIM)
    vectors[321] = value
    with pytest.raises(BadVectorsError, match="vector 321"):
        KINDS[kind](vectors)


def test_halves_within_tolerance_are_taken() -> None:
    """float16 rounding (1e-3) is no fault; 1% is."""
    vectors = unit(np.random.default_rng(0).standard_normal((5, DIM)))
    assert len(FaissIndex.build("Flat", vectors * np.float32(1.0008))) == 5
    with pytest.raises(BadVectorsError):
        FaissIndex.build("Flat", vectors * np.float32(1.01))


def test_bad_arguments_are_refused(index: VectorIndex) -> None:
    """k below 1, a mask of another length, rows outside the index."""
    for k, allowed, reason in (
        (0, None, "k must be at least 1"),
        (3, np.ones(N - 1, dtype=bool), "mask of allowed rows has 2999"),
        (3, np.array([0, N]), "allowed rows must lie in"),
        (3, np.array([-1]), "allowed rows must lie in"),
    ):
        with pytest.raises(BadRequestError, match=reason):
            index.search(QUERIES, k, allowed=allowed)
    assert len(index.search(QUERIES[:1], 3, allowed=np.array([], dtype=np.int64))[0]) == 0


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 60),
    k=st.integers(1, 70),
    seed=st.integers(0, 2**16),
    distinct=st.integers(1, 60),
)
def test_flat_is_brute_force_whatever_the_ties(n: int, k: int, seed: int, distinct: int) -> None:
    """Any number of entries, any k, any share of repeated vectors."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng.standard_normal((min(distinct, n), 8))).astype(np.float16)[
        rng.integers(0, min(distinct, n), n)
    ]
    query = unit(rng.standard_normal((1, 8)))
    assert_same(
        FaissIndex.build("Flat", vectors).search(query, k)[0], brute_force(vectors, query[0], k)
    )
