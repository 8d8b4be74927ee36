"""Search loop past products that another process deleted or changed a moment ago."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Protocol, TypeVar

from indexer.catalog.filters import Filter
from indexer.catalog.records import Product
from indexer.catalog.store import Catalog


class RankedProducts(Protocol):
    """Products to be shown, best first, each with the photo that was found."""

    @property
    def shown(self) -> Sequence[tuple[int, int]]:
        """(pid, photo id) of each."""


Found = TypeVar("Found", bound=RankedProducts, covariant=True)


class Ranking(Protocol[Found]):
    """A search that can be made again without some products."""

    def rank(self, exclude: AbstractSet[int]) -> Found:
        """What is found without the pids in ``exclude``."""


def rank_living(
    catalog: Catalog,
    ranking: Ranking[Found],
    exclude: AbstractSet[int],
    *,
    where: Filter | None = None,
) -> tuple[Found, dict[int, Product]]:
    """Rank until all that is shown is in the catalog with the photo that was found, and passes
    ``where``; the products by pid.

    The index may not have seen yet what another process wrote: then the ranking is made again
    without these products.
    """
    while True:
        found = ranking.rank(exclude)
        products = catalog.by_pids([pid for pid, _ in found.shown], tags=where is not None)
        gone = {
            pid
            for pid, photo_id in found.shown
            if pid not in products
            or photo_id not in products[pid].photo_ids
            or (where is not None and not where.matches(products[pid]))
        }
        if not gone:
            return found, products
        exclude = exclude | gone
