"""Small feeds with what real exports have in them, and the products that they stand for.

Each was written for this purpose by the public description of its format; the shop is made up.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from indexer.core.category_path import format_path
from indexer.feeds.product import FeedProduct

Cells = Mapping[str, str]


@dataclass(frozen=True)
class FeedFixture:
    """A feed as a shop exports it, and what every field of its products should be."""

    name: str
    # The profile that should be found by itself.
    profile: str
    file_name: str
    data: bytes
    # Product id -> field -> value. Fields are named as ``field_values`` names them.
    expected: Mapping[str, Mapping[str, Any]]
    # What the notices should say, each in one of them.
    said: tuple[str, ...] = ()


def field_values(product: FeedProduct) -> dict[str, Any]:
    """The fields of a product by name: ``title``, ``price``, ``attributes.size``, ``titles.de``."""
    fields = product.fields
    found: dict[str, Any] = {
        "title": product.title,
        "category": format_path(product.category) if product.category else None,
        "tags": tuple(product.tags),
        "photos": tuple(photo.source for photo in product.photos),
        "availability": fields.availability,
        "currency": fields.currency,
        "partial": product.partial,
    }
    for name in ("url", "price", "sale_price", "brand", "gtin", "sku", "parent", "variant"):
        found[name] = getattr(fields, name)
    for language, title in fields.titles.items():
        found[f"titles.{language}"] = title
    for market, price in fields.prices.items():
        found |= {f"prices.{market}.{part}": amount for part, amount in price.items()}
    found |= {f"attributes.{name}": value for name, value in product.attributes.items()}
    return found


def table(
    columns: Sequence[str], rows: Sequence[Cells], *, delimiter: str = ",", encoding: str = "utf-8"
) -> bytes:
    """A table as a spreadsheet saves it; cells that a row does not name are blank."""
    out = io.StringIO(newline="")
    written = csv.DictWriter(out, columns, restval="", delimiter=delimiter)
    written.writeheader()
    written.writerows(rows)
    return out.getvalue().encode(encoding)


CDN = "https://cdn.kelp.example/files"

_GOOGLE_COLUMNS = (
    *("id", "title", "description", "link", "image_link", "additional_image_link"),
    *("availability", "price", "sale_price", "brand", "gtin", "mpn", "condition"),
    *("google_product_category", "product_type", "item_group_id", "color", "size"),
)
_GOOGLE_ROWS: Sequence[Cells] = (
    {
        "id": "KT-BL-M",
        "title": "Kelp Tee, blue, M",
        "description": "Soft, heavy cotton",
        "link": "https://kelp.example/tee?variant=1",
        "image_link": f"{CDN}/tee-blue.jpg",
        "additional_image_link": f"{CDN}/w_800,h_600/tee-back.jpg,{CDN}/tee-tag.jpg",
        "availability": "in_stock",
        "price": "19.00 EUR",
        "sale_price": "15.00 EUR",
        "brand": "Kelp & Co",
        "gtin": "0012345678905",
        "mpn": "12E4",
        "condition": "new",
        "google_product_category": "Apparel & Accessories > Clothing > Shirts & Tops",
        "product_type": "Men > Tees > Heavy",
        "item_group_id": "KT",
        "color": "blue",
        "size": "M",
    },
    {
        "id": "KT-BL-L",
        "title": "Kelp Tee, blue, L",
        "link": "https://kelp.example/tee?variant=2",
        "image_link": f"{CDN}/tee-blue.jpg",
        "availability": "out of stock",
        "price": "1.299,00 EUR",
        "brand": "Kelp & Co",
        "gtin": "4006381333931",
        "product_type": "Men > Tees > Heavy",
        "item_group_id": "KT",
        "color": "blue",
        "size": "042",
    },
    {
        "id": "RM-1",
        "title": "Reef Mug",
        "link": "https://kelp.example/mug",
        "image_link": f"{CDN}/Becher grün.jpg",
        "availability": "preorder",
        "price": "on request",
        "google_product_category": "674",
    },
)
_GOOGLE_EXPECTED: Mapping[str, Cells | Mapping[str, Any]] = {
    "KT-BL-M": {
        "title": "Kelp Tee, blue, M",
        "url": "https://kelp.example/tee?variant=1",
        "photos": (
            f"{CDN}/tee-blue.jpg",
            f"{CDN}/w_800,h_600/tee-back.jpg",
            f"{CDN}/tee-tag.jpg",
        ),
        "availability": "in_stock",
        "price": 19.0,
        "sale_price": 15.0,
        "currency": "EUR",
        "brand": "Kelp & Co",
        "gtin": "0012345678905",
        "category": "Men > Tees > Heavy",
        "parent": "KT",
        "attributes.mpn": "12E4",
        "attributes.color": "blue",
        "attributes.size": "M",
    },
    "KT-BL-L": {
        "photos": (f"{CDN}/tee-blue.jpg",),
        "availability": "out_of_stock",
        "price": 1299.0,
        "sale_price": None,
        "currency": "EUR",
        "gtin": "4006381333931",
        "parent": "KT",
        "attributes.size": "042",
    },
    "RM-1": {
        "title": "Reef Mug",
        "photos": (f"{CDN}/Becher grün.jpg",),
        "availability": "preorder",
        "price": None,
        "category": None,
        "parent": None,
    },
}

_SHOPIFY_COLUMNS = (
    *("Handle", "Title", "Body (HTML)", "Vendor", "Product Category", "Type", "Tags", "Published"),
    *("Option1 Name", "Option1 Value", "Option2 Name", "Option2 Value", "Option3 Name"),
    *("Option3 Value", "Variant SKU", "Variant Grams", "Variant Inventory Tracker"),
    *("Variant Inventory Qty", "Variant Inventory Policy", "Variant Fulfillment Service"),
    *("Variant Price", "Variant Compare At Price", "Variant Requires Shipping", "Variant Taxable"),
    *("Variant Barcode", "Image Src", "Image Position", "Image Alt Text", "Gift Card", "SEO Title"),
    *("SEO Description", "Google Shopping / Google Product Category", "Variant Image"),
    *("Variant Weight Unit", "Cost per item", "Status"),
)
_SHOPIFY_ROWS: Sequence[Cells] = (
    {
        "Handle": "kelp-tee",
        "Title": "Kelp Tee",
        "Body (HTML)": "<p>Soft, heavy cotton.<br>\nWash cold.</p><script>track()</script>",
        "Vendor": "Kelp & Co",
        "Product Category": "Apparel & Accessories > Clothing > Shirts & Tops",
        "Type": "T-Shirts",
        "Tags": "summer, cotton, new-in",
        "Published": "true",
        "Option1 Name": "Color",
        "Option1 Value": "Blue",
        "Option2 Name": "Size",
        "Option2 Value": "M",
        "Variant SKU": "KT-BL-M",
        "Variant Inventory Tracker": "shopify",
        "Variant Inventory Qty": "4",
        "Variant Inventory Policy": "deny",
        "Variant Price": "19.00",
        "Variant Compare At Price": "25.00",
        "Variant Barcode": "'0012345678905",
        "Image Src": f"{CDN}/tee-blue.jpg?v=169",
        "Image Position": "1",
        "Variant Image": f"{CDN}/tee-blue.jpg?v=169",
        "Cost per item": "7.20",
        "Status": "active",
    },
    {
        "Handle": "kelp-tee",
        "Option1 Value": "Red",
        "Option2 Value": "L",
        "Variant SKU": "KT-RD-L",
        "Variant Inventory Tracker": "shopify",
        "Variant Inventory Qty": "0",
        "Variant Inventory Policy": "deny",
        "Variant Price": "21.00",
        "Image Src": f"{CDN}/tee-red.jpg?v=169",
        "Image Position": "2",
        "Variant Image": f"{CDN}/tee-red.jpg?v=169",
    },
    {"Handle": "kelp-tee", "Image Src": f"{CDN}/tee-back.jpg?v=169", "Image Position": "3"},
    {
        "Handle": "reef-mug",
        "Title": "Reef Mug",
        "Vendor": "Kelp & Co",
        "Type": "Mugs",
        "Published": "true",
        "Option1 Name": "Title",
        "Option1 Value": "Default Title",
        "Variant SKU": "'00123",
        "Variant Inventory Policy": "deny",
        "Variant Price": "9.50",
        "Image Src": f"{CDN}/mug.jpg?v=169",
        "Image Position": "1",
        "Status": "active",
    },
    {
        "Handle": "old-hat",
        "Title": "Old Hat",
        "Published": "false",
        "Option1 Name": "Title",
        "Option1 Value": "Default Title",
        "Variant SKU": "OH-1",
        "Variant Price": "5.00",
        "Image Src": f"{CDN}/hat.jpg",
        "Image Position": "1",
        "Status": "draft",
    },
)
_SHOPIFY_EXPECTED: Mapping[str, Mapping[str, Any]] = {
    "KT-BL-M": {
        "title": "Kelp Tee",
        "brand": "Kelp & Co",
        "tags": ("summer", "cotton", "new-in"),
        "category": "Apparel & Accessories > Clothing > Shirts & Tops",
        "price": 25.0,
        "sale_price": 19.0,
        "availability": "in_stock",
        "sku": "KT-BL-M",
        "gtin": "0012345678905",
        "parent": "kelp-tee",
        "variant": "Blue / M",
        "photos": (f"{CDN}/tee-blue.jpg?v=169", f"{CDN}/tee-back.jpg?v=169"),
        "attributes.color": "Blue",
        "attributes.size": "M",
        "attributes.description": "Soft, heavy cotton.\nWash cold.",
    },
    "KT-RD-L": {
        "title": "Kelp Tee",
        "tags": ("summer", "cotton", "new-in"),
        "price": 21.0,
        "sale_price": None,
        "availability": "out_of_stock",
        "gtin": None,
        "parent": "kelp-tee",
        "variant": "Red / L",
        "photos": (f"{CDN}/tee-red.jpg?v=169", f"{CDN}/tee-back.jpg?v=169"),
        "attributes.color": "Red",
        "attributes.size": "L",
    },
    "00123": {
        "title": "Reef Mug",
        "category": "Mugs",
        "price": 9.5,
        "availability": "in_stock",
        "parent": None,
        "variant": None,
        "photos": (f"{CDN}/mug.jpg?v=169",),
    },
}

_WOOCOMMERCE_COLUMNS = (
    *("ID", "Type", "SKU", "GTIN, UPC, EAN, or ISBN", "Name", "Published", "Is featured?"),
    *("Visibility in catalog", "Short description", "Description", "Tax status", "In stock?"),
    *("Stock", "Backorders allowed?", "Sale price", "Regular price", "Categories", "Tags"),
    *("Images", "Parent", "Brands", "Attribute 1 name", "Attribute 1 value(s)"),
    *("Attribute 1 visible", "Attribute 1 global", "Attribute 2 name", "Attribute 2 value(s)"),
    *("Attribute 2 visible", "Attribute 2 global"),
)
_WOOCOMMERCE_ROWS: Sequence[Cells] = (
    {
        "ID": "10",
        "Type": "variable",
        "SKU": "KT",
        "Name": "Kelp Tee &amp; Co",
        "Published": "1",
        "Visibility in catalog": "visible",
        "Description": "<p>Soft, heavy cotton.</p>",
        "In stock?": "1",
        "Categories": "Clothing > Tshirts, Sale",
        "Tags": "summer, cotton",
        "Images": f"{CDN}/w_8,h_6/tee-blue.jpg, {CDN}/tee-back.jpg,",
        "Brands": "Kelp & Co",
        "Attribute 1 name": "Color",
        "Attribute 1 value(s)": "Blue, Red",
        "Attribute 2 name": "Size",
        "Attribute 2 value(s)": "M, L",
    },
    {
        "ID": "11",
        "Type": "variation",
        "SKU": "KT-BL-M",
        "GTIN, UPC, EAN, or ISBN": "0012345678905",
        "Name": "Kelp Tee & Co - Blue, M",
        "Published": "1",
        "In stock?": "1",
        "Stock": "4",
        "Sale price": "15",
        "Regular price": "19.00",
        "Parent": "KT",
        "Attribute 1 name": "Color",
        "Attribute 1 value(s)": "Blue",
        "Attribute 2 name": "Size",
        "Attribute 2 value(s)": "M",
    },
    {
        "ID": "12",
        "Type": "variation",
        "SKU": "KT-RD-L",
        "Name": "Kelp Tee & Co - Red, L",
        "Published": "1",
        "In stock?": "0",
        "Stock": "0",
        "Regular price": "21.00",
        "Images": f"{CDN}/tee-red.jpg",
        "Parent": "id:10",
        "Attribute 1 name": "Color",
        "Attribute 1 value(s)": "Red",
        "Attribute 2 name": "Size",
        "Attribute 2 value(s)": "L",
    },
    {
        "ID": "13",
        "Type": "simple, downloadable",
        "SKU": "RM-1",
        "Name": "Reef Mug",
        "Published": "1",
        "In stock?": "backorder",
        "Regular price": "9.50",
        "Categories": "Kitchen&gt;Mugs",
        "Images": f"{CDN}/mug.jpg",
    },
    {"ID": "14", "Type": "simple", "SKU": "OH-1", "Name": "Old Hat", "Published": "0"},
)
_WOOCOMMERCE_EXPECTED: Mapping[str, Mapping[str, Any]] = {
    "KT-BL-M": {
        "brand": "Kelp & Co",
        "category": "Clothing > Tshirts",
        "tags": ("summer", "cotton"),
        "price": 19.0,
        "sale_price": 15.0,
        "availability": "in_stock",
        "gtin": "0012345678905",
        "sku": "KT-BL-M",
        "parent": "KT",
        "variant": "Blue / M",
        "photos": (f"{CDN}/w_8,h_6/tee-blue.jpg", f"{CDN}/tee-back.jpg"),
        "attributes.color": "Blue",
        "attributes.stock": 4,
    },
    "KT-RD-L": {
        "category": "Clothing > Tshirts",
        "price": 21.0,
        "availability": "out_of_stock",
        "parent": "KT",
        "variant": "Red / L",
        "attributes.size": "L",
    },
    "RM-1": {
        "title": "Reef Mug",
        "category": "Kitchen > Mugs",
        "price": 9.5,
        "availability": "backorder",
        "parent": None,
        "photos": (f"{CDN}/mug.jpg",),
    },
}

FIXTURES = (
    FeedFixture(
        "google",
        "google",
        "merchant.tsv",
        table(_GOOGLE_COLUMNS, _GOOGLE_ROWS, delimiter="\t", encoding="utf-16"),
        _GOOGLE_EXPECTED,
        ("'on request'",),
    ),
    FeedFixture(
        "shopify",
        "shopify",
        "products_export_1.csv",
        table(_SHOPIFY_COLUMNS, _SHOPIFY_ROWS),
        _SHOPIFY_EXPECTED,
        ("'old-hat'",),
    ),
    FeedFixture(
        "woocommerce",
        "woocommerce",
        "wc-product-export.csv",
        table(_WOOCOMMERCE_COLUMNS, _WOOCOMMERCE_ROWS, encoding="utf-8-sig"),
        _WOOCOMMERCE_EXPECTED,
        ("'OH-1'",),
    ),
)
