"""Portions of a long change: transactions in a row, between which others write."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.catalog.store import Catalog
    from indexer.catalog.transaction import Transaction


@contextmanager
def writing_portion(catalog: Catalog, dry_run: bool = False) -> Iterator[Transaction]:
    """``Catalog.writing``, and a pause after it."""
    with catalog.writing(dry_run) as session:
        began = time.monotonic()
        yield session
    pause_since(began)


def pause_since(began: float) -> None:
    """Pause for as long as a transaction took that began at this time (``time.monotonic``): who
    waits for the file looks only now and then, and would never find it free."""
    time.sleep(time.monotonic() - began)
