"""Order of the photos of an epoch, with photos of one kind in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from indexer.core.native import torch
from indexer.feeds.dataset import DatasetRow
from indexer.training.targets import Target


def photo_kinds(
    rows: Sequence[DatasetRow], targets: Sequence[Target], pool: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Number what the photos ``pool`` [n] are of: kind and product, int [n] each.

    The kind is the category, where there is one, else the first attribute; -1 for none.
    """
    number: dict[str, int] = {}
    product = [number.setdefault(rows[place].product_id, len(number)) for place in pool.tolist()]
    kind = targets[0].labels[pool] if targets else np.full(len(pool), -1)
    return kind, np.array(product, np.int64)


def epoch_order(kinds: tuple[np.ndarray, np.ndarray], alike: int, generator: Any) -> np.ndarray:
    """Draw an order of n photos, each once, where ``alike`` of one kind stand together: int [n].

    Of one kind, photos of one product first (batches of P kinds with K photos, Hermans et al.
    2017). What remains of a kind stands alone, as photos of no kind do; with ``alike`` 1 all do.
    """
    kind, product = kinds
    drawn = torch.randperm(len(kind), generator=generator).numpy()
    if alike <= 1:
        return np.asarray(drawn)
    # products in the order of their first photo drawn, so that their photos are neighbours
    first = np.full(product.max(initial=-1) + 1, len(drawn))
    np.minimum.at(first, product[drawn], np.arange(len(drawn)))
    drawn = drawn[np.lexsort((first[product[drawn]], kind[drawn]))]
    place = _place_within(kind[drawn])
    # photos of no kind are not alike
    bundle = np.where(kind[drawn] < 0, place, place // alike)
    starts = np.r_[True, (np.diff(kind[drawn]) != 0) | (np.diff(bundle) != 0)][: len(drawn)]
    number = np.cumsum(starts) - 1
    rank = torch.randperm(int(number.max(initial=-1)) + 1, generator=generator).numpy()
    return np.asarray(drawn[np.argsort(rank[number], kind="stable")])


def _place_within(values: np.ndarray) -> np.ndarray:
    """Return each one's place among its equals, where equal ones stand together: int [n]."""
    starts = np.flatnonzero(np.r_[True, np.diff(values) != 0][: len(values)])
    return np.arange(len(values)) - np.repeat(starts, np.diff(np.r_[starts, len(values)]))
