"""Tests of ``indexer.core.vectors``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.core.errors import BadVectorsError
from indexer.core.vectors import check_unit, evenly_spaced, unit_rows


@given(st.integers(0, 5000), st.integers(0, 300), st.booleans())
def test_samples_are_spread_over_all(count: int, limit: int, nearest: bool) -> None:
    """As many places as asked for and there are, each once, from the first to the last, at steps
    that differ by one at most."""
    places = evenly_spaced(count, limit, nearest=nearest)
    assert places.dtype == np.int64
    assert len(places) == min(count, limit)
    steps = np.diff(places)
    assert (steps >= 1).all()
    if len(places) > 1:
        assert (places[0], places[-1]) == (0, count - 1)
        assert steps.max() - steps.min() <= 1
    if count <= limit:
        assert places.tolist() == list(range(count))


def test_places_between_two_are_rounded_as_asked() -> None:
    """Down by default; to the nearest one, halves to the even place."""
    assert evenly_spaced(10, 5).tolist() == [0, 2, 4, 6, 9]
    assert evenly_spaced(10, 5, nearest=True).tolist() == [0, 2, 4, 7, 9]
    assert evenly_spaced(4, 3).tolist() == [0, 1, 3]
    assert evenly_spaced(4, 3, nearest=True).tolist() == [0, 2, 3]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_become_unit_vectors_and_zeros_stay(dtype: type) -> None:
    """Whatever the shape; a row without direction stays zero instead of becoming NaN."""
    rows = np.array([[[3.0, 4.0], [0.0, 0.0]], [[0.0, -2.0], [1e-3, 0.0]]], dtype)
    found = unit_rows(rows)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[[0.6, 0.8], [0, 0]], [[0, -1], [1, 0]]], rtol=1e-6)


def test_what_is_no_unit_vector_is_refused_by_number() -> None:
    """The first bad row is named, with what is wrong and what to do."""
    rows = np.eye(3, dtype=np.float32)
    check_unit(rows, 3)
    rows[1] *= 2
    with pytest.raises(BadVectorsError, match=r"vector 1 has length 2, not 1: give L2-normalised"):
        check_unit(rows, 3)
    rows[1] = np.nan
    with pytest.raises(BadVectorsError, match="vector 1 has values that are not finite"):
        check_unit(rows, 3)
    with pytest.raises(BadVectorsError, match="index has D=4, vectors have D=3"):
        check_unit(rows, 4)
