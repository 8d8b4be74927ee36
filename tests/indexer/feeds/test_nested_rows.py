"""A product's variants, as JSON nests them, are rows of their own."""

from __future__ import annotations

import json
from pathlib import Path

from tests.indexer.feeds.feed_files import photo_sources, read_feed_file

CDN = "https://cdn.shop.example/files"


def test_products_json(tmp_path: Path) -> None:
    """Options by number, the variant's own photo first, an SKU that comes again is told."""
    tee = {
        "id": 7,
        "title": "Kelp Tee",
        "handle": "kelp-tee",
        "body_html": "<p>Soft</p>",
        "vendor": "Kelp",
        "product_type": "Tees",
        "tags": ["summer", "big, bold"],
        "published_at": "2026-01-01T00:00:00Z",
        "options": [{"name": "Color", "position": 1}, {"name": "Size", "position": 2}],
        "images": [
            {"id": 1, "position": 1, "src": f"{CDN}/blue.jpg"},
            {"id": 2, "position": 2, "src": f"{CDN}/back.jpg"},
        ],
        "variants": [
            {
                "id": 71,
                "option1": "Blue",
                "option2": "M",
                "sku": "KT-B",
                "price": "19.00",
                "compare_at_price": "25.00",
                "available": True,
                "featured_image": {"src": f"{CDN}/blue.jpg", "variant_ids": [71]},
            },
            {
                "id": 72,
                "option1": "Red",
                "option2": None,
                "sku": "KT-B",
                "price": "21.00",
                "compare_at_price": None,
                "available": False,
                "featured_image": None,
            },
        ],
    }
    mug = {
        "title": "Mug",
        "handle": "mug",
        "body_html": None,
        "vendor": "Reef",
        "images": [],
        "options": [{"name": "Title"}],
        "variants": [{"id": 81, "option1": "Default Title", "sku": "", "price": "9.50"}],
    }
    path = tmp_path / "products.json"
    path.write_text(json.dumps({"products": [tee, mug]}))
    feed = read_feed_file(path)
    assert feed.detection.profile.name == "shopify"
    assert feed.ids == ["KT-B", "kelp-tee/Red", "mug"]
    blue, red, single = feed.products
    assert (blue.fields.price, blue.fields.sale_price, red.fields.price) == (25.0, 19.0, 21.0)
    assert (blue.fields.availability, red.fields.availability) == ("in_stock", "out_of_stock")
    assert (blue.fields.variant, blue.fields.parent) == ("Blue / M", "kelp-tee")
    assert blue.tags == ("summer", "big, bold")
    assert blue.attributes == {
        "color": "Blue",
        "size": "M",
        "description": "Soft",
        "product_type": "Tees",
    }
    assert [photo_sources(one) for one in feed.products] == [
        [f"{CDN}/blue.jpg", f"{CDN}/back.jpg"],
        [f"{CDN}/back.jpg"],
        [],
    ]
    assert (single.fields.parent, single.fields.variant) == (None, None)
    assert [(note.where, note.code) for note in feed.warnings] == [
        ("products.json item 1 variant 1", "no-currency"),
        ("products.json item 1 variant 2", "repeated-id"),
    ]


def test_columns_that_come_late(tmp_path: Path) -> None:
    """Of a feed without a header, a column that only a late record has is read as well."""
    lines = [json.dumps({"image": f"{n}.jpg"}) for n in range(1200)]
    lines.append(json.dumps({"image": "last.jpg", "title": "Last", "colour": "red"}))
    path = tmp_path / "feed.jsonl"
    path.write_text("\n".join(lines))
    last = read_feed_file(path)["last"]
    assert (last.title, last.attributes) == ("Last", {"colour": "red"})
