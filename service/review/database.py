"""Database of reviews, opened at its first use."""

from __future__ import annotations

import threading

from indexer.catalog.store import Catalog
from indexer.core.home import Home
from indexer.reviews.store import Reviews, open_reviews


class ReviewDatabase:
    """The home's reviews and feedback; safe to call from many threads."""

    def __init__(self, home: Home, catalog: Catalog) -> None:
        self._home = home
        self._catalog = catalog
        self._opened: Reviews | None = None
        self._opening = threading.Lock()

    def close(self) -> None:
        """Close the file, if it was opened."""
        if self._opened is not None:
            self._opened.close()

    @property
    def exists(self) -> bool:
        """Whether there is such a file; nothing is opened or made for it."""
        return self._opened is not None or self._home.reviews_file.exists()

    @property
    def reviews(self) -> Reviews:
        """The open database, made where there is none."""
        with self._opening:
            if self._opened is None:
                self._opened = open_reviews(self._home, self._catalog)
                database, truth = self._opened.database, self._catalog.database
                database.is_served = True
                # Opened later, on a disk that can be written by now: all or nothing is.
                database.read_only = database.read_only or truth.read_only
            return self._opened
