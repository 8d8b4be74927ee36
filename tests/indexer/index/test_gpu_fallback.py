"""Where the GPU fails, the CPU answers the same and the log says why. (No test here has a GPU to
run on.)"""

from __future__ import annotations

import gc
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from indexer.index import gpu
from indexer.index.base import SearchParams
from indexer.index.exact import ExactIndex
from indexer.index.faiss_index import FaissIndex
from tests.indexer.index.conftest import clustered, queries_near

VECTORS = clustered(800, 16)
QUERIES = queries_near(VECTORS, 5)


def answers(index: FaissIndex) -> list[tuple[list[int], list[float]]]:
    return [(hits.rows.tolist(), hits.scores.tolist()) for hits in index.search(QUERIES, 10)]


def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu.faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(gpu.faiss, "StandardGpuResources", object, raising=False)


@pytest.mark.parametrize("recipe", ["Flat", "IVF8,SQ8"])
def test_gpu_that_cannot_be_used_falls_back(monkeypatch: pytest.MonkeyPatch, recipe: str) -> None:
    """Out of memory while copying: one warning with FAISS's reason, the same answers."""
    expected = answers(FaissIndex.build(recipe, VECTORS))
    one_gpu(monkeypatch)

    def fails(*_: object, **__: object) -> object:
        raise RuntimeError("out of memory: 9 GiB asked")

    monkeypatch.setattr(gpu, "GpuForm", fails)
    monkeypatch.setattr(gpu, "clustering", lambda *_: None)
    monkeypatch.setattr(gpu, "built", lambda *_, **__: None)
    with capture_logs() as logs:
        index = FaissIndex.build(recipe, VECTORS, device="auto")
    assert [(entry["log_level"], entry["reason"]) for entry in logs] == [
        ("warning", "out of memory: 9 GiB asked")
    ]
    assert "CPU" in logs[0]["event"]
    assert answers(index) == expected


class FailingForm:
    """Answers once, then fails as a GPU without memory does."""

    def __init__(self, part: Any, *, exact: bool) -> None:
        self.exact = exact
        self.calls = 0
        self._part = part

    def search(self, queries: np.ndarray, k: int, effort: int) -> np.ndarray:
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("cudaMalloc error out of memory")
        params = gpu.faiss.SearchParametersIVF(nprobe=effort) if effort else None
        return np.asarray(self._part.search(queries, k, params=params)[1])


@pytest.mark.parametrize("recipe", ["Flat", "IVF8,SQ8"])
def test_gpu_that_fails_while_serving_falls_back_for_a_while(
    monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    """The failing search itself is answered by the CPU; later ones do not try
    again for a minute; one warning."""
    expected = answers(FaissIndex.build(recipe, VECTORS))
    forms: list[FailingForm] = []

    def clone(part: Any, stored: np.ndarray, *, recipe: str, device: str) -> FailingForm:
        forms.append(FailingForm(part, exact=not gpu.has_lists(recipe)))
        return forms[-1]

    monkeypatch.setattr(gpu, "clone", clone)
    index = FaissIndex.build(recipe, VECTORS, device="cuda")
    with capture_logs() as logs:
        assert [answers(index) for _ in range(4)] == [expected] * 4
    assert forms[-1].calls == 2
    assert [(entry["log_level"], entry["reason"]) for entry in logs] == [
        ("warning", "cudaMalloc error out of memory")
    ]


def test_filters_and_long_lists_stay_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU form takes no selector and no more than 2,048 hits: it is not asked."""
    vectors = clustered(5000, 16)
    form = FailingForm(None, exact=True)
    form.calls = 1  # any call would fail, and end the GPU form
    monkeypatch.setattr(gpu, "clone", lambda *_, **__: form)
    index = FaissIndex.build("Flat", vectors, device="cuda")
    assert len(index.search(QUERIES, 3000)[0]) == 3000
    assert len(index.search(QUERIES, 10, allowed=np.arange(4500))[0]) == 10
    assert form.calls == 1


def test_asked_for_by_name_and_absent_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """``cuda`` without a GPU is said aloud; ``auto`` and ``cpu`` are silent."""
    monkeypatch.setattr(gpu.faiss, "get_num_gpus", lambda: 0)
    with capture_logs() as logs:
        answers(FaissIndex.build("Flat", VECTORS, device="auto"))
        answers(FaissIndex.build("Flat", VECTORS, device="cpu"))
        assert logs == []
        answers(FaissIndex.build("Flat", VECTORS, device="cuda"))
    assert [entry["event"] for entry in logs] == ["no GPU for the index, searching on the CPU"]


def test_training_falls_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """k-means without a working GPU trains on the CPU, with a log line."""
    one_gpu(monkeypatch)
    with capture_logs() as logs:
        index = FaissIndex.build(
            "IVF8,SQ8", VECTORS, device="auto"
        )  # `object` stands in for resources: nothing works
    assert [entry["event"] for entry in logs] == [
        "training on the CPU",
        "the index is not built on the GPU, building on the CPU",
        "the index does not go on the GPU, searching on the CPU",
    ]
    assert answers(index) == answers(FaissIndex.build("IVF8,SQ8", VECTORS))


class LimitedForm(FailingForm):
    """Fails as FAISS's GPU index does where a query is to look into more lists than it can."""

    def __init__(self, part: Any) -> None:
        super().__init__(part, exact=False)
        self.efforts: list[int] = []

    def search(self, queries: np.ndarray, k: int, effort: int) -> np.ndarray:
        self.efforts.append(effort)
        self.calls = 1 if effort > 2048 else 0
        return super().search(queries, k, effort)


def test_an_effort_beyond_what_a_gpu_can_is_the_cpu_s(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 2,048 lists: the CPU looks, says nothing in the log, and the next query is the
    GPU's again."""
    vectors = clustered(9000, 16)
    plain = FaissIndex.build("IVF2100,SQ8", vectors)
    form = LimitedForm(plain._part)
    monkeypatch.setattr(gpu, "clone", lambda *_, **__: form)
    index = FaissIndex(plain.recipe, plain._part, plain._stored, {}, "cuda")
    with capture_logs() as logs:
        for effort in (2049, 2048, 2100, 16):
            found = index.search(QUERIES, 10, params=SearchParams(effort=effort))
            expected = plain.search(QUERIES, 10, params=SearchParams(effort=effort))
            assert [hits.rows.tolist() for hits in found] == [
                hits.rows.tolist() for hits in expected
            ]
    assert form.efforts == [2048, 16]
    assert logs == []


@pytest.mark.parametrize("recipe", ["Flat", "HNSW8,SQ8"])
def test_a_gpu_given_up_by_another_thread_meanwhile_fails_no_search(recipe: str) -> None:
    """The form is gone between two looks at it, as where another thread's search failed: the
    answers are exact."""

    class Leaving(FaissIndex):
        looks = 0

        @property
        def _gpu(self) -> Any:
            self.looks += 1
            return FailingForm(self._half, exact=True) if self.looks == 1 else None

        @_gpu.setter
        def _gpu(self, form: Any) -> None:
            pass

    made = FaissIndex.build(recipe, VECTORS)
    index = Leaving(recipe, made._part, made._stored, {}, "cpu")
    assert answers(index) == answers(FaissIndex.build("Flat", VECTORS))
    assert index.looks > 0


def test_the_gpu_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory at the start and while serving: after a pause it is put there again, by a
    thread of its own, and answers. A failure is no decision for good."""
    one_gpu(monkeypatch)
    monkeypatch.setattr(gpu, "_FIRST_S", 0.01)
    forms: list[FailingForm | None] = [None]

    def clone(part: Any, stored: np.ndarray, *, recipe: str, device: str) -> FailingForm | None:
        if len(forms) > 1:
            forms.append(FailingForm(part, exact=True))
        return forms[-1]

    monkeypatch.setattr(gpu, "clone", clone)
    index = FaissIndex.build("Flat", VECTORS, device="auto")
    expected = answers(FaissIndex.build("Flat", VECTORS))
    forms.append(None)
    for number in (1, 2):
        until = time.monotonic() + 20
        while index._gpu is None and time.monotonic() < until:
            assert answers(index) == expected
        assert index._gpu is forms[-1]
        assert answers(index) == expected, "by the GPU"
        assert answers(index) == expected, "which fails in this one"
        assert index._gpu is None, f"failure {number}"


class CountedResources:
    """Stands for StandardGpuResources."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.scratch = 0

    def setTempMemory(self, size: int) -> None:
        self.scratch = size


def two_gpus(monkeypatch: pytest.MonkeyPatch, parts: list[Any]) -> None:
    class Flat:
        def __init__(self, resources: Any, _dim: int, config: Any) -> None:
            parts.append((config.device, resources))

        def add(self, rows: np.ndarray) -> None:
            pass

        def __del__(self) -> None:
            parts.append(("freed", gpu._OWNER._is_owned()))  # type: ignore[attr-defined]

    class Shards(list[Any]):
        def __init__(self, *_: Any) -> None:
            super().__init__()

        def add_shard(self, part: Any) -> None:
            self.append(part)

    names = {
        "StandardGpuResources": CountedResources,
        "GpuIndexFlatIP": Flat,
        "GpuIndexFlatConfig": SimpleNamespace,
        "IndexShards": Shards,
    }
    monkeypatch.setattr(gpu.faiss, "get_num_gpus", lambda: 2)
    for name, thing in names.items():
        monkeypatch.setattr(gpu.faiss, name, thing, raising=False)
    monkeypatch.setattr(gpu, "_shared", {})
    monkeypatch.setattr(CountedResources, "made", 0)


def test_each_gpu_has_resources_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of two GPUs that share scratch memory end the process (faiss#1572); two indexes of
    one GPU, which take turns, share."""
    parts: list[Any] = []
    two_gpus(monkeypatch, parts)
    kept = [gpu.GpuForm(None, VECTORS, exact=True) for _ in range(2)]
    assert [device for device, _ in parts] == [0, 1, 0, 1]
    assert CountedResources.made == 2
    assert parts[0][1] is parts[2][1] is not parts[1][1]
    assert {made.scratch for _, made in parts} == {gpu.TEMP_MEMORY}
    assert len(kept) == 2


def test_an_index_leaves_the_gpu_while_nobody_searches_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Dropped in any thread, it is freed under the lock of all searches."""
    parts: list[Any] = []
    two_gpus(monkeypatch, parts)
    held = [gpu.GpuForm(None, VECTORS, exact=True)]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert [entry for entry in parts if entry[0] == "freed"] == [("freed", True)] * 2


class RoundingForm:
    """Scores with queries rounded to halves, as FAISS does for a flat index of halves."""

    exact = True

    def search(self, queries: np.ndarray, k: int, _effort: int) -> np.ndarray:
        scores = queries.astype(np.float16).astype(np.float32) @ CROWD.astype(np.float32).T
        return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def crowd() -> tuple[np.ndarray, np.ndarray]:
    """float16 [900, 16] and queries float32 [20, 16]: each scores nearly the same for all queries'
    common direction, so that rounding a query reorders many."""
    rng = np.random.default_rng(4)
    query = rng.standard_normal(16)
    query /= np.linalg.norm(query)
    across = rng.standard_normal((900, 16))
    across -= np.outer(across @ query, query)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    rows = 0.7 * query + np.sqrt(0.51) * across
    turned = query + 1e-6 * rng.standard_normal((20, 16))
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    return rows.astype(np.float16), turned.astype(np.float32)


CROWD, CROWD_QUERIES = crowd()


def test_a_scan_by_rounded_queries_is_exact_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rounding could have left out a better one, more candidates are scored again."""
    queries = CROWD_QUERIES
    expected = ExactIndex(CROWD).search(queries, 10)
    alone = RoundingForm().search(queries, 26, 0)
    missed = [
        row
        for hits, found in zip(expected, alone, strict=True)
        for row in hits.rows
        if row not in found
    ]
    assert missed, "sixteen to spare are not enough here"
    monkeypatch.setattr(gpu, "clone", lambda *_, **__: RoundingForm())
    index = FaissIndex.build("Flat", CROWD, device="cuda")
    for hits, right in zip(index.search(queries, 10), expected, strict=True):
        assert hits.rows.tolist() == right.rows.tolist()
