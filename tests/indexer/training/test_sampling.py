"""Draws of many: always the same, in order, and all where there are few."""

from __future__ import annotations

import numpy as np

from indexer.training.sampling import sample_indices


def test_few_are_all_taken_and_many_are_drawn_alike_each_time() -> None:
    chosen = np.arange(1000) % 3 == 0
    assert sample_indices(chosen, 334).tolist() == list(range(0, 1000, 3))
    some = sample_indices(chosen, 50)
    assert len(set(some.tolist())) == 50
    assert np.array_equal(some, np.sort(some))
    assert set(some.tolist()) <= set(range(0, 1000, 3))
    assert np.array_equal(some, sample_indices(chosen, 50))
    assert some.max() > 800, "from all over, not the first ones"
