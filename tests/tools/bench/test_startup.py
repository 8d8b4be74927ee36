"""``bench startup``: its goals."""

from __future__ import annotations

from tools.bench import startup


def test_goals_are_those_that_were_set() -> None:
    """Each goal has the set number, and no verdict without its figure."""
    assert [goal.goal for goal in startup.GOALS] == [2.0, 5.0, 900.0, 1.03]
    rows = [{"part": part} for part in startup.PARTS]
    assert all(goal.judge(rows)["met"] is None for goal in startup.GOALS)
