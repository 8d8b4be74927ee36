"""Feedback on answers."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from indexer.core.category_path import CategoryPath

_REMEMBERED = 4096  # answers that feedback may name
_MOST_NAMES = 4_096_000  # tags and products in them, which batches of long searches fill earlier


@dataclass(frozen=True)
class SuggestionRecord:
    """What feedback on an answer can be about."""

    tags: tuple[str, ...]
    products: tuple[str, ...]
    model_version: str | None
    index_version: str | None

    @property
    def names(self) -> int:
        return len(self.tags) + len(self.products)


@dataclass(frozen=True)
class Feedback:
    """Feedback on one answer. ``category``: the path a person settled on. ``product_id``: what the
    listing became."""

    request_id: str
    accepted: Sequence[str] = ()
    rejected: Sequence[str] = ()
    added: Sequence[str] = ()
    clicked: Sequence[str] = ()
    category: CategoryPath | None = None
    product_id: str | None = None


def _suggests(part: Mapping[str, Any], tags: dict[str, None], products: dict[str, None]) -> bool:
    """Whether an answer, or an object's or a photo's part of one, is one that suggests; what it
    does goes into both."""
    if "sequence" in part:  # stored or written
        return False
    found = "categories" in part or "tags" in part
    for entry in part.get("tags") or ():
        tags[sys.intern(entry["tag"])] = None
    for entry in part.get("results") or ():
        if "score" in entry:
            products[sys.intern(entry["product_id"])] = None
            found = True
        else:  # of a batch
            found = _suggests(entry, tags, products) or found
    for entry in part.get("objects") or ():
        _suggests(entry, tags, products)
        found = True
    return found


def _share(counts: Counter[str], right: str, wrong: str) -> dict[str, Any]:
    total = counts[right] + counts[wrong]
    return {
        right: counts[right],
        wrong: counts[wrong],
        "precision": counts[right] / total if total else None,
    }
