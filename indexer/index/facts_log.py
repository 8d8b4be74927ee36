"""Log of product facts written since a version, as filters see them."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np

from indexer.catalog.filters import Filter, FilterableProduct
from indexer.index.filter_columns import FilterColumns

# Entries that get columns of their own as soon as there are so many.
_SEGMENT = 512


class FactsLog:
    """Log of every product written since a version; the last entry of a product counts.

    It only grows: a reader that knows how many entries its state has looks at those and at no later
    one. One writer.
    """

    def __init__(self, entries: Iterable[tuple[int, FilterableProduct | None]] = ()) -> None:
        self._entries: list[tuple[int, FilterableProduct | None]] = list(entries)
        self._segments: dict[int, tuple[FilterColumns, np.ndarray]] = {}
        self._building = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def extend(self, entries: Iterable[tuple[int, FilterableProduct | None]]) -> None:
        """Add entries; None: the product is deleted, or nothing is known of it."""
        self._entries.extend(entries)

    def latest(self, stop: int) -> dict[int, FilterableProduct | None]:
        """Map each pid to its last entry among the first ``stop``."""
        return dict(self._entries[:stop])

    def between(self, start: int, stop: int) -> dict[int, FilterableProduct | None]:
        """Map each pid written in ``start:stop`` to its last entry there."""
        return dict(self._entries[start:stop])

    def evaluate_filter(
        self, where: Filter, start: int, stop: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Evaluate ``where`` on the last entry of each product in ``start:stop``.

        Returns (pids int64 [n] ascending, bool [n]: whether it passes).
        """
        pids = [np.empty(0, np.int64)]
        passes = [np.empty(0, bool)]
        while start < stop:
            number = start // _SEGMENT
            end = min(start - start % _SEGMENT + _SEGMENT, stop)
            if start % _SEGMENT == 0 and end == start + _SEGMENT:
                columns, known = self._segment(number)
                pids.append(columns.pids)
                passes.append(columns.select(where) & known)
            else:
                part = dict(self._entries[start:end])
                pids.append(np.fromiter(part, np.int64, len(part)))
                passes.append(
                    np.array(
                        [facts is not None and where.holds(facts) for facts in part.values()], bool
                    )
                )
            start = end
        every = np.concatenate(pids)[::-1]
        verdicts = np.concatenate(passes)[::-1]
        # The first from behind.
        found, last = np.unique(every, return_index=True)
        return found, verdicts[last]

    def _segment(self, number: int) -> tuple[FilterColumns, np.ndarray]:
        """Build the columns of a full segment on first use.

        Returns them, and which of the products have facts (bool [n]).
        """
        with self._building:
            if number not in self._segments:
                part = dict(
                    sorted(dict(self._entries[number * _SEGMENT : (number + 1) * _SEGMENT]).items())
                )
                pids = np.fromiter(part, np.int64, len(part))
                known = np.array([facts is not None for facts in part.values()], bool)
                self._segments[number] = (
                    FilterColumns.over(pids, [f for f in part.values() if f is not None]),
                    known,
                )
            return self._segments[number]
