"""Page fields of a product: what a shop's page shows beside title, category and photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict, get_args

from indexer.core.category_path import CategoryPath

Availability = Literal["in_stock", "out_of_stock", "preorder", "backorder"]
AVAILABILITIES: tuple[str, ...] = get_args(Availability)


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


# What filters, facets and the schema know, and the type that each value has.
FIELD_TYPES: Mapping[str, Literal["string", "number"]] = {
    "url": "string",
    "price": "number",
    "sale_price": "number",
    "currency": "string",
    "availability": "string",
    "brand": "string",
    "gtin": "string",
    "sku": "string",
    "parent": "string",
    "variant": "string",
}
# Attributes: from when and until when a product's sale price holds.
SALE_DATES = ("sale_price_from", "sale_price_until")
# Those that a product shares with none, or only with its variants.
SINGULAR_FIELDS = frozenset({"url", "gtin", "sku", "parent", "variant"})
# All names, those by language and market too.
FIELD_NAMES: tuple[str, ...] = tuple(entry.name for entry in fields(ProductFields))
# Of a product about which its shop says nothing more.
NO_FIELDS = ProductFields()


def present_fields(product_fields: ProductFields) -> dict[str, Any]:
    """Those that have a value, by name, as JSON can hold them."""
    found = {name: getattr(product_fields, name) for name in FIELD_NAMES}
    return {name: value for name, value in found.items() if value not in (None, {})}


def read_fields(stored: Mapping[str, Any] | None) -> ProductFields:
    """``present_fields`` as they were; names that a newer Catalens may have added are passed
    over."""
    if not stored:
        return NO_FIELDS
    known = {name: value for name, value in stored.items() if name in FIELD_NAMES}
    if "categories" in known:
        known["categories"] = {key: tuple(path) for key, path in known["categories"].items()}
    return ProductFields(**known)
