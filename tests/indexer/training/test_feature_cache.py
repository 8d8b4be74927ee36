"""Feature cache: recaptures have features of their own, and nothing is computed twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from indexer.training.advise import frozen_runtime
from indexer.training.feature_cache import photo_features, recapture_features
from indexer.training.problem import read_problem


def test_a_recapture_has_features_of_its_own_in_the_cache(shapes: Path, tmp_path: Path) -> None:
    """Neither is ever taken for the other, and the second time no photo is decoded."""
    runtime = frozen_runtime()
    rows = read_problem(shapes, 0).of("train")[:4]
    plain = photo_features(rows, runtime, cache=tmp_path)
    drawn = [(np.array([True, True, True, False]), 2)]
    first = recapture_features(plain, runtime, drawn, cache=tmp_path)
    assert len(first.places) == 2
    assert set(first.places) < {0, 1, 2}
    assert np.abs(first.values - plain.values[first.places]).max(1).min() > 0.01
    called: list[int] = []
    again = recapture_features(
        plain, runtime, drawn, cache=tmp_path, progress=lambda _, done, __: called.append(done)
    )
    np.testing.assert_array_equal(first.values, again.values)
    assert called == []
    np.testing.assert_array_equal(
        photo_features(rows, runtime, cache=tmp_path).values, plain.values
    )
