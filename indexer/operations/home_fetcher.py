"""Fetcher of photos for one home: its state of URLs, and which photos it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.fetch.fetcher import PhotoFetcher
from indexer.fetch.settings import FetchSettings
from indexer.fetch.state import FetchState


@contextmanager
def home_fetcher(home: Home, settings: FetchSettings | None = None) -> Iterator[PhotoFetcher]:
    """A fetcher that asks again for photos which the home no longer has.

    Held are photos that the catalog has, and copies whose products were not committed before a
    kill.
    """
    photos = PhotoStore(home)
    with open_catalog(home) as catalog, FetchState(home.fetch_file) as state:

        def holds(content_hash: str) -> bool:
            row = catalog.photo(content_hash)
            return (row is not None and row.storage != "copy") or photos.has_copy(content_hash)

        with PhotoFetcher(state, settings, holds=holds) as fetcher:
            yield fetcher
