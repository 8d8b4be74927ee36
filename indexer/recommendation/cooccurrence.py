"""Association of categories in orders: pairs with a lift above chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

MIN_SUPPORT = 5  # orders that hold both


@dataclass(frozen=True)
class Pair:
    """Two categories of one order, in alphabetical order."""

    one: str
    other: str
    # Orders that hold both.
    together: int
    # P(both) / (P(one) P(other)); above 1: more often than by chance.
    lift: float


def complementary(orders: Iterable[Iterable[str]], *, min_support: int = MIN_SUPPORT) -> list[Pair]:
    """Find the pairs of categories with a lift above 1, the highest lift first.

    At least ``min_support`` orders hold both. ``orders``: the categories of each order's products;
    how often one stands in an order does not count. All orders count for the shares, also those
    with one category.
    """
    total = 0
    single: Counter[str] = Counter()
    both: Counter[tuple[str, str]] = Counter()
    for order in orders:
        held = sorted(set(order))
        total += 1
        single.update(held)
        both.update(combinations(held, 2))
    pairs = [
        Pair(one, other, together, together * total / (single[one] * single[other]))
        for (one, other), together in both.items()
        if together >= min_support
    ]
    return sorted(
        (pair for pair in pairs if pair.lift > 1),
        key=lambda pair: (-pair.lift, pair.one, pair.other),
    )
