"""What safety costs is measured beside a peer that keeps the same facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench import writes
from tools.bench.harness.framework import run


def test_each_kind_of_write_stands_beside_its_peer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row has both sides' samples, from which its ratio can be computed again; every part has
    its goal."""
    monkeypatch.setenv("CATALENS_BENCH_BATCH", "10")
    monkeypatch.setenv("CATALENS_BENCH_PAIRS", "3")
    found = run("writes", work=tmp_path)
    assert [row["part"] for row in found["rows"]] == list(writes.PARTS)
    for row in found["rows"]:
        pairs = zip(row["ours_samples_us"], row["peer_samples_us"], strict=True)
        assert sorted(mine / plain for mine, plain in pairs)[1] == row["ratio"]
        assert row["ours_us"] > 0
    assert [goal["value"] for goal in found["goals"]] == [row["ratio"] for row in found["rows"]]
    assert list(tmp_path.iterdir()) == []
