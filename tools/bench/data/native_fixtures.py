"""Small feeds in the forms of Catalens itself, and the products that they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tools.bench.data.feed_fixtures import CDN, Cells, FeedFixture, table

_CATALENS_COLUMNS = (
    *("product_id", "image", "title", "category", "tags", "price", "currency", "availability"),
    *("gtin", "sku", "parent", "colour", "firmware"),
)
_CATALENS_ROWS: Sequence[Cells] = (
    {
        "product_id": "A-1",
        "image": "photos/Größe 1.jpg",
        "title": "Kelp Tee",
        "category": "Apparel > Tees",
        "tags": "summer|cotton",
        "price": "12,90",
        "currency": "EUR",
        "availability": "auf Lager",
        "gtin": "0012345678905",
        "sku": "12E4",
        "parent": "A",
        "colour": "blau",
        "firmware": "1.10",
    },
    {"product_id": "A-1", "image": "photos/2.jpg"},
    {
        "product_id": "B-1",
        "image": "photos/3.jpg",
        "price": "1.299,00",
        "currency": "EUR",
        "availability": "nicht vorrätig",
    },
)
_CATALENS_EXPECTED: Mapping[str, Mapping[str, Any]] = {
    "A-1": {
        "title": "Kelp Tee",
        "category": "Apparel > Tees",
        "tags": ("summer", "cotton"),
        "photos": ("photos/Größe 1.jpg", "photos/2.jpg"),
        "price": 12.9,
        "currency": "EUR",
        "availability": "in_stock",
        "gtin": "0012345678905",
        "sku": "12E4",
        "parent": "A",
        "attributes.colour": "blau",
        "attributes.firmware": "1.10",
    },
    "B-1": {"price": 1299.0, "availability": "out_of_stock", "photos": ("photos/3.jpg",)},
}

_EXPORT_ROWS: Sequence[Cells] = (
    {
        "catalens_export": "1",
        "product_id": "A-1",
        "image": "https://cdn.kelp.example/files/tee.jpg",
        "title": "Kelp Tee",
        "title_de": "Tang-Shirt",
        "category": "Apparel > Tees",
        "tags": "summer|cotton",
        "price": "12.9",
        "currency": "EUR",
        "availability": "in_stock",
        "gtin": "0012345678905",
        "parent": "A",
        "colour": "blue",
        "proposed_colour": "navy",
    },
)
_EXPORT_EXPECTED: Mapping[str, Mapping[str, Any]] = {
    "A-1": {
        "title": "Kelp Tee",
        "titles.de": "Tang-Shirt",
        "category": "Apparel > Tees",
        "tags": ("summer", "cotton"),
        "photos": (f"{CDN}/tee.jpg",),
        "price": 12.9,
        "currency": "EUR",
        "availability": "in_stock",
        "gtin": "0012345678905",
        "parent": "A",
        "attributes.colour": "blue",
        "attributes.proposed_colour": None,
    },
}

NATIVE_FIXTURES = (
    FeedFixture(
        "catalens-export",
        "catalens-export",
        "export.csv",
        table(tuple(_EXPORT_ROWS[0]), _EXPORT_ROWS),
        _EXPORT_EXPECTED,
    ),
    FeedFixture(
        "catalens",
        "catalens",
        "feed.csv",
        table(_CATALENS_COLUMNS, _CATALENS_ROWS, delimiter=";", encoding="cp1252"),
        _CATALENS_EXPECTED,
    ),
)
