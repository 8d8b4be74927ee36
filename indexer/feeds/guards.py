"""Guards of an import: what makes a whole feed suspicious, held or said before it is written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from indexer.feeds.notice import Notice
from indexer.feeds.product import FeedProduct
from indexer.feeds.row_digests import LastRun

# A feed is held that has at most this share of its last run's products, or photos a product.
_SHRUNK = 0.8
_PHOTOS_LOST = 0.5
# Feeds smaller than this say nothing by one product less.
_FEWEST = 5
_NEARLY_ALL = 0.95
_SEPARATORS = ("/", ">", "|")


@dataclass
class FeedTotals:
    """Counts over the products of one feed, as they are read."""

    products: int = 0
    photos: int = 0
    categories: int = 0
    unsplit: Counter[str] = field(default_factory=Counter)
    tags: int = 0
    joined_tags: int = 0
    currencies: Counter[str] = field(default_factory=Counter)
    _first: dict[str, FeedProduct] = field(default_factory=dict)

    def add(self, product: FeedProduct) -> None:
        """Count one product."""
        self.products += 1
        self.photos += len(product.photos)
        if product.category is not None:
            self.categories += 1
            if len(product.category) == 1:
                for separator in _SEPARATORS:
                    if separator in product.category[0]:
                        self.unsplit[separator] += 1
                        self._first.setdefault("category", product)
        if product.tags:
            self.tags += 1
            if any("," in tag for tag in product.tags):
                self.joined_tags += 1
                self._first.setdefault("tags", product)
        if product.fields.currency:
            self.currencies[product.fields.currency] += 1

    def warnings(self, name: str) -> list[Notice]:
        """What looks wrong in the feed called ``name`` as a whole."""
        found = []
        for separator, count in self.unsplit.most_common(1):
            if count > _NEARLY_ALL * self.categories:
                first = self._first["category"]
                text = (first.category or ("",))[0]
                found.append(
                    Notice(
                        first.where,
                        f"{count} of {self.categories} categories hold {separator!r} and none is "
                        f"parted there, as {text!r}: each is taken for one category; levels are "
                        "parted by ' > ', or by what a profile names",
                        "category-separator",
                        "category",
                        text,
                    )
                )
        if self.joined_tags > 0.5 * self.tags:
            first = self._first["tags"]
            text = next(tag for tag in first.tags if "," in tag)
            found.append(
                Notice(
                    first.where,
                    f"tags of {self.joined_tags} of {self.tags} products hold commas, as {text!r}: "
                    "each is taken for one tag; tags are parted by '|', or by what a profile names",
                    "tag-separator",
                    "tags",
                    text,
                )
            )
        if len(self.currencies) > 1:
            shares = ", ".join(f"{code} {count}" for code, count in self.currencies.most_common())
            found.append(
                Notice(
                    name,
                    f"prices have several currencies ({shares}): filters and sorting by price "
                    "compare the amounts as they are",
                    "mixed-currencies",
                    "currency",
                )
            )
        return found


def suspicion(last: LastRun | None, products: int, photos: int | None) -> str | None:
    """Why a feed with so many products and photos should not be written over its ``last`` run, in
    words; None where nothing speaks against it. ``photos``: None where it need not name any."""
    if last is None or last.usable < _FEWEST:
        return None
    if products <= _SHRUNK * last.usable:
        return (
            f"the feed has {products} products and had {last.usable} in its last run, "
            f"{1 - products / last.usable:.0%} less"
        )
    if photos is None or not last.photos:
        return None
    if photos / products <= _PHOTOS_LOST * last.photos / last.products:
        return (
            f"the feed names {photos} photos of {products} products and in its last run named "
            f"{last.photos} of {last.products}, less than half as many for each"
        )
    return None
