"""Benchmark ``recall``: recall kept by the tuner, on 20 generated sets and real photos.

``CATALENS_BENCH_SCALE`` (1.0) multiplies the number of entries of every set, for a quick look. The
real photos need ``CATALENS_DATA``; ``--only generated`` does without them.
``CATALENS_BENCH_PHOTOS`` (4,000) is how many are embedded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tools.bench.harness.framework import BenchRow, Goal, figure, real_data
from tools.generated_vectors import vectors
from tools.output import log

PARTS = ("generated", "photos")
ASKED = 0.99
# (entries, dimension, shape): from 64 to 1280 dimensions, from a thousand to a million entries
SETS = (
    (1_000, 64, "clustered"),
    (1_000, 512, "flat"),
    (5_000, 1280, "clustered"),
    (20_000, 64, "clustered"),
    (20_000, 64, "flat"),
    (20_000, 256, "skewed"),
    (20_000, 512, "clustered"),
    (20_000, 1280, "skewed"),
    (50_000, 96, "clustered"),
    (50_000, 128, "flat"),
    (50_000, 512, "skewed"),
    (50_000, 768, "clustered"),
    (100_000, 64, "skewed"),
    (100_000, 256, "clustered"),
    (100_000, 512, "clustered"),
    (100_000, 512, "flat"),
    (200_000, 128, "clustered"),
    (300_000, 256, "skewed"),
    (1_000_000, 64, "clustered"),
    (1_000_000, 128, "clustered"),
)


def _kept(rows: Sequence[BenchRow]) -> float | None:
    sets = [found for row in rows if row["part"] == "generated" for found in row["sets"]]
    return (
        float(sum(found["recall_at_10"] >= ASKED - 0.01 for found in sets))
        if len(sets) == len(SETS)
        else None
    )


GOALS = (
    Goal("generated sets of 20 with recall@10 >= asked - 0.01", ">=", 20, _kept),
    Goal(
        "recall@10 of real photos that are not in the index",
        ">=",
        ASKED - 0.01,
        figure("photos", "recall_at_10"),
    ),
)


def measure(part: str, work: Path) -> BenchRow:
    """The row of one part; recall on fresh queries that the builder never saw."""
    return _generated() if part == "generated" else _photos(work)


def _generated() -> BenchRow:
    scale = float(os.environ.get("CATALENS_BENCH_SCALE", 1.0))
    found = []
    for number, (n, dim, shape) in enumerate(SETS):
        n = max(500, int(n * scale))
        log(f"bench recall: {n} x {dim}, {shape}")
        data = vectors(n, dim, number, shape=shape, queries=500)
        found.append({"data": data.recipe, **judged(data.rows, data.queries)})
    flat = {f"{row['data']} @10": row["recall_at_10"] for row in found}
    return {"asked": ASKED, "sets": found, **flat}


def judged(rows: np.ndarray, queries: np.ndarray) -> dict[str, Any]:
    """Build for the asked recall, then look up ``queries`` and compare with the exact scan."""
    from indexer.index.faiss_index import FaissIndex
    from indexer.index.tuning import ann_recall_at_k, build_tuned

    started = time.perf_counter()
    tuned = build_tuned(rows, recall=ASKED)
    seconds = time.perf_counter() - started
    exact = FaissIndex.build("Flat", rows)
    out: dict[str, Any] = {
        "recipe": tuned.index.recipe,
        "params": tuned.params,
        "build_and_tune_s": seconds,
    }
    out["told"] = {name: tuned.recall[name] for name in ("at_10", "at_100")}
    for k in (10, 100):
        found = [hits.scores for hits in tuned.index.search(queries, k)]
        out[f"recall_at_{k}"] = ann_recall_at_k(found, exact.search(queries, k), k)
    return out


def _photos(work: Path) -> BenchRow:
    """Fashion photos by the frozen network, repeated with noise to 30,000 entries: below, the index
    is exact anyway."""
    from indexer.core.home import Home
    from indexer.imaging.decode import decode_photo
    from indexer.model.open_runtime import open_embedder
    from indexer.model.registry import pretrained

    folder = real_data("fashion") / "images"
    embedder = open_embedder(pretrained(Home.create(work / "home")), device="cpu")
    files = sorted(folder.iterdir())[: int(os.environ.get("CATALENS_BENCH_PHOTOS", 4000))]
    vectors_found = []
    for start in range(0, len(files), 16):
        photos = [
            decode_photo(file.read_bytes(), shrink_to=embedder.shrink_to)
            for file in files[start : start + 16]
        ]
        vectors_found.append(embedder.embed(photos))
    real = np.concatenate(vectors_found)
    rng = np.random.default_rng(0)
    asked, kept = real[::8], np.delete(real, np.s_[::8], axis=0)
    times = -(-30_000 // len(kept))
    noise = 0.3 / kept.shape[1] ** 0.5  # of norm 0.3, but none on the photos themselves
    rows = np.concatenate(
        [kept + noise * rng.standard_normal(kept.shape) * (t > 0) for t in range(times)]
    )
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    return {"data": f"{len(kept)} photos of fashion, {times} times", **judged(rows, asked)}
