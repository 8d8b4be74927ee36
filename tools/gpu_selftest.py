"""Self-test of the index on this machine's GPU, against the exact oracle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tools.generated_vectors import vectors


def prove(entries: int = 20_000, dim: int = 128) -> dict[str, Any]:
    """``{"gpus", "ran", "checks": [{"name", "ok", "detail"}]}``; without a GPU nothing runs, and
    ``why`` says so.

    Never raises: what a check raises is its detail.
    """
    from indexer.index import gpu

    count = gpu.gpus()
    if not count:
        why = (
            "FAISS sees no GPU here"
            if hasattr(gpu.faiss, "StandardGpuResources")
            else "this FAISS has no GPU part"
        )
        return {"gpus": 0, "ran": False, "why": why, "checks": []}
    data = vectors(entries, dim, 0, queries=200)
    checks: list[tuple[str, Callable[[np.ndarray, np.ndarray], str]]] = [
        ("exact answers on the GPU", _exact),
        ("inverted lists on the GPU", _lists),
        ("built there, saved, served by the CPU", _round_trip),
        ("one owner under 16 threads", _owner),
        ("batch speed", _speed),
    ]
    return {
        "gpus": count,
        "ran": True,
        "checks": [_check(name, job, data.rows, data.queries) for name, job in checks],
    }


def _check(
    name: str, job: Callable[..., str], rows: np.ndarray, queries: np.ndarray
) -> dict[str, Any]:
    try:
        return {"name": name, "ok": True, "detail": job(rows, queries)}
    except Exception as error:  # a driver's fault must not hide the other checks
        return {"name": name, "ok": False, "detail": f"{type(error).__name__}: {error}"}


def _on_gpu(recipe: str, rows: np.ndarray) -> Any:
    from indexer.index.faiss_index import FaissIndex

    index = FaissIndex.build(recipe, rows, device="cuda")
    if index._gpu is None:
        raise RuntimeError("it did not go on the GPU; the log says why")
    return index


def _recall(index: Any, rows: np.ndarray, queries: np.ndarray, **options: Any) -> float:
    from indexer.index.exact import ExactIndex
    from indexer.index.tuning import ann_recall_at_k

    found = [hits.scores for hits in index.search(queries, 10, **options)]
    if index._gpu is None:
        raise RuntimeError("the GPU failed while it searched; the log says why")
    return ann_recall_at_k(found, ExactIndex(rows, checked=True).search(queries, 10), 10)


def _at_least(value: float, wanted: float) -> str:
    if value < wanted:
        raise ValueError(f"recall@10 {value:.4f}, wanted {wanted}")
    return f"recall@10 {value:.4f}"


def _exact(rows: np.ndarray, queries: np.ndarray) -> str:
    return _at_least(_recall(_on_gpu("Flat", rows), rows, queries), 0.999)


def _lists(rows: np.ndarray, queries: np.ndarray) -> str:
    from indexer.index.base import SearchParams

    everywhere = SearchParams(effort=64, rerank=16)
    return _at_least(_recall(_on_gpu("IVF64,SQfp16", rows), rows, queries, params=everywhere), 0.99)


def _round_trip(rows: np.ndarray, queries: np.ndarray) -> str:
    import tempfile
    from pathlib import Path

    from indexer.index.base import SearchParams
    from indexer.index.exact import ExactIndex
    from indexer.index.faiss_index import FaissIndex
    from indexer.index.tuning import ann_recall_at_k

    index = _on_gpu("IVF64,SQfp16", rows)
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder, "index.faiss"))
        again = FaissIndex.load(
            "IVF64,SQfp16", rows, Path(folder, "index.faiss"), params={}, device="cpu"
        )
        found = [
            hits.scores
            for hits in again.search(queries, 10, params=SearchParams(effort=64, rerank=16))
        ]
    return _at_least(
        ann_recall_at_k(found, ExactIndex(rows, checked=True).search(queries, 10), 10), 0.99
    )


def _owner(rows: np.ndarray, queries: np.ndarray) -> str:
    index = _on_gpu("Flat", rows)
    alone = [hits.rows.tolist() for hits in index.search(queries, 10)]
    wrong: list[int] = []

    def asks(number: int) -> None:
        for _ in range(5):
            if [hits.rows.tolist() for hits in index.search(queries, 10)] != alone:
                wrong.append(number)

    threads = [threading.Thread(target=asks, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong or index._gpu is None:
        raise RuntimeError(f"threads {sorted(set(wrong))} got other answers, or the GPU failed")
    return "16 threads, 80 batches, the same answers"


def _speed(rows: np.ndarray, queries: np.ndarray) -> str:
    from indexer.index.faiss_index import FaissIndex

    def rate(index: Any) -> float:
        index.search(queries, 10)
        started = time.perf_counter()
        for _ in range(5):
            index.search(queries, 10)
        return 5 * len(queries) / (time.perf_counter() - started)

    there, here = rate(_on_gpu("Flat", rows)), rate(FaissIndex.build("Flat", rows))
    return (
        f"{there:.0f} queries/s on the GPU, {here:.0f} on the CPU (exact, {len(rows)} x "
        f"{rows.shape[1]})"
    )
