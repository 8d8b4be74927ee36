"""Page fields of a product: what a shop's page shows beside title, category and photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from indexer.core.category_path import CategoryPath

Availability = Literal["in_stock", "out_of_stock", "preorder", "backorder"]


class MarketPrice(TypedDict, total=False):
    """Prices of one market."""

    price: float
    sale_price: float
    currency: str


@dataclass(frozen=True)
class ProductFields:
    """What a product page needs; None where the shop does not say.

    ``price`` and ``sale_price`` are amounts in ``currency`` (ISO 4217). ``gtin`` and ``sku`` are
    text as written. ``parent`` names the product that this one is a variant of, and is the same for
    all its variants; ``variant`` says which one this is ("Red / M"). ``titles``, ``categories`` and
    ``prices`` hold those of further languages and markets ("de", "DE").
    """

    url: str | None = None
    price: float | None = None
    sale_price: float | None = None
    currency: str | None = None
    availability: Availability | None = None
    brand: str | None = None
    gtin: str | None = None
    sku: str | None = None
    parent: str | None = None
    variant: str | None = None
    titles: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, CategoryPath] = field(default_factory=dict)
    prices: Mapping[str, MarketPrice] = field(default_factory=dict)
