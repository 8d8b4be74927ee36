"""Shopper sessions for ``bench recommend``, drawn from products by a fixed recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RECIPE = (
    "each shopper has 1 to 3 interests (as many shoppers with each number), 5 to 20 views, of "
    "which 85% are drawn from "
    "one of the interests and 15% from the whole catalog; an interest is the products that share "
    "gender, usage and, by "
    "a coin, article or colour with a product drawn at random, if there are at least 25; within it "
    "popularity is "
    "Zipf(0.8) in one order of all products; nobody views a product twice; the last view is held "
    "out"
)
SMALLEST = 25  # products of an interest: no shopper has seen all of it after 20 views
_ZIPF = 0.8
_OF_INTEREST = 0.85
_FEWEST, _MOST = 5, 20  # views


@dataclass(frozen=True)
class ShopperSession:
    """One shopper: places of the products viewed, oldest first, and how many interests they come
    from."""

    views: tuple[int, ...]
    interests: int

    @property
    def history(self) -> tuple[int, ...]:
        return self.views[:-1]

    @property
    def held_out(self) -> int:
        return self.views[-1]


def sessions(
    products: Sequence[Mapping[str, str]], *, shoppers: int = 5000, seed: int = 0
) -> list[ShopperSession]:
    """Sessions over ``products``, each with the texts ``gender``, ``usage``, ``article`` and
    ``colour``.

    The same for the same products in the same order, ``shoppers`` and ``seed``.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(products))  # places, the most popular first
    groups: dict[tuple[str, ...], list[int]] = {}
    for place in order.tolist():
        for key in _keys(products[place]):
            groups.setdefault(key, []).append(place)
    pools = {key: np.array(places) for key, places in groups.items() if len(places) >= SMALLEST}
    if not pools:
        raise ValueError(f"no {SMALLEST} products share gender, usage and article or colour")
    shares = {key: np.arange(1, len(pool) + 1) ** -_ZIPF for key, pool in pools.items()}

    def interest() -> tuple[str, ...]:
        while True:
            key = _keys(products[int(rng.integers(len(products)))])[int(rng.integers(2))]
            if key in pools:
                return key

    found = []
    for number in range(shoppers):
        count = 1 + number % 3
        mine: list[tuple[str, ...]] = []
        while len(mine) < min(count, len(pools)):
            key = interest()
            if key not in mine:
                mine.append(key)
        views: list[int] = []
        for _ in range(int(rng.integers(_FEWEST, _MOST + 1))):
            key = mine[int(rng.integers(len(mine)))]
            pool, share = pools[key], shares[key]
            if rng.random() >= _OF_INTEREST:
                pool, share = order, np.ones(len(order))
            new = ~np.isin(pool, views)
            views.append(int(rng.choice(pool[new], p=share[new] / share[new].sum())))
        found.append(ShopperSession(tuple(views), count))
    return found


def _keys(product: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The two groups that a product is in: with its article, and with its colour."""
    both = (product["gender"], product["usage"])
    return (*both, "article", product["article"]), (*both, "colour", product["colour"])
