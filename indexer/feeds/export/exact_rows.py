"""Rows of an exported file that are read again as they were: odd values as JSON in their cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from indexer.catalog.attributes import AttributeType
from indexer.catalog.product_fields import FIELD_TYPES
from indexer.catalog.records import Product
from indexer.feeds.assembly import Assembly
from indexer.feeds.attribute_typing import AttributeTyping
from indexer.feeds.exact_cells import exact_cell, quoted_column
from indexer.feeds.export.feed_writer import cell_text
from indexer.feeds.groups import id_text
from indexer.feeds.photo_cells import split_photos
from indexer.feeds.product import FeedProduct
from indexer.feeds.profile import load_profile
from indexer.feeds.row_plan import RowPlan
from indexer.feeds.row_values import Notes, texts_of
from indexer.feeds.values.spreadsheet_cells import harmless

_PROFILE = "catalens-export"
# Each is read in the light of the others.
_MONEY = ("price", "sale_price", "currency")


def attribute_columns(names: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Attribute -> its column: its name, unless that would be read as something else. ``others``:
    the file's further columns."""
    names = list(names)
    taken = {*others}
    plan = RowPlan(load_profile(_PROFILE), [*taken, *names], Notes([], []), text=True)
    return {name: _column(plan, name, name in taken) for name in names}


def _column(plan: RowPlan, name: str, taken: bool) -> str:
    quoted = quoted_column(name)
    plain = not taken and quoted == quoted_column("") + name and name[:1] not in ("'", "\ufeff")
    is_read = plan.meanings.get(name) == [f"attribute {name}"]
    return name if plain and is_read else quoted


class ExactRows:
    """Rows as the import reads them, which tells the cells that it would read otherwise.

    ``columns``: of the file; ``names``: attribute -> column. ``text``: all cells are text that a
    spreadsheet may open.
    """

    def __init__(
        self,
        columns: Iterable[str],
        names: Mapping[str, str],
        types: Mapping[str, AttributeType],
        *,
        text: bool,
    ) -> None:
        self._names = names
        self._text = text
        notes = Notes([], [])
        self._plan = RowPlan(load_profile(_PROFILE), columns, notes, text=text)
        self._assembly = Assembly(self._plan, notes, partial=False)
        self._typing = AttributeTyping(fixed={}, stored=types, given={}, text=text)
        self._typing.settle()
        self._separators = self._plan.profile.photos.separators
        # Products with values that no cell can hold so that they are read as they were.
        self.lost: list[str] = []

    def exact(self, product: Product, row: dict[str, Any]) -> dict[str, Any]:
        """``row``, with JSON in the cells that would be read as another value."""
        wanted = self._values(product)
        odd = self._odd(wanted, row)
        if odd:
            row = {**row}
            for column in odd:
                row[column] = exact_cell(wanted.get(column))
                if f"sale_{column}" in row and column not in FIELD_TYPES:
                    # The cell of a market's price holds both.
                    row[f"sale_{column}"] = None
            if self._values(self._read(row)) != wanted:
                self.lost.append(product.product_id)
        return row

    def check(self, product_id: str, image: str) -> None:
        """Note a product whose id or photo is read as another one."""
        photos = [part for text in texts_of(image) for part in split_photos(text, self._separators)]
        cell = harmless(product_id) if self._text else product_id
        if (id_text(cell) != product_id or photos != [image]) and (self.lost[-1:] != [product_id]):
            self.lost.append(product_id)

    def _odd(self, wanted: dict[str, Any], row: Mapping[str, Any]) -> list[str]:
        found = self._values(self._read(row))
        odd = {name for name in wanted | found if found.get(name) != wanted.get(name)}
        if odd.intersection(_MONEY):
            odd.update(_MONEY)
        return [name for name in row if name in odd]

    def _read(self, row: Mapping[str, Any]) -> FeedProduct:
        values = {
            name: harmless(cell_text(value)) if self._text else value
            for name, value in row.items()
            if value not in (None, "", []) and name != "image"
        }
        read = self._plan.read("", values)
        product = self._assembly.product(
            read,
            "",
            (),
            parent=id_text(values.get("parent")) if "parent" not in read.exact else None,
            variant=self._assembly.variant_text(read) if "variant" not in read.exact else None,
        )
        return product

    def _values(self, product: Product | FeedProduct) -> dict[str, Any]:
        """What a product says, by column."""
        if isinstance(product, FeedProduct):
            tags = [*product.tags]
            attributes, _ = self._typing.fit(product.attributes, "")
        else:
            tags = [tag.tag for tag in product.tags if tag.source == "merchant"]
            attributes = {**product.attributes}
        fields = product.fields
        found: dict[str, Any] = {
            "title": product.title,
            "category": None if product.category is None else [*product.category],
            "tags": tags,
            **{name: getattr(fields, name) for name in FIELD_TYPES},
            **{f"title_{key}": title for key, title in fields.titles.items()},
            **{f"category_{key}": [*path] for key, path in fields.categories.items()},
            **{f"price_{key}": dict(price) for key, price in fields.prices.items()},
        }
        found |= {self._names.get(name, name): value for name, value in attributes.items()}
        return {name: value for name, value in found.items() if value is not None}
