"""``bench embed``: goals, and figures that follow from vectors."""

from __future__ import annotations

import numpy as np
import pytest

from tools.bench import embed


def test_goals_are_those_that_were_set() -> None:
    """Each goal has the set number, and no verdict without its figure."""
    assert [goal.goal for goal in embed.GOALS] == [10.0, 6.0, 0.995, 0.995, 0.5, 0.5, 0.9, 0.9]
    rows = [{"part": part} for part in embed.PARTS]
    assert all(goal.judge(rows)["met"] is None for goal in embed.GOALS)


def test_leave_one_out_hits_and_likeness() -> None:
    """By hand: three of four have a neighbour of their class; a turned vector costs one of them."""
    files = ["a/1", "a/2", "b/1", "b/2"]
    own = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.8, 0.2]], np.float32)
    own /= np.linalg.norm(own, axis=1, keepdims=True)
    found = embed._alike(own, own, files)
    assert (found["cosine_mean"], found["lost_points"]) == (pytest.approx(1), 0)
    assert found["hit_rate_at_1"]["reference"] == 0.75
    turned = own[[2, 1, 0, 3]]
    changed = embed._alike(own, turned, files)
    assert changed["lost_points"] == pytest.approx(
        25.0 * (changed["hits_changed"]["lost"] - changed["hits_changed"]["won"])
    )
