"""Local outliers: how near the nearest products are, less how near those are to their own nearest.

After the local outlier factor (Breunig et al. 2000), with cosines for distances and a difference
for a ratio. A photo among products that lie far apart is told from one that lies as far from
products that lie close together.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from indexer.core.vectors import evenly_spaced, to_float32, unit_rows

NEIGHBOURS = 10
# Products that stand for a catalog at most, and those below which it is too thin to tell.
MOST, FEWEST = 8192, 300
_CHUNK = 512


@dataclass(frozen=True)
class Neighbourhood:
    """Products, one photo each, and how near each is to its own nearest; R of them."""

    pids: np.ndarray  # int64 [R]
    block: np.ndarray  # float32 [R, G], unit rows
    own: np.ndarray  # float32 [R], mean cosine to the nearest others

    def __len__(self) -> int:
        return len(self.pids)

    def chosen(self, which: np.ndarray) -> Neighbourhood:
        """Those of ``which`` (bool [R], or places)."""
        return Neighbourhood(self.pids[which], self.block[which], self.own[which])

    def joined(self, others: Neighbourhood) -> Neighbourhood:
        """These and ``others``."""
        return Neighbourhood(
            np.concatenate([self.pids, others.pids]),
            np.concatenate([self.block, others.block]),
            np.concatenate([self.own, others.own]),
        )


@dataclass(frozen=True)
class CatalogNeighbourhood:
    """The neighbourhood that stands for a catalog, and where its photos lie in the row table.

    Each photo stands in it once, whatever number of products has it.
    """

    rows: np.ndarray  # int64 [R], ascending
    photos: np.ndarray  # int64 [R]
    products: Neighbourhood
    # float32 [R, k + 1], cosines of each to its nearest others, falling.
    nearest: np.ndarray

    @classmethod
    def build(
        cls, table: np.ndarray, vectors: np.ndarray, columns: tuple[int, int]
    ) -> CatalogNeighbourhood | None:
        """Take at most ``MOST`` products evenly, by their first photos; None below ``FEWEST``.

        ``table``: int64 [N, 2], pid and photo_id, by pid; ``vectors`` [N, D]. Of products with one
        first photo the first stands for all: copies of a photo would have each other for nearest.
        """
        first = np.unique(table[:, 0], return_index=True)[1]
        first = first[np.sort(np.unique(table[first, 1], return_index=True)[1])]
        if len(first) < FEWEST:
            return None
        rows = first[evenly_spaced(len(first), MOST)]
        pids, photos = table[rows, 0], table[rows, 1]
        block = unit_rows(to_float32(np.asarray(vectors[rows, slice(*columns)])))
        nearest = nearest_cosines(block, block, photos, NEIGHBOURS + 1)
        own = nearest[:, :-1].mean(1)
        return cls(rows, photos, Neighbourhood(pids, block, own), nearest)

    @property
    def column(self) -> np.ndarray:
        """What a version keeps: float64 [R, 2], row numbers and ``own``."""
        return np.stack([self.rows, self.products.own], 1).astype(np.float64)

    def judge_own(self, photos: np.ndarray, block: np.ndarray) -> np.ndarray:
        """Compute ``local_closeness`` [Q] of photos of the catalog as if each were not in it.

        ``photos``: int64 [Q], photo_ids; ``block``: unit rows [Q, G]. Neither are they their own
        neighbours, nor those of others.
        """
        found = np.zeros(len(block))
        last, spare = self.nearest[:, -2], self.nearest[:, -1]
        for at in range(0, len(block), _CHUNK):
            cosines = block[at : at + _CHUNK] @ self.products.block.T
            is_self = photos[at : at + _CHUNK, None] == self.photos
            places = _best(np.where(is_self, -2.0, cosines), NEIGHBOURS)
            near = np.take_along_axis(cosines, places, 1)
            # A neighbour that has it among its own nearest has the next one instead.
            listed = (near >= last[places]) & is_self.any(1)[:, None]
            own = self.products.own[places]
            found[at : at + _CHUNK] = (
                near - np.where(listed, own + (spare[places] - near) / NEIGHBOURS, own)
            ).mean(1)
        return found


def local_closeness(
    asked: np.ndarray, known: Neighbourhood, without: AbstractSet[int] = frozenset()
) -> np.ndarray:
    """Compute how much nearer unit rows [Q, G] are to their nearest than those to theirs: [Q].

    Products ``without`` are not looked at. 0 where nothing is left to compare with.
    """
    if without:
        known = known.chosen(~np.isin(known.pids, np.fromiter(without, np.int64, len(without))))
    k = min(NEIGHBOURS, len(known))
    found = np.zeros(len(asked))
    for at in range(0, len(asked) if k else 0, _CHUNK):
        cosines = asked[at : at + _CHUNK] @ known.block.T
        places = _best(cosines, k)
        near = np.take_along_axis(cosines, places, 1)
        found[at : at + _CHUNK] = (near - known.own[places]).mean(1)
    return found


def with_own(pids: np.ndarray, block: np.ndarray, others: Neighbourhood) -> Neighbourhood:
    """Measure how near new products (``pids`` [n], unit rows [n, G]) are to all, ``others`` too.

    What was measured of the others stays as it is.
    """
    known, keys = np.concatenate([others.block, block]), np.concatenate([others.pids, pids])
    k = min(NEIGHBOURS, len(keys) - 1)
    if k < 1:
        return Neighbourhood(pids, block, np.zeros(len(pids), np.float32))
    return Neighbourhood(pids, block, nearest_cosines(block, known, keys, k, asked=pids).mean(1))


def nearest_cosines(
    rows: np.ndarray,
    known: np.ndarray,
    keys: np.ndarray,
    k: int,
    *,
    asked: np.ndarray | None = None,
) -> np.ndarray:
    """Compute the ``k`` highest cosines [Q, k] of unit rows [Q, G] to ``known`` [R, G], falling.

    ``keys`` int64 [R]: rows of an equal key are not compared; ``asked`` [Q] are those of ``rows``,
    which are ``known`` itself without them.
    """
    own = keys if asked is None else asked
    found = np.empty((len(rows), k), np.float32)
    for at in range(0, len(rows), _CHUNK):
        cosines = rows[at : at + _CHUNK] @ known.T
        cosines[own[at : at + _CHUNK, None] == keys] = -1.0
        best = np.partition(cosines, -k, axis=1)[:, -k:]
        found[at : at + _CHUNK] = -np.sort(-best, axis=1)
    return found


def _best(cosines: np.ndarray, k: int) -> np.ndarray:
    """Places [Q, k] of the highest of each row."""
    return np.argpartition(-cosines, k - 1, axis=1)[:, :k]
