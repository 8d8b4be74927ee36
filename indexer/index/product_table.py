"""Product table: which rows of a published version belong to which product."""

from __future__ import annotations

import numpy as np


class ProductTable:
    """Rows of a version by product. Products are numbered 0..P-1 in order of pid: their places."""

    def __init__(self, rows: np.ndarray) -> None:
        # Sorted: publish checks it.
        self.pids = np.asarray(rows[:, 0])
        self.photos = np.asarray(rows[:, 1])
        # Of each product its pid and its first row, contiguous: searching a column of rows would
        # copy it.
        first = np.flatnonzero(np.diff(self.pids, prepend=np.int64(-1)))
        self.products = np.ascontiguousarray(self.pids[first])  # int64 [P], ascending
        self.starts = np.append(first, len(self.pids)).astype(np.int64)
        # Rows of each product.
        self.counts = np.diff(self.starts)
        self.photos_per_product = len(self.pids) / max(len(first), 1)

    def __len__(self) -> int:
        """Rows of the version, one for each photo of each product."""
        return len(self.pids)

    def place(self, pid: int) -> int | None:
        """Find the place of a product."""
        place = int(np.searchsorted(self.products, pid))
        return place if place < len(self.products) and self.products[place] == pid else None

    def places(self, pids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the places of products, and which are there (bool [n])."""
        places = np.searchsorted(self.products, pids)
        inside = places < len(self.products)
        inside[inside] = self.products[places[inside]] == pids[inside]
        return places, inside

    def rows_of(self, places: np.ndarray) -> np.ndarray:
        """List the rows of the products at these places, in their order."""
        counts = self.counts[places]
        return np.repeat(self.starts[places] - np.cumsum(counts) + counts, counts) + np.arange(
            counts.sum()
        )

    def rows_at(self, place: int) -> slice:
        """Return the rows of one product."""
        return slice(int(self.starts[place]), int(self.starts[place + 1]))

    def by_row(self, mask: np.ndarray) -> np.ndarray:
        """Expand a mask of products [P] to their rows [N]."""
        return mask if len(mask) == len(self.pids) else np.repeat(mask, self.counts)
