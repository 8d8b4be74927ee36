"""``bench fetch`` in small: a kill among faults loses no photo and no reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench import fetch


@pytest.mark.slow
def test_faults_and_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every good photo once, every bad one with its reason, as its goals read it."""
    monkeypatch.setenv("CATALENS_BENCH_FAULTY", "150")
    monkeypatch.setenv("CATALENS_BENCH_BACKOFF_MS", "20")
    row = {"part": "faults", **fetch.measure("faults", tmp_path)}
    judged = {goal.name: goal.judge([row]) for goal in fetch.GOALS}
    assert row["twice"] == 0
    assert row["bytes_right"]
    assert 75 <= row["killed_at"] < 150
    for name in (
        "faults and a kill: good photos missing",
        "faults and a kill: bad ones without a reason",
    ):
        assert judged[name]["met"] is True
    assert judged["first search, minutes"]["met"] is None


@pytest.mark.long
def test_an_hourly_run_asks_for_new_photos_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty new products and two prices of two hundred rows: twenty requests, all of new photos;
    none where nothing changed."""
    monkeypatch.setenv("CATALENS_BENCH_ROWS", "200")
    row = {"part": "hourly", **fetch.measure("hourly", tmp_path)}
    assert (row["first_added"], row["added"], row["replaced"]) == (200, 20, 2)
    assert (row["photos_asked"], row["of_new"], row["others"]) == (20, 20, 0)
    assert row["nothing_changed_photos"] == 0
    judged = {goal.name: goal.judge([row]) for goal in fetch.GOALS}
    assert judged["hourly run, seconds"]["met"] is True
