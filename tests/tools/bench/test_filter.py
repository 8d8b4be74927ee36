"""The benchmark ``filter`` in small: its oracle needs no columns, its goals are the issue's, its
peers stand beside."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench.filter import GOALS, measure


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATALENS_BENCH_PRODUCTS", "1500")
    monkeypatch.setenv("CATALENS_BENCH_QUERIES", "12")


@pytest.mark.parametrize("part", ["1%", "patched"])
def test_a_selectivity_gives_what_its_goals_read(tmp_path: Path, part: str) -> None:
    """On a small exact index every answer is complete and right, also after patches; figures come
    from the samples."""
    row = {"part": part, **measure(part, tmp_path)}
    assert row["recall_at_10"] == 1.0
    assert row["answers_not_min_k_matches"] == 0
    assert row["matches"] == pytest.approx(15, abs=1)
    assert len(row["samples_ms"]["ours"]) == 12
    assert row["p50_share"] == pytest.approx(
        row["p50_ms"] / max(3 * row["p50_unfiltered_ms"], row["p50_exact_scan_ms"])
    )
    if part == "patched":
        assert row["patches_per_s"] > 0
    else:
        names = [peer["peer"] for peer in row["peers"]]
        assert ["IDSelector" in name for name in names] == [True, False]
        read = [goal for goal in GOALS if goal.read([row]) is not None]
        assert [goal.goal for goal in read] == [0.99, 1.0]


def test_weights_are_judged_by_the_worst_way(tmp_path: Path) -> None:
    """Default, each block alone and random weights are measured; the goal takes the least recall of
    them."""
    row = {"part": "weights", **measure("weights", tmp_path)}
    assert list(row["recall_at_10"]) == ["default", "only a", "only c", "only g", "random"]
    assert set(row["recall_at_10"].values()) == {1.0}
    row["recall_at_10"]["only c"] = 0.5
    assert [goal.read([row]) for goal in GOALS if goal.read([row]) is not None] == [0.5]


def test_each_goal_of_the_issue_is_there_once() -> None:
    """Recall and time at five selectivities, and the weights."""
    assert [(goal.op, goal.goal) for goal in GOALS] == [(">=", 0.99)] * 5 + [("<=", 1.0)] * 5 + [
        (">=", 0.98)
    ]
