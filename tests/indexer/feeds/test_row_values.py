"""Cells that hold objects, as interfaces for programs give them, are read by name."""

from __future__ import annotations

import json
from pathlib import Path

from tests.indexer.feeds.feed_files import photo_sources, read_feed_file


def test_objects_of_woocommerce(tmp_path: Path) -> None:
    """Categories and tags by their name, photos by their address, attributes by both."""
    path = tmp_path / "feed.json"
    product = {
        "id": 5,
        "name": "Mug",
        "type": "simple",
        "sku": "MUG",
        "status": "publish",
        "regular_price": "12",
        "sale_price": "10",
        "date_on_sale_to_gmt": "2026-02-01T00:00:00",
        "stock_status": "outofstock",
        "categories": [{"id": 1, "name": "Mugs", "slug": "mugs"}],
        "tags": [{"id": 2, "name": "gift"}, {"id": 3, "name": "clay"}],
        "images": [{"id": 9, "src": "https://w.example/1.jpg", "name": "one"}],
        "attributes": [{"name": "Color", "options": ["Red", "Blue"]}, {"name": "", "options": []}],
    }
    path.write_text(json.dumps([product, {**product, "sku": "OLD", "status": "draft"}]))
    feed = read_feed_file(path)
    assert (feed.detection.profile.name, feed.ids) == ("woocommerce", ["MUG"])
    assert feed.codes == ["no-currency"]
    mug = feed["MUG"]
    assert (mug.category, mug.tags) == (("Mugs",), ("gift", "clay"))
    assert photo_sources(mug) == ["https://w.example/1.jpg"]
    assert (mug.fields.price, mug.fields.sale_price) == (12.0, 10.0)
    assert mug.fields.availability == "out_of_stock"
    assert mug.attributes == {
        "color": ["Red", "Blue"],
        "sale_price_until": "2026-02-01T23:59:59+00:00",
    }


def test_a_price_and_a_brand_that_are_objects(tmp_path: Path) -> None:
    path = tmp_path / "feed.jsonl"
    price = {"amount": "49.90", "currencyCode": "EUR"}
    lamp = {"id": "1", "title": "Lamp", "image_link": "a.jpg", "price": price}
    path.write_text(json.dumps({**lamp, "brand": {"name": "Lux"}}))
    fields = read_feed_file(path)["1"].fields
    assert (fields.price, fields.currency, fields.brand) == (49.9, "EUR", "Lux")
