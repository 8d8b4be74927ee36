"""The recipe keeps the recall it was asked for, or the exact index takes its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from indexer.core.errors import BadRequestError, BadVectorsError
from indexer.core.home import Home
from indexer.index import tuning
from indexer.index.base import Hits, SearchParams
from indexer.index.exact import ExactIndex
from indexer.index.faiss_index import FaissIndex
from indexer.index.query_weighting import reweight_queries, search_params
from indexer.index.tuning import Tuned, ann_recall_at_k, build_tuned, held_out_queries
from indexer.index.version import Versions
from indexer.index.version_files import NewVersion
from indexer.model.spec import Block
from tests.indexer.index.conftest import brute_force, clustered, queries_near, unit


@contextmanager
def fewer_queries() -> Iterator[None]:
    """A third of the queries tune an index: enough where the tuning is not what is asked about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "held_out_queries", partial(held_out_queries, count=192))
        yield


def hits(*scores: float) -> Hits:
    return Hits(np.arange(len(scores)), np.array(scores, dtype=np.float32))


@pytest.mark.parametrize(
    ("found", "exact", "k", "expected"),
    [
        ([0.9, 0.8], (0.9, 0.8, 0.7), 2, 1.0),
        ([0.9, 0.7], (0.9, 0.8, 0.7), 2, 0.5),
        ([0.9], (0.9, 0.8, 0.7), 2, 0.5),
        ([], (0.9, 0.8, 0.7), 2, 0.0),
        ([0.9, 0.8 - 5e-7], (0.9, 0.8, 0.7), 2, 1.0),  # a tie within 1e-6 is a hit
        ([0.9, 0.8 - 5e-6], (0.9, 0.8, 0.7), 2, 0.5),
        ([0.9, 0.9, 0.8], (0.9, 0.8), 2, 1.0),  # more than k found counts k
        ([0.9], (0.9,), 10, 1.0),  # fewer than k exist
    ],
)
def test_recall_is_the_share_of_the_exact_k(
    found: list[float], exact: tuple[float, ...], k: int, expected: float
) -> None:
    """A hit is right when its exact score reaches the k-th exact score less 1e-6."""
    assert ann_recall_at_k([np.array(found, dtype=np.float32)], [hits(*exact)], k) == expected


def test_recall_of_no_queries_is_one() -> None:
    """Nothing asked, nothing missed; two queries are averaged."""
    assert ann_recall_at_k([], [], 10) == 1.0
    assert ann_recall_at_k([np.array([0.5]), np.array([0.1])], [hits(0.5), hits(0.5)], 1) == 0.5


@pytest.mark.parametrize(
    "recipe", ["IVF64,SQ8", "HNSW16,SQ8", "IVF64,PQ16x4fsr,Refine(SQ8)", "IVF64,PQ16x4fsr"]
)
@pytest.mark.parametrize("asked", [0.9, 0.99])
def test_tuned_index_holds_the_asked_recall(recipe: str, asked: float) -> None:
    """Recall@10 on other queries is the asked one, less 0.01, at the cheapest point measured;
    effort grows with k."""
    vectors = clustered(6000, 32)
    tuned = build_tuned(vectors, recall=asked, recipe=recipe)
    assert tuned.index.recipe == recipe
    assert (tuned.recall["asked"], tuned.recall["queries"]) == (asked, 512 + 96)
    assert tuned.recall["at_10"] >= asked
    points = [point for point in tuned.recall["curve"] if point["k"] == 10]
    taken = min((point for point in points if point["holds"]), key=lambda point: point["cost"])
    knob = "nprobe" if recipe.startswith("IVF") else "efSearch"
    assert (taken["effort"], taken["rerank"]) == (
        tuned.params[knob]["10"],
        tuned.params["rerank"]["10"],
    )
    assert taken["at"] == tuned.recall["at_10"]
    queries = queries_near(vectors, 200, seed=77)
    for k, promised in ((10, asked), (100, tuned.recall["at_100"])):
        right = 0
        for query, found in zip(queries, tuned.index.search(queries, k), strict=True):
            expected = brute_force(vectors, query, k)
            right += int(np.sum(found.scores >= expected[-1][1] - 1e-6))
        assert right / (200 * k) >= promised - 0.01
    efforts = [tuned.index.effort(k) for k in (1, 10, 30, 100, 400)]
    assert efforts == sorted(efforts)
    assert [efforts[1], efforts[3]] == [tuned.params[knob]["10"], tuned.params[knob]["100"]]


def test_the_tuner_can_tell_a_bad_index_from_a_good_one() -> None:
    """An index of other vectors never reaches the recall, however hard it searches."""
    vectors = clustered(3000, 32)
    index = FaissIndex.build("IVF16,SQ8", clustered(3000, 32, seed=99))
    judge = tuning.RecallMeter(ExactIndex(vectors), held_out_queries(vectors))
    assert tuning.tune(index, judge, judge, 0.5) is None


def test_recipe_that_cannot_hold_falls_back_to_exact() -> None:
    """Without clusters, inverted lists must all be read: the exact index is taken, and the manifest
    says from what."""
    rng = np.random.default_rng(0)
    vectors = unit(rng.standard_normal((3000, 64))).astype(np.float16)
    tuned = build_tuned(vectors, recall=0.999, recipe="IVF200,SQ8")
    assert tuned.index.recipe == "Flat"
    assert tuned.recall["fallback_from"] == "IVF200,SQ8"
    assert (tuned.recall["at_10"], tuned.recall["at_100"]) == (1.0, 1.0)


def test_tuned_params_are_those_of_the_opened_version(tmp_path: Path) -> None:
    """What was tuned is stored with the version and used when it is opened."""
    vectors = clustered(3000, 32)
    tuned = build_tuned(vectors, recipe="IVF32,SQ8")
    rows = np.stack([np.arange(3000), np.arange(3000)], axis=1)
    versions = Versions(Home.create(tmp_path / "home"))
    version = versions.publish(
        NewVersion(
            index=tuned.index,
            vectors=vectors,
            rows=rows,
            embedding_id="e",
            model_version="m",
            last_sequence=0,
            recipe=tuned.index.recipe,
            params=tuned.params,
            recall=tuned.recall,
        )
    )
    opened = versions.open(version)
    assert isinstance(opened.index, FaissIndex)
    assert opened.manifest.recall == tuned.recall
    assert [opened.index.effort(k) for k in (10, 50, 100)] == [
        tuned.index.effort(k) for k in (10, 50, 100)
    ]


def test_queries_are_held_out() -> None:
    """Rows blind to themselves, rows with noise, rows blind to all that may show the same; none may
    find itself."""
    vectors = clustered(1000, 32)
    queries = held_out_queries(vectors, 200)
    group = queries.group
    assert np.bincount(group).tolist() == [100, 100, 0, 96]
    assert (queries.new, group[-96:].tolist()) == (96, [3] * 96)
    assert ((queries.own >= 0) == (group != 1)).all()
    rows = queries.own >= 0
    near = np.vecdot(queries.vectors[rows], vectors[queries.own[rows]].astype(np.float32))
    assert near.min() > 0.999
    others = queries.vectors[~rows] @ vectors.astype(np.float32).T
    assert others.max() < 0.98
    np.testing.assert_allclose(np.linalg.norm(queries.vectors, axis=1), 1.0, atol=1e-5)
    quarter = queries.subsample(4)
    assert (quarter.new, quarter.group[-24:].tolist(), len(quarter.own)) == (24, [3] * 24, 74)
    hits_without = tuning._without(
        Hits(np.array([4, 9, 2]), np.array([0.9, 0.8, 0.7], np.float32)), 9, 2
    )
    assert hits_without.rows.tolist() == [4, 2]


def test_a_new_product_is_found_as_well_as_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each thing has several photos, those find one another easily; what looks like a new
    thing is found too."""
    rng = np.random.default_rng(3)
    things = unit(rng.standard_normal((1500, 24)))
    known, new = things[:1400], things[1400:]
    shots = [unit(known + 0.2 * unit(rng.standard_normal(known.shape))) for _ in range(10)]
    photos = np.concatenate(shots).astype(np.float16)
    exact = ExactIndex(photos).search(new, 10)

    def share() -> float:
        tuned = build_tuned(photos, recipe="IVF128,SQ8", recall=0.99)
        assert tuned.index.kind == "ivf"
        return ann_recall_at_k([hits.scores for hits in tuned.index.search(new, 10)], exact, 10)

    assert share() >= 0.98
    monkeypatch.setattr(tuning, "_NEW", 0)
    assert share() < 0.93  # what asking known things alone would promise .99 for


def test_rows_that_judge_new_photos_train_nothing() -> None:
    """All photos of a thing that is asked about as new are left out of training, a tenth of the
    catalog at most."""
    things = clustered(300, 48)
    photos = np.repeat(things, 10, axis=0)
    queries = held_out_queries(photos)
    judge = tuning.RecallMeter(ExactIndex(photos), queries)
    assert 0 < len(judge.unseen) <= 300
    rows = set(judge.unseen.tolist())
    assert all({10 * (row // 10) + other for other in range(10)} <= rows for row in rows)
    index = FaissIndex.build("IVF16,SQ8", photos, unseen=judge.unseen)
    assert len(index) == 3000
    other = FaissIndex.build("IVF16,SQ8", photos)
    assert not np.array_equal(_centroids(index), _centroids(other))


def _centroids(index: FaissIndex) -> np.ndarray:
    lists = index._part
    return np.asarray(lists.quantizer.reconstruct_n(0, lists.nlist))


def test_the_callers_queries_must_be_found_too() -> None:
    """Queries that the caller hands in are a kind of their own: that the others are found is not
    enough for them."""
    vectors = clustered(6000, 32)
    strangers = unit(
        np.random.default_rng(9).standard_normal((64, 32))
    )  # between all clusters, so hard to find
    with fewer_queries():
        plain = build_tuned(vectors, recipe="IVF64,SQ8")
        asked = build_tuned(vectors, recipe="IVF64,SQ8", query_vectors=strangers)
    assert asked.recall["queries"] == plain.recall["queries"] + 64
    exact = ExactIndex(vectors).search(strangers, 10)

    def share(index: FaissIndex) -> float:
        found = [hits.scores for hits in index.search(strangers, 10)]
        return ann_recall_at_k(found, exact, 10)

    assert share(asked.index) >= 0.98
    assert share(plain.index) < share(asked.index)
    with pytest.raises(BadVectorsError, match="D=32"):
        build_tuned(vectors, query_vectors=strangers[:, :16])


BLOCKS = (Block("a", 16, 0.5), Block("c", 8, 0.2), Block("g", 24, 0.3))


def of_blocks(n: int, seed: int = 0) -> np.ndarray:
    """float16 [n, 48]: each block clustered in its own way, scaled by the root of its weight."""
    parts = [
        clustered(n, block.dim, seed + number)[np.random.default_rng(number).permutation(n)].astype(
            np.float32
        )
        for number, block in enumerate(BLOCKS)
    ]
    return np.concatenate(
        [unit(part) * block.weight**0.5 for part, block in zip(parts, BLOCKS, strict=True)], axis=1
    ).astype(np.float16)


@pytest.fixture(scope="module", params=["IVF64,SQ8", "IVF64,PQ24x4fsr,Refine(SQ8)", "HNSW16,SQ8"])
def weighted(request: pytest.FixtureRequest) -> tuple[Tuned, np.ndarray]:
    """An index tuned for other weights too, and its vectors."""
    vectors = of_blocks(4000)
    with fewer_queries():
        return build_tuned(vectors, recipe=request.param, blocks=BLOCKS), vectors


@pytest.mark.parametrize("weights", [{"a": 1}, {"c": 1}, {"g": 2}, {"a": 0.2, "c": 0.7, "g": 0.1}])
def test_queries_of_other_weights_are_found(
    weighted: tuple[Tuned, np.ndarray], weights: dict[str, float]
) -> None:
    """One block alone or weights of one's own: recall@10 stays 0.98, scores are those of the
    oracle."""
    tuned, vectors = weighted
    assert tuned.recall["weighted"]["at_10"] >= 0.98
    queries, _ = reweight_queries(queries_near(vectors, 100, seed=5), BLOCKS, weights)
    found = tuned.index.search(queries, 10, params=search_params(weights))
    exact = ExactIndex(vectors).search(queries, 10)
    assert ann_recall_at_k([hits.scores for hits in found], exact, 10) >= 0.98
    for hits, query in zip(found, queries, strict=True):
        np.testing.assert_allclose(
            hits.scores, vectors[hits.rows].astype(np.float64) @ query, atol=1e-6
        )


def test_other_weights_are_scanned_where_nobody_measured() -> None:
    """A version without measured factors answers such queries exactly; one query in the usual way
    is not."""
    vectors = of_blocks(4000)
    index = FaissIndex.build("IVF64,SQ8", vectors)
    queries, _ = reweight_queries(queries_near(vectors, 40, seed=6), BLOCKS, {"c": 1})
    exact = ExactIndex(vectors).search(queries, 10)
    found = index.search(queries, 10, params=search_params({"c": 1}))
    assert [hits.rows.tolist() for hits in found] == [hits.rows.tolist() for hits in exact]
    narrow = index.search(queries, 10, params=SearchParams(effort=1))
    assert [hits.rows.tolist() for hits in narrow] != [hits.rows.tolist() for hits in exact]


def test_blocks_must_be_those_of_the_vectors() -> None:
    """Blocks of another embedding are refused, both lengths named."""
    with pytest.raises(BadRequestError, match="48 dimensions together, the vectors 32"):
        build_tuned(clustered(100, 32), blocks=BLOCKS)


@pytest.mark.parametrize("n", [0, 1, 5, 12])
def test_tiny_catalogs_are_measured_too(n: int) -> None:
    """Fewer entries than hits asked for: recall 1, no division by nothing."""
    tuned = build_tuned(clustered(20, 16)[:n])
    assert (tuned.recall["at_10"], tuned.recall["at_100"]) == (1.0, 1.0)


@pytest.mark.parametrize("recall", [0.0, -0.5, 1.01])
def test_recall_out_of_range_is_refused(recall: float) -> None:
    """A share is above 0 and at most 1."""
    with pytest.raises(BadRequestError, match="recall"):
        build_tuned(clustered(20, 16), recall=recall)


@pytest.mark.parametrize("recipe", ["PQ16", "flat", "", "IDMap,Flat"])
def test_unknown_recipes_are_named(recipe: str) -> None:
    """A recipe this index cannot steer is refused, not tried."""
    with pytest.raises(BadRequestError, match="recipe"):
        FaissIndex.build(recipe, clustered(20, 16))


def test_effort_below_one_is_refused() -> None:
    """A search that looks nowhere is a mistake of the caller's."""
    index = FaissIndex.build("IVF4,SQ8", clustered(400, 16))
    with pytest.raises(BadRequestError, match="effort"):
        index.search(queries_near(clustered(400, 16), 1), 3, params=SearchParams(effort=-1))


@pytest.fixture(scope="module", params=["IVF141,PQ16x4fsr,Refine(SQ8)", "IVF141,SQ8", "HNSW16,SQ8"])
def filtered(request: pytest.FixtureRequest) -> tuple[FaissIndex, np.ndarray]:
    """A tuned index of 20,000 entries."""
    vectors = clustered(20_000, 32)
    with fewer_queries():
        return build_tuned(vectors, recipe=request.param).index, vectors


@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("how", ["evenly", "clustered"])
def test_filters_keep_the_recall_at_any_selectivity(
    filtered: tuple[FaissIndex, np.ndarray], share: float, how: str
) -> None:
    """Allowed rows spread evenly or all on one side of the space: recall@10 >= 0.99 at tuned
    effort, none short."""
    index, vectors = filtered
    rng = np.random.default_rng(4)
    order = (
        rng.permutation(20_000) if how == "evenly" else np.argsort(vectors[:, 0].astype(np.float32))
    )
    mask = np.zeros(20_000, dtype=bool)
    mask[order[: int(share * 20_000)]] = True
    queries = queries_near(vectors, 100, seed=8)
    exact = ExactIndex(vectors).search(queries, 10, allowed=mask)
    found = index.search(queries, 10, allowed=mask)
    assert all(len(hits) == 10 and mask[hits.rows].all() for hits in found)
    assert ann_recall_at_k([hits.scores for hits in found], exact, 10) >= 0.99


def test_a_selector_is_taken_only_where_it_is_cheaper(
    filtered: tuple[FaissIndex, np.ndarray],
) -> None:
    """Few matches are scanned exactly; where nearly all match, the tuned search goes on, not
    narrower than without."""
    index, _ = filtered
    assert index._plan(10, SearchParams(), 0.06)[0] == 0
    assert index._plan(10, SearchParams(), 1.0) == (index.effort(10), index.rerank(10))
    effort, _ = index._plan(10, SearchParams(), 0.97)
    assert effort == 0 or effort >= index.effort(10)


def test_a_block_without_weight_is_not_asked_for() -> None:
    """It holds zeros: the recall of other weights is measured with the blocks
    that weigh something."""
    weightless = (Block("a", 16, 0.6), Block("c", 8, 0.0), Block("g", 24, 0.4))
    vectors = of_blocks(4000).astype(np.float32)
    vectors[:, 16:24] = 0
    with fewer_queries():
        tuned = build_tuned(unit(vectors).astype(np.float16), recipe="IVF64,SQ8", blocks=weightless)
    assert set(tuned.index.params["widen"]) <= {"a", "g", "mixed"}
    assert tuned.recall["weighted"]["at_10"] >= 0.98
