"""Generated vectors follow their recipe."""

from __future__ import annotations

import numpy as np
import pytest

from tools.generated_vectors import vectors


def test_vectors_follow_their_recipe() -> None:
    """Unit length, Zipf-sized clusters, one row in a hundred nearly another one; the same seed, the
    same numbers."""
    data = vectors(4000, 64, 1, queries=50)
    rows = data.rows.astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-3)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -1)
    copies = (cosines.max(1) > 0.999).mean()
    assert 0.015 <= copies <= 0.025  # both of a pair
    # Two of one cluster: 1 / 1.36; the largest of 40 clusters holds 1 / sum(r ** -1.1) of all rows.
    mates = ((cosines > 0.55).sum(1) + 1) / 4000
    assert mates.max() == pytest.approx(1 / np.sum(np.arange(1, 41) ** -1.1), rel=0.15)
    assert np.median(cosines[cosines > 0.55]) == pytest.approx(1 / 1.36, abs=0.01)
    again = vectors(4000, 64, 1, queries=50)
    np.testing.assert_array_equal(again.rows, data.rows)
    assert (data.queries @ rows.T).max() < 0.97
    assert (vectors(2000, 64, 1, shape="flat").queries @ rows.T).max() < 0.75
    with pytest.raises(ValueError, match="round"):
        vectors(10, 4, 0, shape="round")


def test_skewed_sets_have_one_great_cluster() -> None:
    """Zipf(2): more than half of the rows lie together."""
    rows = vectors(3000, 64, 0, shape="skewed").rows.astype(np.float32)
    assert ((rows @ rows.T > 0.55).sum(1).max() / 3000) == pytest.approx(
        1 / np.sum(np.arange(1, 31) ** -2.0), rel=0.1
    )
