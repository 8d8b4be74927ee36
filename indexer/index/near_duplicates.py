"""Groups of near-duplicates among ranked products."""

from __future__ import annotations

import numpy as np

# Cosine from which two products show the same picture: together they have one vote.
COPY = 0.995


def group_near_duplicates(copies: np.ndarray) -> np.ndarray:
    """Near-duplicates bool [P, n, n] among n ranked products -> int [P, n], the first product of
    each one's group."""
    count = copies.shape[1]
    first = np.tile(np.arange(count), (len(copies), 1))
    # As most often.
    if np.count_nonzero(copies) == np.count_nonzero(np.diagonal(copies, axis1=1, axis2=2)):
        return first
    for place in range(1, count):
        earlier = copies[:, :place, place] & (first[:, :place] == np.arange(place))
        found = earlier.argmax(1)
        first[:, place] = np.where(earlier.any(1), found, place)
    return first
