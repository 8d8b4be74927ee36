"""Subsampling for pairwise statistics."""

from __future__ import annotations

import numpy as np


def sample_indices(chosen: np.ndarray, limit: int) -> np.ndarray:
    """Places of the entries ``chosen`` (bool [N]), ascending; of more than ``limit`` a draw of so
    many, always the same.

    >>> sample_indices(np.array([True, False, True]), 5).tolist()
    [0, 2]
    >>> len(sample_indices(np.ones(100, bool), 7))
    7
    """
    places = np.flatnonzero(chosen)
    if len(places) > limit:
        places = np.sort(np.random.default_rng(0).choice(places, limit, replace=False))
    return places
