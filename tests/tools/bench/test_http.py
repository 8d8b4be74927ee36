"""``bench http``: its goals."""

from __future__ import annotations

from tools.bench import http


def test_goals_are_those_that_were_set() -> None:
    """Each goal has the set number, and no verdict without its figure."""
    assert [goal.goal for goal in http.GOALS] == [1 / 3, 25.0, 3.0, 5.0, 0.9, 5.0, 2.0]
    rows = [{"part": part} for part in http.PARTS]
    assert all(goal.judge(rows)["met"] is None for goal in http.GOALS)
