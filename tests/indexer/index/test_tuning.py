"""The recipe keeps the recall it was asked for, or the exact index takes its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.errors import BadRequest
from indexer.home import Home
from indexer.index import tuning
from indexer.index.base import Hits, SearchParams
from indexer.index.exact import ExactIndex
from indexer.index.faiss_index import FaissIndex
from indexer.index.tuning import ann_recall_at_k, build_tuned, choose_recipe, held_out_queries
from indexer.index.version import Versions
from tests.indexer.index.conftest import brute_force, clustered, queries_near, unit


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


def test_recipe_by_size() -> None:
    """Exact below 20,000 entries, lists and codes above."""
    assert [choose_recipe(n) for n in (0, 1, 19_999)] == ["Flat"] * 3
    assert choose_recipe(20_000) == "IVF564,SQ8"
    assert choose_recipe(1_000_000) == "IVF4000,SQ8"


@pytest.mark.parametrize("recipe", ["IVF64,SQ8", "HNSW16,SQ8"])
@pytest.mark.parametrize("asked", [0.9, 0.99])
def test_tuned_index_holds_the_asked_recall(recipe: str, asked: float) -> None:
    """Recall@10 on other queries is the asked one, less 0.01, at the least effort measured; effort grows with k."""
    vectors = clustered(6000, 32)
    tuned = build_tuned(vectors, recall=asked, recipe=recipe)
    assert tuned.index.recipe == recipe
    assert (tuned.recall["asked"], tuned.recall["queries"]) == (asked, 256)
    assert tuned.recall["at_10"] >= asked
    curve = tuned.recall["curve"]
    assert next(point["at_10"] for point in curve if point["effort"] == tuned.index.effort(10)) == tuned.recall["at_10"]
    assert all(point["at_10"] < asked for point in curve if point["effort"] < tuned.index.effort(10))
    queries = queries_near(vectors, 200, seed=77)
    for k, promised in ((10, asked), (100, tuned.recall["at_100"])):
        right = 0
        for query, found in zip(queries, tuned.index.search(queries, k), strict=True):
            expected = brute_force(vectors, query, k)
            right += int(np.sum(found.scores >= expected[-1][1] - 1e-6))
        assert right / (200 * k) >= promised - 0.01
    efforts = [tuned.index.effort(k) for k in (1, 10, 30, 100, 400)]
    assert efforts == sorted(efforts)
    knob = "nprobe" if recipe.startswith("IVF") else "efSearch"
    assert [efforts[1], efforts[3]] == [tuned.params[knob]["10"], tuned.params[knob]["100"]]


def test_the_tuner_can_tell_a_bad_index_from_a_good_one() -> None:
    """An index of other vectors never reaches the recall, however hard it searches."""
    vectors = clustered(3000, 32)
    index = FaissIndex.build("IVF16,SQ8", clustered(3000, 32, seed=99))
    assert tuning.tune(index, ExactIndex(vectors), held_out_queries(vectors), 0.5) is None


def test_recipe_that_cannot_hold_falls_back_to_exact() -> None:
    """Without clusters, inverted lists must all be read: the exact index is taken, and the manifest says from what."""
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
        index=tuned.index, vectors=vectors, rows=rows, embedding_id="e", model_version="m", last_sequence=0,
        recipe=tuned.index.recipe, params=tuned.params, recall=tuned.recall,
    )  # fmt: skip
    opened = versions.open(version)
    assert isinstance(opened.index, FaissIndex)
    assert opened.manifest.recall == tuned.recall
    assert [opened.index.effort(k) for k in (10, 50, 100)] == [tuned.index.effort(k) for k in (10, 50, 100)]


def test_queries_are_held_out() -> None:
    """Half are rows blind to themselves, half are rows with noise; none is a stored vector that may find itself."""
    vectors = clustered(1000, 32)
    queries = held_out_queries(vectors, 100)
    own = queries.own >= 0
    assert own.sum() == 50
    near = np.vecdot(queries.vectors[own], vectors[queries.own[own]].astype(np.float32))
    assert near.min() > 0.999
    others = queries.vectors[~own] @ vectors.astype(np.float32).T
    assert others.max() < 0.98
    np.testing.assert_allclose(np.linalg.norm(queries.vectors, axis=1), 1.0, atol=1e-5)
    hits_without = tuning._without_own(Hits(np.array([4, 9, 2]), np.array([0.9, 0.8, 0.7], np.float32)), 9, 2)
    assert hits_without.rows.tolist() == [4, 2]


@pytest.mark.parametrize("n", [0, 1, 5, 12])
def test_tiny_catalogs_are_measured_too(n: int) -> None:
    """Fewer entries than hits asked for: recall 1, no division by nothing."""
    tuned = build_tuned(clustered(20, 16)[:n])
    assert (tuned.recall["at_10"], tuned.recall["at_100"]) == (1.0, 1.0)


@pytest.mark.parametrize("recall", [0.0, -0.5, 1.01])
def test_recall_out_of_range_is_refused(recall: float) -> None:
    """A share is above 0 and at most 1."""
    with pytest.raises(BadRequest, match="recall"):
        build_tuned(clustered(20, 16), recall=recall)


@pytest.mark.parametrize("recipe", ["PQ16", "flat", "", "IDMap,Flat"])
def test_unknown_recipes_are_named(recipe: str) -> None:
    """A recipe this index cannot steer is refused, not tried."""
    with pytest.raises(BadRequest, match="recipe"):
        FaissIndex.build(recipe, clustered(20, 16))


def test_effort_below_one_is_refused() -> None:
    """A search that looks nowhere is a mistake of the caller's."""
    index = FaissIndex.build("IVF4,SQ8", clustered(400, 16))
    with pytest.raises(BadRequest, match="effort"):
        index.search(queries_near(clustered(400, 16), 1), 3, params=SearchParams(effort=-1))
