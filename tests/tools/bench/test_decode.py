"""``bench decode``: its goals."""

from __future__ import annotations

from tools.bench import decode


def test_goals_are_those_that_were_set() -> None:
    """Each goal has the set number, and no verdict without its figure."""
    assert [goal.goal for goal in decode.GOALS] == [3.0, 5.0]
    rows = [{"part": part} for part in decode.PARTS]
    assert all(goal.judge(rows)["met"] is None for goal in decode.GOALS)
