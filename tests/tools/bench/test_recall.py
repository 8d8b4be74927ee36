"""``bench recall``: twenty sets or no verdict."""

from __future__ import annotations

from tools.bench import recall


def test_recall_counts_all_twenty_sets() -> None:
    """The goal is judged on twenty sets or not at all; a set is kept at asked recall less 0.01."""
    assert len(recall.SETS) == 20
    assert {dim for _, dim, _ in recall.SETS} >= {64, 1280}
    assert {n for n, _, _ in recall.SETS} >= {1_000, 1_000_000}
    assert {shape for _, _, shape in recall.SETS} == {"clustered", "skewed", "flat"}
    sets = [{"recall_at_10": 0.98}] * 19 + [{"recall_at_10": 0.9799}]
    goal, real = recall.GOALS
    assert goal.judge([{"part": "generated", "sets": sets}])["value"] == 19
    assert goal.judge([{"part": "generated", "sets": sets[:3]}])["met"] is None
    assert goal.judge([{"part": "generated", "sets": sets[:19] + sets[:1]}])["met"] is True
    assert real.judge([{"part": "photos", "recall_at_10": 0.979}])["met"] is False
