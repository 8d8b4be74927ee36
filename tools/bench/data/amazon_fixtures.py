"""Small flat files of Amazon, of both kinds of template, and the products they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tools.bench.data import shop_systems
from tools.bench.data.feed_fixtures import CDN, Cells, FeedFixture, table

_AMAZON_ROWS: Sequence[Cells] = (
    {
        "feed_product_type": "shirt",
        "item_sku": "KT",
        "brand_name": "Kelp & Co",
        "item_name": "Kelp Tee",
        "item_type": "fashion-t-shirts",
        "parent_child": "Parent",
        "variation_theme": "SizeColor",
        "product_description": "<p>Soft, heavy cotton.</p>",
    },
    {
        "feed_product_type": "shirt",
        "item_sku": "KT-BL-M",
        "brand_name": "Kelp & Co",
        "item_name": "Kelp Tee, Blue, M",
        "external_product_id": "0012345678905",
        "external_product_id_type": "EAN",
        "item_type": "fashion-t-shirts",
        "standard_price": "19.00",
        "sale_price": "15.00",
        "currency": "EUR",
        "quantity": "4",
        "main_image_url": f"{CDN}/tee-blue.jpg",
        "other_image_url1": f"{CDN}/tee-back.jpg",
        "other_image_url3": f"{CDN}/tee-tag.jpg",
        "swatch_image_url": f"{CDN}/blue-swatch.jpg",
        "parent_child": "Child",
        "parent_sku": "KT",
        "relationship_type": "Variation",
        "variation_theme": "SizeColor",
        "bullet_point1": "Wash cold",
        "color_name": "Blue",
        "size_name": "M",
    },
    {
        "feed_product_type": "mug",
        "item_sku": "RM-1",
        "item_name": "Reef Mug",
        "item_type": "mugs",
        "standard_price": "9.50",
        "currency": "EUR",
        "quantity": "0",
        "main_image_url": f"{CDN}/mug.jpg",
    },
)
_AMAZON_EXPECTED: Mapping[str, Mapping[str, Any]] = {
    "KT-BL-M": {
        "title": "Kelp Tee, Blue, M",
        "category": "fashion-t-shirts",
        "price": 19.0,
        "sale_price": 15.0,
        "currency": "EUR",
        "availability": "in_stock",
        "brand": "Kelp & Co",
        "gtin": "0012345678905",
        "sku": "KT-BL-M",
        "parent": "KT",
        "variant": "Blue / M",
        "photos": (f"{CDN}/tee-blue.jpg", f"{CDN}/tee-back.jpg", f"{CDN}/tee-tag.jpg"),
        "attributes.color": "Blue",
        "attributes.size": "M",
        "attributes.description": "Soft, heavy cotton.",
    },
    "RM-1": {
        "title": "Reef Mug",
        "price": 9.5,
        "availability": "out_of_stock",
        "parent": None,
        "variant": None,
        "photos": (f"{CDN}/mug.jpg",),
    },
}

# The template since 2024: columns are named by place in the product's JSON.
_MARKET = "[marketplace_id=A1PA6795UKMFR9]"
_WORDED = "[marketplace_id=A1PA6795UKMFR9][language_tag=de_DE]"
_OFFER = "purchasable_offer[marketplace_id=A1PA6795UKMFR9][audience=ALL]#1"
_AMAZON_2024 = {
    "contribution_sku#1.value": "SKU",
    "product_type#1.value": "Produkttyp",
    f"item_name{_WORDED}#1.value": "Artikelname",
    f"brand{_WORDED}#1.value": "Marke",
    f"externally_assigned_product_identifier{_MARKET}#1.value": "Produkt-ID",
    f"parentage_level{_MARKET}#1.value": "Ebene",
    f"child_parent_sku_relationship{_MARKET}#1.parent_sku": "Parent-SKU",
    f"main_product_image_locator{_MARKET}#1.media_location": "Hauptbild-URL",
    f"other_product_image_locator_1{_MARKET}#1.media_location": "Weitere Bild-URL",
    f"{_OFFER}.our_price#1.schedule#1.value_with_tax": "Preis",
    f"{_OFFER}.currency": "Währung",
    f"color{_WORDED}#1.value": "Farbe",
    f"material{_WORDED}#1.value": "Material",
}
_AMAZON_2024_ROWS: Sequence[Sequence[str]] = (
    ("KT", "SHIRT", "Kelp Tee", "Kelp", "", "Parent", *("",) * 7),
    (
        *("KT-1", "SHIRT", "Kelp Tee blau", "Kelp", "0012345678905", "Child", "KT"),
        *(f"{CDN}/a.jpg", f"{CDN}/b.jpg", "1.299,00", "EUR", "Blau", "Baumwolle"),
    ),
)
_AMAZON_2024_EXPECTED: Mapping[str, Mapping[str, Any]] = {
    "KT-1": {
        "title": "Kelp Tee blau",
        "category": "SHIRT",
        "price": 1299.0,
        "currency": "EUR",
        "brand": "Kelp",
        "gtin": "0012345678905",
        "sku": "KT-1",
        "parent": "KT",
        "variant": "Blau",
        "photos": (f"{CDN}/a.jpg", f"{CDN}/b.jpg"),
        "attributes.color": "Blau",
        "attributes.material": "Baumwolle",
    },
}


def _amazon_2024() -> bytes:
    above = ("settings=attributeRow=4&labelRow=3&feedType=113", "Angaben zum Artikel\t\tBilder")
    rows = (_AMAZON_2024.values(), _AMAZON_2024, *_AMAZON_2024_ROWS)
    width = len(_AMAZON_2024) - 1
    padded = (line + "\t" * (width - line.count("\t")) for line in above)
    return "\n".join((*padded, *map("\t".join, rows), "")).encode()


def _amazon() -> bytes:
    rows = table(shop_systems.AMAZON, _AMAZON_ROWS, delimiter="\t").decode()
    return "\r\n".join((*shop_systems.AMAZON_ROWS, rows)).encode()


AMAZON_FIXTURES = (
    FeedFixture("amazon", "amazon", "flat.file.shirts.txt", _amazon(), _AMAZON_EXPECTED),
    FeedFixture("amazon-2024", "amazon", "SHIRT.txt", _amazon_2024(), _AMAZON_2024_EXPECTED),
)
