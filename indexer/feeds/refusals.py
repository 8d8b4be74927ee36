"""Refusals: stored products of which the feed says that no shopper may see them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from indexer.catalog.store import Catalog
from indexer.feeds.notice import Notice
from indexer.feeds.row_digests import hash_texts


def stored_refusals(
    catalog: Catalog, refused: Iterable[str], mentioned: np.ndarray, *, name: str, sync: bool
) -> Notice | None:
    """What becomes of the products with ids ``refused`` that the catalog has; None where it has
    none.

    ``mentioned``: hashes (uint64) of ids that the feed has a product of, too; ``sync``: what the
    feed lacks is deleted; ``name``: the feed's.
    """
    ids = sorted(refused)
    named = np.isin(hash_texts(ids), mentioned)
    asked = [found for found, other in zip(ids, named, strict=True) if not other]
    stored = list(catalog.pids(asked))
    if not stored:
        return None
    first = repr(stored[0])
    if len(stored) == 1:
        does = "is deleted" if sync else "stays in the catalog (--sync deletes it)"
        reason = f"product {first} is not for sale any more, and {does}"
    else:
        do = "are deleted" if sync else "stay in the catalog (--sync deletes them)"
        reason = f"{len(stored)} products are not for sale any more, and {do}; the first is {first}"
    code = "deleted-not-for-sale" if sync else "stored-not-for-sale"
    return Notice(name, reason, code, value=stored[0])
