"""Product as a feed describes it, before its photos are read and its attributes are typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from indexer.catalog.product_fields import ProductFields
from indexer.core.category_path import CategoryPath


@dataclass(frozen=True)
class PhotoReference:
    """A photo as a feed names it: an http(s) address, or a path as written."""

    where: str
    # Address or path, trimmed.
    source: str
    # What to ask for instead, where a CDN makes smaller ones; None: the source.
    request: str | None = None

    @property
    def is_url(self) -> bool:
        return self.source.lower().startswith(("http://", "https://"))


@dataclass(frozen=True)
class FeedProduct:
    """One product with all its photos, in the order in which the shop shows them.

    ``attributes`` hold present values only: text as written where the profile gives no type, else
    a value of that type (``ReadProducts.types``). A variant is a product of its own, with
    ``fields.parent``.
    """

    # The first line that speaks of it.
    where: str
    product_id: str
    title: str | None = None
    category: CategoryPath | None = None
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    fields: ProductFields = field(default_factory=ProductFields)
    photos: tuple[PhotoReference, ...] = ()
    # One of dataset.SPLITS.
    split: str | None = None
    # The feed has no photos: only what it says is written, the rest stays as it is.
    partial: bool = False
