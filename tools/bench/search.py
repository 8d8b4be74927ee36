"""Benchmark ``search``: one index against its peers at one recall.

Every engine runs in a process of its own, and all are asked in turn, round by round. Knobs of the
environment: ``CATALENS_BENCH_N`` entries (100,000), ``CATALENS_BENCH_DIM`` (512),
``CATALENS_BENCH_ROUNDS`` (5), and ``CATALENS_BENCH_PEERS`` names separated by commas (all).
``--only curves`` draws recall against speed for every recipe to ``CATALENS_BENCH_PICTURE`` (a file
in the work folder).
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench.harness.framework import BenchRow, Goal, percentile
from tools.bench.peers import index_engines as engines
from tools.bench.plots import curves
from tools.generated_vectors import vectors
from tools.output import log

PARTS = ("engines", "curves")
RECALL = 0.99
ASKED = (
    0.9925  # of our builder, whose held-out queries are others than the ones that are measured here
)
_SLICE = 100  # single queries in turn


def _ours(rows: Sequence[BenchRow]) -> dict[str, Any]:
    return next(
        (
            engine
            for row in rows
            for engine in row.get("engines", [])
            if engine["name"] == "catalens"
        ),
        {},
    )


def _peer(rows: Sequence[BenchRow], name: str) -> dict[str, Any]:
    return next(
        (engine for row in rows for engine in row.get("engines", []) if engine["name"] == name), {}
    )


def _ratio(field: str, peer: str) -> Callable[[Sequence[BenchRow]], float | None]:
    """Our figure over the peer's."""

    def read(rows: Sequence[BenchRow]) -> float | None:
        mine, theirs = _ours(rows).get(field), _peer(rows, peer).get(field)
        return mine / theirs if mine and theirs else None

    return read


GOALS = (
    Goal(
        "recall@10 of the index that is measured",
        ">=",
        RECALL,
        lambda rows: _ours(rows).get("recall"),
    ),
    Goal("batch QPS over FAISS HNSW32's", ">=", 2, _ratio("batch_qps", "faiss HNSW32")),
    Goal("batch QPS over hnswlib's", ">=", 3, _ratio("batch_qps", "hnswlib")),
    Goal(
        "batch QPS over scikit-learn brute force's", ">=", 50, _ratio("batch_qps", "scikit-learn")
    ),
    Goal("single-query p50 over USearch's", "<=", 1, _ratio("p50_ms", "usearch")),
    Goal("single-query p50 over hnswlib's", "<=", 1, _ratio("p50_ms", "hnswlib")),
    Goal(
        "single-query p99 over p50",
        "<=",
        5,
        lambda rows: (
            _ours(rows)["p99_ms"] / _ours(rows)["p50_ms"] if _ours(rows).get("p50_ms") else None
        ),
    ),
    Goal("build seconds over hnswlib's", "<", 1, _ratio("build_s", "hnswlib")),
    Goal("build seconds over FAISS HNSW32's", "<", 1, _ratio("build_s", "faiss HNSW32")),
    Goal("PSS over float32 vectors", "<=", 0.5, lambda rows: _ours(rows).get("pss_share")),
)


def measure(part: str, work: Path) -> BenchRow:
    """All engines over the same vectors, one row with the raw samples of each; or the recipes'
    curves."""
    n, dim = (
        int(os.environ.get("CATALENS_BENCH_N", 100_000)),
        int(os.environ.get("CATALENS_BENCH_DIM", 512)),
    )
    rounds = int(os.environ.get("CATALENS_BENCH_ROUNDS", 5))
    chosen = [
        name
        for name in os.environ.get("CATALENS_BENCH_PEERS", ",".join(engines.PEERS)).split(",")
        if name
    ]
    data = vectors(n, dim, 0)
    if part == "curves":
        return curves.draw(
            data, Path(os.environ.get("CATALENS_BENCH_PICTURE", work / "curves.svg"))
        )
    save(work, data.rows, data.queries)
    found = [{"name": "catalens", **_built_apart(work)}]
    running = {name: engines.Remote(name, work, ASKED) for name in ("catalens", *chosen)}
    try:
        for name, remote in running.items():
            log(f"bench search: {name} builds")
            built = remote.ask("build")
            if name != "catalens":
                found.append(
                    {"name": name, "build_s": built["seconds"], "version": built["version"]}
                )
                log(f"bench search: {name} is tuned")
                found[-1].update(remote.ask("tune", wanted=RECALL))
            else:
                found[0]["open_s"] = built["seconds"]
            found[-1]["parameters"] = built["parameters"]
            found[-1].update(qps_samples=[], ms_samples=[])
        for number in range(rounds):
            log(f"bench search: round {number + 1} of {rounds}")
            for engine in found:
                _round(running[engine["name"]], engine, number, len(data.queries))
        for engine in found:
            memory = running[engine["name"]].ask("memory")["pss"]
            engine["pss_mib"] = memory / 2**20
            engine["pss_share"] = memory / (4 * n * dim)
            engine["batch_qps"] = statistics.median(engine["qps_samples"])
            engine["p50_ms"] = statistics.median(engine["ms_samples"])
            engine["p99_ms"] = percentile(engine["ms_samples"], 0.99)
    finally:
        for remote in running.values():
            remote.close()
    return {
        "data": data.recipe,
        "asked_recall": ASKED,
        "rounds": rounds,
        "engines": found,
        **_flat(found),
    }


def save(work: Path, rows: np.ndarray, queries: np.ndarray) -> None:
    """What the engines read: rows float16, queries, the exact scores of the ten nearest of each."""
    from indexer.index.faiss_index import FaissIndex

    hits = FaissIndex.build("Flat", rows).search(queries, engines.K)
    np.save(work / engines.ROWS, rows)
    np.save(work / engines.QUERIES, queries)
    np.save(work / engines.TRUTH, np.stack([found.scores for found in hits]))


def _built_apart(work: Path) -> dict[str, Any]:
    """Our index is built in one process and served by another, as a rebuild beside a live server
    is."""
    builder = engines.Remote("catalens", work, ASKED)
    try:
        log("bench search: catalens builds")
        return builder.ask("prepare")
    finally:
        builder.close()


def _round(remote: engines.Remote, engine: dict[str, Any], number: int, queries: int) -> None:
    """One batch and one slice of single queries; brute force has fewer of both, it takes long
    enough."""
    brute = engine["name"] == "scikit-learn"
    batch = remote.ask("batch", most=queries // 4 if brute else queries)
    engine["qps_samples"].append(batch["qps"])
    engine["recall"] = batch["recall"]
    count = _SLICE // 10 if brute else 2 * _SLICE
    engine["ms_samples"] += remote.ask("single", start=number * count, count=count)["ms"]


def _flat(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures once more in names of their own, for the table."""
    fields = ("recall", "batch_qps", "p50_ms", "p99_ms", "build_s", "pss_mib")
    return {f"{engine['name']} {field}": engine[field] for engine in found for field in fields}
