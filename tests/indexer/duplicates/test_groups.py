"""Groups of duplicates: every pair stands in one, and no chain makes one."""

from __future__ import annotations

import numpy as np

from indexer.duplicates.groups import star_cluster


def test_a_chain_is_no_group() -> None:
    """a-b, b-c, c-d: nobody is put together with what he does not repeat; every pair stands in one
    group."""
    found = star_cluster(np.array([0, 1, 2]), np.array([1, 2, 3]), np.array([0.9, 0.8, 0.7]))
    assert [(star.centre, star.members, star.pairs) for star in found] == [
        (1, (0, 2), (0, 1)),
        (2, (3,), (2,)),
    ]


def test_groups_come_largest_first_with_the_nearest_first() -> None:
    """Five copies of one photo are one group about the photo that all repeat; its members are
    ordered by score."""
    first, second = np.array([7, 7, 7, 7, 1]), np.array([3, 5, 8, 9, 2])
    found = star_cluster(first, second, np.array([0.7, 0.9, 0.8, 0.9, 1.0]))
    assert [(star.centre, star.members) for star in found] == [(7, (5, 9, 8, 3)), (1, (2,))]
    assert star_cluster(np.empty(0, int), np.empty(0, int), np.empty(0)) == []
