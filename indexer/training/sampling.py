"""Enough of many photos: what is measured pair by pair takes a random part of a large catalog."""

from __future__ import annotations

import numpy as np


def sample_indices(chosen: np.ndarray, most: int) -> np.ndarray:
    """Places of the entries ``chosen`` (bool [N]), ascending; of more than ``most`` a draw of so
    many, always the same.

    >>> drawn(np.array([True, False, True]), 5).tolist(), len(drawn(np.ones(100, bool), 7))
    ([0, 2], 7)
    """
    places = np.flatnonzero(chosen)
    if len(places) > most:
        places = np.sort(np.random.default_rng(0).choice(places, most, replace=False))
    return places
