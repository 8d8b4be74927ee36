"""Drafted profiles: unknown feeds of several languages go in with the draft."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from indexer.core.errors import BadDataError
from indexer.feeds.product import FeedProduct
from indexer.feeds.product_reader import ProductReader, read_all
from indexer.feeds.profile import load_profile, parse_profile
from indexer.feeds.reader import LostLines, open_table
from indexer.feeds.suggestion import suggest_profile
from tools.bench.data.feed_fixtures import Cells, field_values, table

GERMAN = [
    {
        "Artikelnummer": f"A-{number:03d}",
        "Bezeichnung": f"Schönes Hemd {number}",
        "Warengruppe": "Mode/Hemden" if number % 2 else "Mode/Hosen",
        "Preis (EUR)": "12,90",
        "UVP": "19,90",
        "Lieferbar": "auf Lager" if number % 3 else "ausverkauft",
        "Bildlink": f"https://cdn.example/{number}.jpg|https://cdn.example/{number}b.jpg",
        "Deeplink": f"https://shop.example/{number}",
        "Langtext": "<p>Weich.</p>",
        "Farbe": "rot",
        "EAN": "4006381333931",
        "Schlagworte": "Sommer, Büro",
        "Hersteller": "Kelp",
    }
    for number in range(30)
]
CHINESE = [
    {
        "商品编号": f"S{number}",
        "商品名称": f"红色衬衫 {number}",
        "类目": "服装 > 衬衫",
        "售价": "¥128.00",
        "库存": str(number),
        "主图": f"https://x.example/{number}.jpg",
        "品牌": "海",
    }
    for number in range(30)
]
UNNAMED = [
    {
        "c1": f"P{number}",
        "c2": f"A nice shirt {number}, blue",
        "c3": f"photos/{number}.jpg",
        "c4": f"{number}.90 EUR",
        "c5": "in stock" if number % 2 else "sold out",
        "c6": "Apparel > Shirts",
        "c7": "blue",
    }
    for number in range(30)
]
FRENCH = [
    {
        "Référence": f"R{number}",
        "Désignation": f"Robe d'été {number}",
        "Catégorie": "Robes",
        "Prix TTC": "1 299,00 €",
        "Disponibilité": "en stock",
        "Image principale": f"img/{number}.png",
        "Marque": "Varech",
    }
    for number in range(30)
]


def read_by_draft(
    folder: Path, rows: Sequence[Cells], encoding: str = "utf-8"
) -> list[FeedProduct]:
    """The products of a feed by the profile that is drafted for it, through its file."""
    feed = folder / "feed.csv"
    feed.write_bytes(table(list(rows[0]), rows, delimiter=";", encoding=encoding))
    profile = folder / "own.yaml"
    profile.write_text(suggest_profile(open_table(feed)).yaml, encoding="utf-8")
    opened = open_table(feed)
    reader = ProductReader(opened, load_profile(profile), warn=[])
    records = list(opened.records(LostLines()))
    keys = [reader.group_key(record) for record in records]
    return [
        product
        for key, record in zip(keys, records, strict=True)
        if reader.resolve(key)
        for product in reader.read_group([record])
    ]


@pytest.mark.parametrize(
    ("rows", "encoding", "expected"),
    [
        (
            GERMAN,
            "cp1252",
            {
                "title": "Schönes Hemd 1",
                "category": "Mode > Hemden",
                "tags": ("Sommer", "Büro"),
                "photos": ("https://cdn.example/1.jpg", "https://cdn.example/1b.jpg"),
                "price": 19.9,
                "sale_price": 12.9,
                "currency": "EUR",
                "availability": "in_stock",
                "url": "https://shop.example/1",
                "brand": "Kelp",
                "gtin": "4006381333931",
                "sku": "A-001",
                "attributes.farbe": "rot",
                "attributes.description": "Weich.",
            },
        ),
        (
            CHINESE,
            "gb18030",
            {
                "title": "红色衬衫 1",
                "category": "服装 > 衬衫",
                "photos": ("https://x.example/1.jpg",),
                "price": 128.0,
                "currency": "CNY",
                "availability": "in_stock",
                "brand": "海",
            },
        ),
        (
            UNNAMED,
            "utf-8",
            {
                "title": "A nice shirt 1, blue",
                "category": "Apparel > Shirts",
                "photos": ("photos/1.jpg",),
                "price": 1.9,
                "currency": "EUR",
                "availability": "in_stock",
                "attributes.c7": "blue",
            },
        ),
        (
            FRENCH,
            "utf-8",
            {
                "title": "Robe d'été 1",
                "category": "Robes",
                "photos": ("img/1.png",),
                "price": 1299.0,
                "currency": "EUR",
                "availability": "in_stock",
                "brand": "Varech",
                "sku": "R1",
            },
        ),
    ],
    ids=["German", "Chinese", "unnamed", "French"],
)
def test_the_draft_reads_the_feed_it_was_made_from(
    tmp_path: Path, rows: Sequence[Cells], encoding: str, expected: dict[str, object]
) -> None:
    """Names in a shop's language, or values alone, tell what the columns mean."""
    products = read_by_draft(tmp_path, rows, encoding)
    assert len(products) == len(rows)
    found = field_values(products[1])
    assert {name: found.get(name) for name in expected} == expected
    assert products[1].product_id == next(iter(rows[1].values()))


def test_names_that_contradict_their_values_are_not_believed(tmp_path: Path) -> None:
    """A column ``price`` of words is no price; one that cannot be printed harms no comment."""
    feed = tmp_path / "feed.csv"
    rows = [
        {
            "id": str(n),
            "price": "cheap",
            "image": f"{n}.jpg",
            "na\x07me": "x\x00y",
            "category": "&#" + "9" * 5000,
        }
        for n in range(9)
    ]
    feed.write_bytes(table(list(rows[0]), rows))
    found = suggest_profile(open_table(feed))
    assert "price" not in found.profile
    (tmp_path / "own.yaml").write_text(found.yaml, encoding="utf-8")
    assert load_profile(tmp_path / "own.yaml").id == ("id",)


def test_a_feed_without_rows_gives_no_draft(tmp_path: Path) -> None:
    """There is nothing to tell by, and that is said."""
    feed = tmp_path / "feed.csv"
    feed.write_text("id,image\n", encoding="utf-8")
    with pytest.raises(BadDataError, match="no rows"):
        suggest_profile(open_table(feed))


def test_cells_that_are_objects_are_looked_at_by_what_they_hold(tmp_path: Path) -> None:
    """A price is one by its amount, photos by their addresses; the draft reads them."""
    path = tmp_path / "feed.jsonl"
    items = [
        {
            "id": number,
            "name": f"Lamp {number}",
            "price": {"amount": f"{number}.90", "currency": "EUR"},
            "images": [{"url": f"https://cdn.example/{number}.jpg"}],
            "categories": [{"id": 7, "name": "Lamps"}],
        }
        for number in range(1, 4)
    ]
    path.write_text("\n".join(map(json.dumps, items)))
    found = suggest_profile(open_table(path))
    assert found.profile["price"] == {"price": "price"}
    profile = parse_profile(found.yaml, "draft")
    product = next(read_all(ProductReader(open_table(path), profile, warn=[])))
    assert (product.fields.price, product.fields.currency) == (1.9, "EUR")
    assert (product.category, product.title) == (("Lamps",), "Lamp 1")
    assert [photo.source for photo in product.photos] == ["https://cdn.example/1.jpg"]
