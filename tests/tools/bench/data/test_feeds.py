"""Made feeds: the same shop in every format, and photos that are what the feed says."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from indexer.feeds.values.identifiers import check_gtin
from tools.bench.data.feed_formats import FORMATS, write_feed
from tools.bench.data.feeds import made_products, photo_bytes, write_photos

SKU = {
    "catalens": "sku",
    "google": "id",
    "shopify": "Variant SKU",
    "shopify-2025": "SKU",
    "woocommerce": "SKU",
    "magento": "sku",
    "akeneo": "sku",
    "shopware": "product_number",
    "amazon": "item_sku",
    "medusa": "Variant Sku",
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_holds_every_variant(tmp_path: Path, form: str) -> None:
    """The rows that are written are those that are counted, and each variant has one."""
    products = list(made_products(40))
    path = tmp_path / "feed.csv"
    rows = write_feed(path, form, products)
    _, _, delimiter, encoding, before = FORMATS[form]
    with path.open(newline="", encoding=encoding) as file:
        for _ in before:
            next(file)
        found = list(csv.DictReader(file, delimiter=delimiter))
    assert len(found) == rows
    named = {row[SKU[form]] for row in found}
    assert named >= {variant.sku for product in products for variant in product.variants}


def test_google_is_written_as_xml_too(tmp_path: Path) -> None:
    """Items are well-formed, and further photos are elements of their own."""
    rows = write_feed(tmp_path / "feed.xml", "google-xml", made_products(9, photos=3))
    items = ElementTree.parse(tmp_path / "feed.xml").findall(".//item")
    name = "{http://base.google.com/ns/1.0}additional_image_link"
    assert (len(items), len(items[0].findall(name))) == (rows, 2)


def test_the_shop_is_the_same_whatever_the_count() -> None:
    """More products are the same and further ones; a change is a price and nothing else."""
    few = list(made_products(50))
    many = list(made_products(1000, changed=0.1))
    same = [one == other for one, other in zip(few, many, strict=False)]
    assert 0 < same.count(False) < 20
    for one, other in zip(few, many, strict=False):
        assert replace(one, variants=()) == replace(other, variants=())
        assert [v.sku for v in one.variants] == [v.sku for v in other.variants]
    skus = [variant.sku for product in many for variant in product.variants]
    assert len(set(skus)) == len(skus)
    assert all(check_gtin(v.gtin) is None for product in few for v in product.variants)


def test_photos_are_drawn_by_name(tmp_path: Path) -> None:
    """Each file that a feed names is there, and the same name has the same bytes."""
    products = list(made_products(2))
    assert write_photos(tmp_path, products, 48) == len(list(tmp_path.iterdir()))
    product = products[1]
    data = photo_bytes(product, product.photos[0], 48)
    assert (tmp_path / product.photos[0]).read_bytes() == data
    assert Image.open(io.BytesIO(data)).size == (48, 48)
