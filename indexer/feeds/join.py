"""Join of a feed's rows to products by another column than their id: SKU, GTIN, any attribute."""

from __future__ import annotations

import re
from dataclasses import replace

from indexer.catalog.product_fields import SALE_DATES
from indexer.catalog.store import Catalog
from indexer.feeds.column_words import meaning_of
from indexer.feeds.columns import plain, snake_case
from indexer.feeds.notice import Notice
from indexer.feeds.product import FeedProduct
from indexer.feeds.profile import FeedProfile

# Columns of these names hold the id, the SKU, the GTIN.
_MEANINGS = {
    "product_id": ("id", "product id", "item id", "offer id"),
    "sku": ("sku", "item sku", "variant sku", "seller sku", "article", "article number"),
    "gtin": ("gtin", "ean", "upc", "isbn", "barcode", "variant barcode"),
}
# Ids that Shopify gives to Google: country, product, variant.
_SHOPIFY = re.compile(r"shopify_[A-Za-z]{2}_(\d+)_(\d+)", re.ASCII)
_VARIANT_NAMES = ("variant_id", "product_id")
# What comes along with the names that a feed owns.
_BESIDE = frozenset({"currency", *SALE_DATES})
# Products that a notice names.
_SHOWN = 3


def joined_by(column: str) -> str:
    """The field or attribute that a feed's column of this name holds.

    >>> joined_by("Variant SKU"), joined_by("EAN"), joined_by("Supplier No")
    ('sku', 'gtin', 'supplier_no')
    """
    name = plain(column)
    for meaning, names in _MEANINGS.items():
        if name in names or name.replace("_", " ") in names:
            return meaning
    return snake_case(column)


def code_field(column: str) -> str | None:
    """``product_id``, ``sku`` or ``gtin``, where a column's name says just that in a language of
    shops.

    >>> code_field("Artikelnummer"), code_field("EAN"), code_field("Farbe")
    ('sku', 'gtin', None)
    """
    name = joined_by(column)
    if name in _MEANINGS:
        return name
    meaning = meaning_of(column)
    if meaning is None or not meaning[1]:
        return None
    return {"id": "product_id", "sku": "sku", "gtin": "gtin"}.get(meaning[0])


def joining_profile(profile: FeedProfile, column: str) -> FeedProfile:
    """``profile`` with rows told apart by ``column`` alone, each a change of one product."""
    return profile.model_copy(
        update={
            "id": (column,),
            "rows": "products",
            "parent": (),
            "family": None,
            "marks": (),
            "verbatim": False,
            "skip": (),
        }
    )


class FeedJoin:
    """Which product each value of a column belongs to, as the catalog is now."""

    def __init__(self, catalog: Catalog | None, column: str) -> None:
        self.column = column
        self.name = joined_by(column)
        self._ids: dict[str, list[str]] = {}
        self._variants: dict[str, list[str]] = {}
        if catalog is None:
            return
        self._ids = _values(catalog, self.name)
        field = None if self._ids else code_field(column)
        if field is not None:
            self.name = field
            self._ids = _values(catalog, field)
        for name in _VARIANT_NAMES:
            for value, ids in _values(catalog, name).items():
                self._variants.setdefault(value, []).extend(ids)

    def join(self, product: FeedProduct) -> FeedProduct | Notice:
        """``product`` under the id that the catalog has it by, or why there is no such one."""
        value = product.product_id
        found = self._ids.get(value)
        if found is None and (match := _SHOPIFY.fullmatch(value)):
            found = self._variants.get(match.group(2))
        if not found:
            reason = f"no product has the {self.name} {value!r}; the row is left out"
            return Notice(product.where, reason, "joins-to-none", self.column, value)
        if len(found) > 1:
            shown = ", ".join(map(repr, found[:_SHOWN]))
            reason = (
                f"{len(found)} products have the {self.name} {value!r} ({shown}); the row is left "
                "out, since it cannot be told which is meant"
            )
            return Notice(product.where, reason, "joins-to-several", self.column, value)
        return replace(product, product_id=found[0], partial=True)


def _values(catalog: Catalog, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for product_id, value in catalog.values_of(name):
        found.setdefault(value, []).append(product_id)
    return found


def written_names(only: frozenset[str]) -> frozenset[str]:
    """The names that a feed may write that asked for ``only``: a price brings its currency along, a
    sale price its dates, ``stock`` its availability."""
    found = set(only)
    if {"price", "sale_price"} & only:
        found.add("currency")
    if "sale_price" in only:
        found.update(SALE_DATES)
    if "stock" in only:
        found.add("availability")
    return frozenset(found)


def nothing_owned(
    table: str, meanings: dict[str, list[str]], only: frozenset[str]
) -> Notice | None:
    """Notice of a feed that has a column for none of the names that it may write."""
    if (_said(meanings) & only) - _BESIDE:
        return None
    owned = ", ".join(sorted(only - _BESIDE))
    columns = ", ".join(map(repr, list(meanings)[:20]))
    reason = (
        f"no column holds what the feed owns ({owned}), so it changes nothing; columns found: "
        f"{columns}. Say which is which in a profile ('catalens profile suggest' drafts one)"
    )
    return Notice(f"{table}:1", reason, "owns-nothing")


def cleared_names(meanings: dict[str, list[str]], only: frozenset[str]) -> frozenset[str]:
    """Of the names that a feed may write, those that it has a column for: blank there means that
    the product has none. A currency is never blank of its own; dates are those of the sale price
    that the feed says, also where it has no column for them."""
    said = _said(meanings)
    if "sale_price" in said:
        said.update(SALE_DATES)
    return frozenset((said & only) - {"currency", "titles", "categories", "prices"})


def _said(meanings: dict[str, list[str]]) -> set[str]:
    """Fields and attributes that the feed has a column for."""
    return {
        meaning.removeprefix("attribute ").replace(" ", "_")
        for found in meanings.values()
        for meaning in found
    }
