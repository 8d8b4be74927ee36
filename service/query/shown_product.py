"""Product as answers show it: its fields, in a language and for a market, all or the chosen."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict, TypeVar

from pydantic import Field

from indexer.catalog.attributes import datetime_seconds
from indexer.catalog.product_fields import SALE_DATES, Availability, MarketPrice
from indexer.catalog.records import Product
from indexer.core.category_path import CategoryPath, format_path

Localised = TypeVar("Localised")
AttributeValues = dict[str, Any]
# Of the names of fields that a request asks for.
_MOST_CHARACTERS = 16_384


@dataclass(frozen=True, kw_only=True)
class ShownProduct:
    """What a page shows of a product; null where its shop does not say."""

    product_id: str
    title: str | None
    category: str | None
    category_path: list[str] | None
    attributes: AttributeValues
    url: str | None
    image_src: Annotated[
        str | None, Field(description="The shop's own address of the photo that is shown.")
    ]
    price: float | None
    sale_price: float | None
    current_price: Annotated[
        float | None,
        Field(description="What it costs now: the sale price within its dates, else the price."),
    ]
    currency: str | None
    availability: Availability | None
    brand: str | None
    gtin: str | None
    sku: str | None
    parent: Annotated[str | None, Field(description="The same for all variants of one product.")]
    variant: str | None


class ShownValues(TypedDict):
    """The fields of ``ShownProduct`` by name."""

    product_id: str
    title: str | None
    category: str | None
    category_path: list[str] | None
    attributes: AttributeValues
    url: str | None
    image_src: str | None
    price: float | None
    sale_price: float | None
    current_price: float | None
    currency: str | None
    availability: Availability | None
    brand: str | None
    gtin: str | None
    sku: str | None
    parent: str | None
    variant: str | None


@dataclass(frozen=True)
class Presentation:
    """The language of titles and categories and the market of prices; None: as stored first."""

    locale: str | None = None
    market: str | None = None

    def show(
        self, product: Product, content_hash: str | None, *, as_stored: bool = False
    ) -> ShownValues:
        """A product with the photo that is shown of it. What is missing in the language or the
        market is shown as stored first.

        ``as_stored``: the sale price outside its dates too, so that what is read can be put back.
        """
        fields = product.fields
        path: CategoryPath | None = self._in_language(fields.categories) or product.category
        price = self._price(product)
        sale_now = price.get("sale_price") if _holds_now(product.attributes) else None
        return ShownValues(
            product_id=product.product_id,
            title=self.title(product),
            category=format_path(path) if path else None,
            category_path=list(path) if path else None,
            attributes=product.attributes,
            url=fields.url,
            image_src=product.sources.get(content_hash) if content_hash else None,
            price=price.get("price"),
            sale_price=price.get("sale_price") if as_stored else sale_now,
            current_price=price.get("price") if sale_now is None else sale_now,
            currency=price.get("currency", fields.currency),
            availability=fields.availability,
            brand=fields.brand,
            gtin=fields.gtin,
            sku=fields.sku,
            parent=fields.parent,
            variant=fields.variant,
        )

    def title(self, product: Product) -> str | None:
        """In the language that was asked for, or as stored first."""
        return self._in_language(product.fields.titles) or product.title

    def _in_language(self, texts: Mapping[str, Localised]) -> Localised | None:
        """The text in the language that was asked for: de-AT, else de, else any de-..."""
        if self.locale is None or not texts:
            return None
        wanted = _language(self.locale)
        by_language = {_language(name): text for name, text in texts.items()}
        if wanted in by_language:
            return by_language[wanted]
        plain = wanted.split("-")[0]
        near = (text for name, text in by_language.items() if name.split("-")[0] == plain)
        return by_language.get(plain) or next(near, None)

    def _price(self, product: Product) -> MarketPrice:
        """The stored prices of the market, or those stored first where it has no price."""
        fields = product.fields
        if self.market is not None:
            wanted = self.market.upper()
            for name, price in fields.prices.items():
                if name.upper() == wanted and "price" in price:
                    return price
        found: MarketPrice = {}
        if fields.price is not None:
            found["price"] = fields.price
        if fields.sale_price is not None:
            found["sale_price"] = fields.sale_price
        return found


def _holds_now(attributes: Mapping[str, Any]) -> bool:
    """Whether a sale price is neither to come nor over, as far as attributes say."""
    begin, end = (_moment(attributes.get(name)) for name in SALE_DATES)
    now = time.time()
    return (begin is None or begin <= now) and (end is None or now <= end)


def _moment(value: object) -> float | None:
    if not isinstance(value, str):
        return None
    try:
        return datetime_seconds(value)
    except ValueError:
        return None


def _language(name: str) -> str:
    return name.replace("_", "-").lower()


# As stored first.
PLAIN = Presentation()


def split_names(raw: object) -> object:
    """A list of names, each of which may be several with commas between them."""
    given = [raw] if isinstance(raw, str) else raw
    if not isinstance(given, list) or not all(isinstance(name, str) for name in given):
        return raw
    if sum(map(len, given)) > _MOST_CHARACTERS:
        raise ValueError(f"the names have more than {_MOST_CHARACTERS:,} characters together")
    names = (part.strip() for name in given for part in name.split(","))
    return [name for name in names if name]


def known_names(kind: type, names: Iterable[str]) -> list[str]:
    """``names`` if each is a field of the result ``kind``. Raises ``ValueError`` naming those that
    there are."""
    known = [entry.name for entry in dataclasses.fields(kind)]
    for name in names:
        if name not in known:
            raise ValueError(f"no field {name!r}; there are: {', '.join(known)}")
    return list(names)
