"""Benchmark ``scale``: growth of build, disk, memory and latency with the entries.

A home's index version with three attributes a product is built without a network, from generated
vectors. Knobs of the environment: ``CATALENS_BENCH_SIZES`` (100000,300000,1000000; 2000000 takes
its time), ``CATALENS_BENCH_DIM`` (256), ``CATALENS_BENCH_QUERIES`` (10,000 before memory is read).
``p50_ms`` and ``p99_ms`` are of 500 single queries after those, ``cold_p99_ms`` is of the 500 first
ones, whose pages come from disk.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench.harness.framework import BenchRow, Goal, percentile
from tools.bench.peers import index_engines as engines
from tools.generated_vectors import vectors
from tools.output import log

PARTS = ("sizes",)
ROOT = Path(__file__).parents[2]
_BATCH = 200


def _sizes(rows: Sequence[BenchRow]) -> list[dict[str, Any]]:
    return [size for row in rows for size in row.get("sizes", [])]


def _worst_open(rows: Sequence[BenchRow]) -> float | None:
    return max((size["cold_open_s"] for size in _sizes(rows)), default=None)


def growth(rows: Sequence[BenchRow], field: str = "p50_ms") -> float | None:
    """The power of n that ``field`` grows with from the smallest size to the largest;
    1 is linear."""
    sizes = _sizes(rows)
    if len(sizes) < 2:
        return None
    first, last = sizes[0], sizes[-1]
    return math.log(last[field] / first[field]) / math.log(last["n"] / first["n"])


GOALS = (
    Goal("cold open, seconds, the largest of all sizes", "<", 1, _worst_open),
    Goal("search p50 grows with the power of n", "<", 1, growth),
)


def measure(part: str, work: Path) -> BenchRow:
    """One row with all sizes, each measured in processes of its own, and how every figure grows."""
    sizes = [
        int(size)
        for size in os.environ.get("CATALENS_BENCH_SIZES", "100000,300000,1000000").split(",")
    ]
    found = []
    for n in sizes:
        log(f"bench scale: {n} entries")
        folder = work / f"scale-{n}"
        folder.mkdir(exist_ok=True)
        built = _process("build", folder, n)
        _drop_cache(folder)
        found.append({"n": n, **built, **_process("serve", folder, n)})
    rows: list[BenchRow] = [{"part": part, "sizes": found}]
    fields = (
        "build_s",
        "disk_mib",
        "pss_mib",
        "cold_open_s",
        "p50_ms",
        "p99_ms",
        "cold_p99_ms",
        "filtered_p50_ms",
        "upsert_p99_ms",
    )
    powers = {field: growth(rows, field) for field in fields}
    flat = {f"{field} at {size['n']}": size[field] for size in found for field in fields}
    return {"sizes": found, "grows_with_power": powers, **flat}


def _process(job: str, folder: Path, n: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tools.bench.scale", job, str(folder), str(n)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _drop_cache(folder: Path) -> None:
    """Ask the system to forget the files, so that they are opened cold."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


def _data(n: int) -> tuple[Any, np.ndarray]:
    data = vectors(n, int(os.environ.get("CATALENS_BENCH_DIM", 256)), 0)
    return data, np.stack([np.arange(n), np.arange(n)], axis=1)


def _build(folder: Path, n: int) -> dict[str, Any]:
    from indexer.core.home import Home
    from indexer.index.tuning import build_tuned
    from indexer.index.version import Versions
    from indexer.index.version_files import NewVersion

    data, rows = _data(n)
    np.save(folder / engines.QUERIES, data.queries)
    rng = np.random.default_rng(1)
    # Three attributes: a price, a colour of twenty, in stock or not.
    np.savez(
        folder / "attributes.npz",
        price=rng.lognormal(3, 1, n),
        colour=rng.integers(0, 20, n),
        stock=rng.random(n) < 0.8,
    )
    home = Home.create(folder / "home")
    started = time.perf_counter()
    tuned = build_tuned(data.rows)
    built = time.perf_counter()
    Versions(home).publish(
        NewVersion(
            index=tuned.index,
            vectors=data.rows,
            rows=rows,
            embedding_id="bench",
            model_version="bench",
            last_sequence=0,
            recipe=tuned.index.recipe,
            params=tuned.params,
            recall=tuned.recall,
        )
    )
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "data": data.recipe,
        "recipe": tuned.index.recipe,
        "told_recall": tuned.recall["at_10"],
        "build_s": built - started,
        "publish_s": time.perf_counter() - built,
        "disk_mib": disk / 2**20,
    }


def _serve(folder: Path, n: int) -> dict[str, Any]:
    from indexer.core.home import Home
    from indexer.index.live import LiveIndex
    from indexer.index.version import Versions

    before = engines.settled_pss()
    started = time.perf_counter()
    version = Versions(Home(folder / "home")).open("v000001")
    live = LiveIndex(version)
    queries = np.load(folder / engines.QUERIES)
    live.search(queries[:1], 10)
    opened = time.perf_counter() - started
    with np.load(folder / "attributes.npz") as columns:
        price, stock = columns["price"], columns["stock"]
    rare = (
        price >= np.quantile(price, 1 - 0.01 / 0.8)
    ) & stock  # 1% of the entries: dear ones that are there
    cold = [
        _timed(lambda q=query: live.search(q[None], 10)) for query in queries[:500]
    ]  # files come from disk
    asked = int(os.environ.get("CATALENS_BENCH_QUERIES", 10_000))
    for start in range(0, asked, _BATCH):
        live.search(queries[np.arange(start, start + _BATCH) % len(queries)], 10)
    used = engines.settled_pss() - before
    ms = [_timed(lambda q=query: live.search(q[None], 10)) for query in queries[500:1000]]
    filtered = [
        _timed(lambda q=query: version.index.search(q[None], 10, allowed=rare))
        for query in queries[:500]
    ]
    return {
        "cold_open_s": opened,
        "cold_ms_samples": cold,
        "ms_samples": ms,
        "filtered_ms_samples": filtered,
        "cold_p99_ms": percentile(cold, 0.99),
        "p50_ms": percentile(ms, 0.5),
        "p99_ms": percentile(ms, 0.99),
        "filtered_p50_ms": percentile(filtered, 0.5),
        "matches": int(rare.sum()),
        "pss_mib": used / 2**20,
        **_upserts(live, version.stored, n),
    }


def _timed(work: Any) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


def _upserts(live: Any, stored: np.ndarray, n: int) -> dict[str, Any]:
    """Products laid over the version one by one, while a build of 20,000 entries runs beside them
    in a thread."""
    from indexer.index.tuning import build_tuned

    some = np.array(stored[: min(n, 20_000)])
    building = threading.Thread(target=lambda: build_tuned(some, recipe="IVF141,SQ8"))
    building.start()
    rng, ms = np.random.default_rng(2), []
    for number in range(500):
        pid = int(rng.integers(0, n))
        vector = np.array(stored[[int(rng.integers(0, n))]], dtype=np.float32)
        change = {pid: (np.array([n + number]), vector)}
        ms.append(_timed(lambda c=change, s=number + 1: live.apply(sequence=s, upserts=c)))
    still = building.is_alive()
    building.join()
    return {
        "upsert_p99_ms": percentile(ms, 0.99),
        "upsert_ms_samples": ms,
        "build_outlasted_upserts": still,
    }


if __name__ == "__main__":
    job = {"build": _build, "serve": _serve}[sys.argv[1]]
    print(json.dumps(job(Path(sys.argv[2]), int(sys.argv[3]))))
