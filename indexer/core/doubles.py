"""Numbers as doubles, whatever their size."""

from __future__ import annotations

import math
from decimal import Decimal


def as_double(value: int | float | Decimal) -> float:
    """``value`` as a float; infinity where it is a whole number beyond all of them.

    >>> as_double(3), as_double(-(10**400))
    (3.0, -inf)
    """
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
