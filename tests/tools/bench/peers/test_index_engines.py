"""Search engines that answer alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tools.bench import search
from tools.bench.peers import index_engines as engines
from tools.generated_vectors import vectors


@pytest.mark.slow
def test_an_engine_in_its_own_process_answers(tmp_path: Path) -> None:
    """Built apart, opened from its files, recall at 10 exact for an exact recipe, memory told in
    bytes."""
    data = vectors(600, 32, 0, queries=40)
    search.save(tmp_path, data.rows, data.queries)
    assert search._built_apart(tmp_path)["recipe"] == "Flat"
    remote = engines.Remote("catalens", tmp_path, 0.99)
    try:
        assert remote.ask("build")["parameters"].startswith("Flat")
        batch = remote.ask("batch", most=40)
        assert batch["recall"] == 1.0
        assert batch["qps"] > 0
        assert len(remote.ask("single", start=0, count=5)["ms"]) == 5
        assert abs(remote.ask("memory")["pss"]) < 2**30
    finally:
        remote.close()


@pytest.mark.parametrize("name", ["faiss HNSW32", "scikit-learn"])
def test_peers_find_the_nearest(name: str) -> None:
    """A peer is asked for what it can: at a high effort its rows are the exact ones."""
    data = vectors(500, 32, 0, queries=20)
    rows = data.rows.astype(np.float32)
    engine = engines.PEERS[name]()
    engine.build(rows)
    engine.effort = engine.effort and 400
    truth = -np.sort(-(data.queries @ rows.T), axis=1)[:, :10]
    assert engines.recall(engine.search(data.queries, 1), data.queries, data.rows, truth) >= 0.99
