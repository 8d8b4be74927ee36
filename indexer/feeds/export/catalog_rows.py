"""Rows of a feed from the catalog itself, in the forms of Catalens and of Google Merchant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from indexer.catalog.attributes import COLOUR_COLUMNS
from indexer.catalog.product_fields import FIELD_TYPES, ProductFields
from indexer.catalog.records import PhotoRow, Product, photo_file
from indexer.catalog.store import Catalog
from indexer.core.category_path import format_path
from indexer.core.home import Home
from indexer.feeds.exact_cells import MARK
from indexer.feeds.export.exact_rows import ExactRows, attribute_columns
from indexer.feeds.export.proposal import (
    ALT_LANGUAGES,
    ExportOptions,
    FindProposal,
    Proposal,
    missing_tags,
)

_PORTION = 500
_GOOGLE = (
    "id",
    "title",
    "link",
    "image_link",
    "additional_image_link",
    "availability",
    "price",
    "sale_price",
    "brand",
    "gtin",
    "sku",
    "item_group_id",
    "product_type",
    "tags",
)
# Google takes one photo and up to ten further ones.
_MORE_PHOTOS = 10


class CatalogRows:
    """The rows of all products of a catalog, one a photo (``native``) or one a product (Google).

    Native rows hold everything that a feed can say of a product, so that importing them changes
    nothing, and beside it what is proposed (``proposed_*``, which an import leaves alone). Google's
    rows hold proposals where the shop says nothing itself.
    """

    def __init__(
        self,
        home: Home,
        catalog: Catalog,
        find: FindProposal,
        options: ExportOptions,
        *,
        with_addresses: bool = True,
    ) -> None:
        """``with_addresses`` False: photos by the files that the home has, not by address."""
        self._home = home
        self._catalog = catalog
        self._find = find
        self._options = options
        self._types = catalog.types()
        self._with_addresses = with_addresses
        # Ids of products that an import of the native rows would read otherwise.
        self.lost: list[str] = []

    # --- native

    def native_columns(self) -> list[str]:
        """The columns of ``native_rows``."""
        first, last = self._other_columns()
        return [*first, *attribute_columns(self._types, [*first, *last]).values(), *last]

    def _other_columns(self) -> tuple[list[str], list[str]]:
        """The columns before those of attributes, and behind them."""
        first = ["product_id", "image", "title", "category", "tags", *FIELD_TYPES]
        return [*first, *self._local_columns()], [*self._proposed_columns(), MARK]

    def native_rows(self, *, text: bool = True) -> Iterator[dict[str, Any]]:
        """One row a photo; only the first of a product says more than its id. ``text``: for a
        table, where lists are joined."""
        first, last = self._other_columns()
        others = [*first, *last]
        names = attribute_columns(self._types, others)
        exact = ExactRows([*others, *names.values()], names, self._types, text=text)
        self.lost = exact.lost
        for product, photos in self._products():
            proposal = self._find(product.product_id)
            proposed = {} if proposal is None else self._proposed(product, proposal)
            if self._options.changes and not proposed:
                continue
            row: dict[str, Any] = {
                "product_id": product.product_id,
                "title": product.title,
                "category": None if product.category is None else format_path(product.category),
                "tags": [tag.tag for tag in product.tags if tag.source == "merchant"],
            }
            row |= {name: getattr(product.fields, name) for name in FIELD_TYPES}
            row |= _local_values(product.fields)
            row |= {names[name]: value for name, value in product.attributes.items()}
            row = exact.exact(product, row)
            for number, photo in enumerate(photos):
                image = self._source(product, photo)
                exact.check(product.product_id, image)
                if number == 0:
                    yield {**row, "image": image, **proposed, MARK: 1}
                else:
                    yield {"product_id": product.product_id, "image": image, MARK: 1}

    def _local_columns(self) -> list[str]:
        """Columns of titles, categories and prices by language and market, that any product has."""
        found: dict[str, None] = {}
        for product in self._catalog.iterate():
            fields = product.fields
            if fields.titles or fields.categories or fields.prices:
                found.update(dict.fromkeys(_local_values(fields)))
        return sorted(found)

    def _proposed_columns(self) -> list[str]:
        options = self._options
        found = []
        if options.wants("category"):
            found += ["proposed_category", "proposed_category_confidence"]
        found += [f"proposed_{name}" for name in ("tags", "color") if options.wants(name)]
        if options.wants("attributes"):
            found.append("proposed_attributes")
        if options.wants("alt_text"):
            found += [f"proposed_alt_text_{language}" for language in ALT_LANGUAGES]
        more = [name for name in ("findings", "duplicates") if name in (options.only or ())]
        return [*found, *(f"proposed_{name}" for name in more)]

    def _proposed(self, product: Product, proposal: Proposal) -> dict[str, Any]:
        """What is proposed and is not so already; empty where nothing is."""
        options = self._options
        found: dict[str, Any] = {}
        if proposal.category and proposal.category != product.category:
            found["proposed_category"] = format_path(proposal.category)
            found["proposed_category_confidence"] = round(proposal.category_confidence, 3)
        tags = missing_tags([tag.tag for tag in product.tags], proposal.tags)
        if tags:
            found["proposed_tags"] = tags
        stated = {str(product.attributes.get(name)).casefold() for name in COLOUR_COLUMNS}
        if proposal.color is not None and proposal.color.value.casefold() not in stated:
            found["proposed_color"] = proposal.color.value
        new = [
            f"{name}={value.value}"
            for name, value in proposal.attributes.items()
            if options.wants_attribute(name)
            and str(product.attributes.get(name)).casefold() != value.value.casefold()
        ]
        if new:
            found["proposed_attributes"] = new
        for language, text in proposal.alt_text.items():
            found[f"proposed_alt_text_{language}"] = text
        if proposal.findings:
            found["proposed_findings"] = list(proposal.findings)
        if proposal.duplicates:
            found["proposed_duplicates"] = list(proposal.duplicates)
        columns = set(self._proposed_columns())
        return {name: value for name, value in found.items() if name in columns}

    # --- Google

    def google_columns(self) -> list[str]:
        """The columns of ``google_rows``: Google's, then the catalog's attributes."""
        attributes = [name for name in self._types if name not in {*FIELD_TYPES, *_GOOGLE}]
        return [*_GOOGLE, *attributes]

    def google_rows(self) -> Iterator[dict[str, Any]]:
        """One row a product, with the shop's own addresses of page and photos."""
        for product, photos in self._products():
            proposal = self._find(product.product_id) or Proposal(product.product_id)
            fields = product.fields
            sources = [self._source(product, photo) for photo in photos[: 1 + _MORE_PHOTOS]]
            changes = self._google_changes(product, proposal)
            if self._options.changes and not changes:
                continue
            tags = [tag.tag for tag in product.tags if tag.source == "merchant"]
            row: dict[str, Any] = {
                **product.attributes,
                "id": product.product_id,
                "title": product.title,
                "link": fields.url,
                "image_link": sources[0] if sources else None,
                "additional_image_link": ",".join(sources[1:]),
                "availability": fields.availability,
                "price": _money(fields.price, fields.currency),
                "sale_price": _money(fields.sale_price, fields.currency),
                "brand": fields.brand,
                "gtin": fields.gtin,
                "sku": fields.sku,
                "item_group_id": fields.parent,
                "product_type": None if product.category is None else format_path(product.category),
                "tags": tags,
            }
            yield row | changes

    def _google_changes(self, product: Product, proposal: Proposal) -> dict[str, Any]:
        options = self._options
        found: dict[str, Any] = {}
        if proposal.category and options.wants("category"):
            differs = proposal.category != product.category
            if product.category is None or (options.replace and differs):
                found["product_type"] = format_path(proposal.category)
        new = missing_tags([tag.tag for tag in product.tags], proposal.tags)
        if new and options.wants("tags"):
            found["tags"] = [tag.tag for tag in product.tags if tag.source == "merchant"] + new
        for name, value in proposal.attributes.items():
            present = product.attributes.get(name)
            # A list stays: only what it lacks is proposed, which is not all of it.
            other = str(present) != value.value and not isinstance(present, list)
            free = present is None or (options.replace and other)
            if free and name in self._types and options.wants_attribute(name):
                found[name] = value.value
        return found

    # --- parts

    def _products(self) -> Iterator[tuple[Product, list[PhotoRow]]]:
        batch: list[Product] = []
        for product in self._catalog.iterate():
            batch.append(product)
            if len(batch) == _PORTION:
                yield from self._with_photos(batch)
                batch = []
        yield from self._with_photos(batch)

    def _with_photos(self, batch: list[Product]) -> Iterator[tuple[Product, list[PhotoRow]]]:
        hashes = {content_hash for product in batch for content_hash in product.photos}
        rows = self._catalog.photos_by_hash(hashes)
        for product in batch:
            yield product, [rows[found] for found in product.photos if found in rows]

    def _source(self, product: Product, photo: PhotoRow) -> str:
        """The shop's own address of a photo, else the file that has it."""
        address = product.sources.get(photo.content_hash)
        if address and self._with_addresses:
            return address
        if photo.path:
            return photo.path
        return str(Path(photo_file(self._home.photos, photo.content_hash)))


def _local_values(fields: ProductFields) -> dict[str, Any]:
    """Titles, categories and prices by language and market, by column."""
    found: dict[str, Any] = {f"title_{name}": title for name, title in fields.titles.items()}
    found |= {f"category_{name}": format_path(path) for name, path in fields.categories.items()}
    for market, price in fields.prices.items():
        currency = price.get("currency")
        found[f"price_{market}"] = _money(price.get("price"), currency)
        found[f"sale_price_{market}"] = _money(price.get("sale_price"), currency)
    return found


def _money(amount: float | None, currency: str | None) -> str | None:
    if amount is None:
        return None
    # Some currencies have three digits, and some shops' unit prices more.
    text = f"{amount:.2f}" if round(amount, 2) == amount else repr(amount)
    return f"{text} {currency}" if currency else text
