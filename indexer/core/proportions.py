"""Interval of a proportion."""

from __future__ import annotations

from scipy.special import betaincinv


def clopper_pearson(hits: float, size: float) -> list[float]:
    """Compute the exact 95% interval of a proportion (Clopper and Pearson 1934).

    >>> [round(bound, 3) for bound in clopper_pearson(0, 4)]
    [0.0, 0.602]
    """
    low = betaincinv(hits, size - hits + 1, 0.025) if hits > 1e-9 else 0.0
    high = betaincinv(hits + 1, size - hits, 0.975) if size - hits > 1e-9 else 1.0
    return [float(low), float(high)]
