"""Samples of a dry run: products as they will be stored."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

from indexer.catalog.product_fields import present_fields
from indexer.core.category_path import format_path
from indexer.feeds.attribute_typing import AttributeTyping
from indexer.feeds.feed_pass import ReadGroup
from indexer.feeds.product import FeedProduct
from indexer.feeds.spool import Spool

_SAMPLES = 3


def show_samples(
    spool: Spool[ReadGroup], sizes: array[int], typing: AttributeTyping
) -> list[dict[str, Any]]:
    """Three products over the whole feed as JSON: the first, one of the middle, the last."""
    ends = np.cumsum(np.frombuffer(sizes, np.uint64).astype(np.int64))
    total = int(ends[-1]) if len(ends) else 0
    wanted = sorted({place * (total - 1) // (_SAMPLES - 1) for place in range(_SAMPLES)})
    found = []
    for number in wanted if total else ():
        at = int(np.searchsorted(ends, number, side="right"))
        before = int(ends[at - 1]) if at else 0
        found.append(_shown(spool[at].products[number - before], typing))
    return found


def _shown(product: FeedProduct, typing: AttributeTyping) -> dict[str, Any]:
    values, _ = typing.fit(product.attributes, product.where)
    return {
        "where": product.where,
        "product_id": product.product_id,
        "title": product.title,
        "category": format_path(product.category) if product.category else None,
        "tags": list(product.tags),
        "attributes": values,
        "fields": present_fields(product.fields),
        "photos": [reference.source for reference in product.photos],
    }
