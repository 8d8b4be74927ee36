"""On a GPU: the oracle contract, halves, out of memory, CPU and back, one owner. Notice
where there is none."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from indexer.index import gpu
from indexer.index.base import SearchParams
from indexer.index.exact import ExactIndex
from indexer.index.faiss_index import FaissIndex
from indexer.index.tuning import ann_recall_at_k
from tests.indexer.index.conftest import brute_force, clustered, queries_near

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        gpu.gpus() == 0, reason="FAISS sees no GPU: the index's GPU form is not proven here"
    ),
]
RECIPES = ("Flat", "IVF32,Flat", "IVF32,SQ8", "IVF32,SQfp16", "IVF32,PQ16")
EVERYWHERE = SearchParams(effort=32, rerank=32)


def on_gpu(recipe: str, vectors: np.ndarray) -> FaissIndex:
    index = FaissIndex.build(recipe, vectors, device="cuda")
    assert index._gpu is not None, "the log says why it is not on the GPU"
    return index


@pytest.mark.parametrize("recipe", RECIPES)
def test_answers_are_the_oracles(recipe: str) -> None:
    """Halves on the GPU find what brute force finds; scores are those of the stored vectors, to
    1e-6."""
    vectors = clustered(6000, 64)
    queries = queries_near(vectors, 64)
    index = on_gpu(recipe, vectors)
    found = index.search(queries, 10, params=EVERYWHERE)
    exact = ExactIndex(vectors).search(queries, 10)
    assert ann_recall_at_k([hits.scores for hits in found], exact, 10) >= (
        0.99 if "PQ" in recipe else 0.999
    )
    for query, hits in zip(queries, found, strict=True):
        np.testing.assert_allclose(
            hits.scores, vectors[hits.rows].astype(np.float64) @ query, atol=1e-6
        )
    assert index._gpu is not None


@pytest.mark.parametrize("recipe", RECIPES)
def test_built_there_saved_and_served_by_the_cpu(recipe: str, tmp_path: Path) -> None:
    """The saved form is the CPU's: it opens without a GPU and, put there again, answers alike."""
    vectors = clustered(6000, 64)
    queries = queries_near(vectors, 32)
    path = tmp_path / "index.faiss"
    file = path if on_gpu(recipe, vectors).save(path) else None
    exact = ExactIndex(vectors).search(queries, 10)
    for device in ("cpu", "cuda"):
        index = FaissIndex.load(recipe, vectors, file, params={}, device=device)
        assert (index._gpu is not None) == (device == "cuda")
        found = index.search(queries, 10, params=EVERYWHERE)
        assert ann_recall_at_k([hits.scores for hits in found], exact, 10) >= 0.99


def test_out_of_memory_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index larger than any GPU's memory is not put there; the CPU answers exactly."""
    vectors = clustered(3000, 64)

    def too_large(*_: object, **__: object) -> object:
        return gpu.faiss.GpuIndexFlatIP(gpu._resources(), 2**22).reserveMemory(2**40)

    monkeypatch.setattr(gpu, "_flat", too_large)
    index = FaissIndex.build("Flat", vectors, device="cuda")
    assert index._gpu is None
    query = queries_near(vectors, 1)
    assert index.search(query, 5)[0].rows.tolist() == [
        row for row, _ in brute_force(vectors, query[0], 5)
    ]


def test_one_owner_under_sixteen_threads() -> None:
    """Searches from sixteen threads give what one gives: a lock makes them take turns."""
    vectors = clustered(6000, 64)
    queries = queries_near(vectors, 40)
    index = on_gpu("IVF32,SQfp16", vectors)
    alone = [hits.rows.tolist() for hits in index.search(queries, 10, params=EVERYWHERE)]
    others: list[bool] = []

    def asks() -> None:
        for _ in range(20):
            found = index.search(queries, 10, params=EVERYWHERE)
            others.append([hits.rows.tolist() for hits in found] == alone)

    threads = [threading.Thread(target=asks) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert others == [True] * 320
    assert index._gpu is not None


def test_scratch_is_bounded_and_shared() -> None:
    """Two indexes share the process's one set of resources."""
    vectors = clustered(3000, 64)
    on_gpu("Flat", vectors)
    first = gpu._resources(0)
    on_gpu("IVF32,SQfp16", vectors)
    assert gpu._resources(0) is first
    assert set(gpu._shared) <= set(range(gpu.gpus()))


def test_large_batches_answer_as_on_the_cpu() -> None:
    """A batch of 1,000 exact queries finds on the GPU what it finds on the CPU."""
    vectors = clustered(100_000, 256)
    queries = queries_near(vectors, 1000)
    found = {
        device: FaissIndex.build("Flat", vectors, device=device).search(queries, 10)
        for device in ("cpu", "cuda")
    }
    for on_cpu, on_cuda in zip(found["cpu"], found["cuda"], strict=True):
        np.testing.assert_allclose(on_cuda.scores, on_cpu.scores, atol=1e-4)


def test_near_ties_are_exact_in_halves() -> None:
    """Nine hundred rows within a thousandth: the ten best are the oracle's, in its order."""
    from tests.indexer.index.test_gpu_fallback import CROWD
    from tests.indexer.index.test_gpu_fallback import CROWD_QUERIES as queries

    index = on_gpu("Flat", CROWD)
    for hits, right in zip(
        index.search(queries, 10), ExactIndex(CROWD).search(queries, 10), strict=True
    ):
        assert hits.rows.tolist() == right.rows.tolist()


def test_indexes_come_and_go_beside_searches() -> None:
    """Built and dropped in four threads while others search: nobody fails (faiss#4718)."""
    vectors = clustered(3000, 64)
    index = on_gpu("Flat", vectors)
    queries = queries_near(vectors, 8)
    alone = [hits.rows.tolist() for hits in index.search(queries, 10)]
    seen: list[bool] = []

    def comes_and_goes() -> None:
        for _ in range(5):
            on_gpu("IVF32,SQfp16", vectors)
            seen.append([hits.rows.tolist() for hits in index.search(queries, 10)] == alone)

    threads = [threading.Thread(target=comes_and_goes) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 20


def test_after_a_failure_the_gpu_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that ran out of memory: the CPU answers, and a moment later the GPU again."""
    monkeypatch.setattr(gpu, "_FIRST_S", 0.1)
    vectors = clustered(3000, 64)
    index = on_gpu("Flat", vectors)
    queries = queries_near(vectors, 4)
    alone = [hits.rows.tolist() for hits in index.search(queries, 10)]

    def fails(*_: object) -> object:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(gpu.GpuForm, "search", fails)
        assert [hits.rows.tolist() for hits in index.search(queries, 10)] == alone
    assert index._gpu is None
    until = time.monotonic() + 30
    while index._gpu is None and time.monotonic() < until:
        index.search(queries, 10)
    assert index._gpu is not None
