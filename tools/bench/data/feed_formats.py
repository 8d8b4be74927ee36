"""Feeds of the made shop as shop systems export them: one writer for each format."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from indexer.core.category_path import format_path
from tools.bench.data import shop_systems
from tools.bench.data.feeds import MadeProduct, MadeVariant
from tools.bench.data.shop_systems import Row

CURRENCY = "EUR"
SHOP = "https://shop.example"


def write_feed(
    path: Path, form: str, products: Iterable[MadeProduct], *, photos: str = "photos"
) -> int:
    """Write ``products`` in a format of ``FORMATS``, or ``google-xml``; how many rows that took.

    ``photos`` stands before each photo's file name: a folder relative to the feed, or a URL without
    the slash at its end. Rows are written as they are made.
    """
    if form == "google-xml":
        return _write_xml(path, products, photos)
    columns, rows, delimiter, encoding, before = FORMATS[form]
    written = 0
    with path.open("w", newline="", encoding=encoding) as file:
        for line in before:
            file.write(line + "\n")
        out = csv.DictWriter(file, columns, restval="", delimiter=delimiter, lineterminator="\n")
        out.writeheader()
        for product in products:
            for row in rows(product, photos):
                out.writerow(row)
                written += 1
    return written


def _link(product: MadeProduct, variant: MadeVariant) -> str:
    return f"{SHOP}/p/{product.handle}?sku={variant.sku}"


def _money(amount: float) -> str:
    return f"{amount:.2f}"


def _selling(variant: MadeVariant) -> float:
    return variant.price if variant.sale_price is None else variant.sale_price


def _addresses(photos: str, names: Iterable[str]) -> list[str]:
    return [f"{photos}/{name}" for name in names]


def _title(product: MadeProduct, variant: MadeVariant) -> str:
    return f"{product.title}, {variant.name}" if len(product.variants) > 1 else product.title


def _group(product: MadeProduct) -> str:
    """The id of its parent; "" of a product without variants."""
    return product.handle if len(product.variants) > 1 else ""


_CATALENS = (
    *("product_id", "image", "title", "category", "tags", "url", "price", "sale_price"),
    *("currency", "availability", "brand", "gtin", "sku", "parent", "variant", "colour", "size"),
)


def _catalens(product: MadeProduct, photos: str) -> Iterator[Row]:
    for variant in product.variants:
        for address in _addresses(photos, variant.photos):
            yield {
                "product_id": variant.sku,
                "image": address,
                "title": _title(product, variant),
                "category": format_path(product.category),
                "tags": "|".join(product.tags),
                "url": _link(product, variant),
                "price": _money(variant.price),
                "sale_price": _money(variant.sale_price) if variant.sale_price else "",
                "currency": CURRENCY,
                "availability": "in_stock" if variant.stock else "out_of_stock",
                "brand": product.brand,
                "gtin": variant.gtin,
                "sku": variant.sku,
                "parent": _group(product),
                "variant": variant.name if len(product.variants) > 1 else "",
                "colour": variant.colour,
                "size": variant.size or "",
            }


_GOOGLE = (
    *("id", "title", "description", "link", "image_link", "additional_image_link"),
    *("availability", "price", "sale_price", "brand", "gtin", "mpn", "condition"),
    *("google_product_category", "product_type", "item_group_id", "color", "size", "material"),
)


def _google(product: MadeProduct, photos: str) -> Iterator[Row]:
    for variant in product.variants:
        addresses = _addresses(photos, variant.photos)
        yield {
            "id": variant.sku,
            "title": _title(product, variant),
            "description": product.text,
            "link": _link(product, variant),
            "image_link": addresses[0] if addresses else "",
            "additional_image_link": ",".join(addresses[1:]),
            "availability": "in_stock" if variant.stock else "out_of_stock",
            "price": f"{variant.price:.2f} {CURRENCY}",
            "sale_price": f"{variant.sale_price:.2f} {CURRENCY}" if variant.sale_price else "",
            "brand": product.brand,
            "gtin": variant.gtin,
            "mpn": f"{product.number:05d}",
            "condition": "new",
            "google_product_category": "212",
            "product_type": format_path(product.category),
            "item_group_id": _group(product),
            "color": variant.colour,
            "size": variant.size or "",
            "material": product.material,
        }


def _write_xml(path: Path, products: Iterable[MadeProduct], photos: str) -> int:
    written = 0
    with path.open("w", encoding="utf-8") as file:
        file.write(
            '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0" '
            'xmlns:g="http://base.google.com/ns/1.0"><channel><title>Made shop</title>\n'
        )
        for product in products:
            for row in _google(product, photos):
                further = row.pop("additional_image_link").split(",")
                cells = [*row.items(), *(("additional_image_link", one) for one in further)]
                inside = "".join(
                    f"<g:{name}>{escape(text)}</g:{name}>" for name, text in cells if text
                )
                file.write(f"<item>{inside}</item>\n")
                written += 1
        file.write("</channel></rss>\n")
    return written


_SHOPIFY = (
    *("Handle", "Title", "Body (HTML)", "Vendor", "Product Category", "Type", "Tags", "Published"),
    *("Option1 Name", "Option1 Value", "Option2 Name", "Option2 Value", "Option3 Name"),
    *("Option3 Value", "Variant SKU", "Variant Grams", "Variant Inventory Tracker"),
    *("Variant Inventory Qty", "Variant Inventory Policy", "Variant Fulfillment Service"),
    *("Variant Price", "Variant Compare At Price", "Variant Requires Shipping", "Variant Taxable"),
    *("Variant Barcode", "Image Src", "Image Position", "Image Alt Text", "Gift Card", "SEO Title"),
    *("SEO Description", "Variant Image", "Variant Weight Unit", "Cost per item", "Status"),
)


def _shopify(product: MadeProduct, photos: str) -> Iterator[Row]:
    addresses = _addresses(photos, product.photos)
    for place in range(max(len(product.variants), len(addresses))):
        row = {"Handle": product.handle}
        if place == 0:
            row |= {
                "Title": product.title,
                "Body (HTML)": product.markup,
                "Vendor": product.brand,
                "Product Category": format_path(product.category),
                "Type": product.category[-1],
                "Tags": ", ".join(product.tags),
                "Published": "true",
                "Gift Card": "false",
                "Status": "active",
            }
        if place < len(product.variants):
            row |= _shopify_variant(product, product.variants[place], photos, place == 0)
        if place < len(addresses):
            row |= {"Image Src": addresses[place], "Image Position": str(place + 1)}
        yield row


def _shopify_variant(product: MadeProduct, variant: MadeVariant, photos: str, first: bool) -> Row:
    single = len(product.variants) == 1
    row = {
        "Option1 Name": ("Title" if single else "Color") if first else "",
        "Option1 Value": "Default Title" if single else variant.colour,
        "Variant SKU": variant.sku,
        "Variant Grams": "180",
        "Variant Inventory Tracker": "shopify",
        "Variant Inventory Qty": str(variant.stock),
        "Variant Inventory Policy": "deny",
        "Variant Fulfillment Service": "manual",
        "Variant Price": _money(_selling(variant)),
        "Variant Compare At Price": _money(variant.price) if variant.sale_price else "",
        "Variant Requires Shipping": "true",
        "Variant Taxable": "true",
        "Variant Barcode": variant.gtin,
        "Variant Weight Unit": "g",
    }
    if variant.size and not single:
        row |= {"Option2 Name": "Size" if first else "", "Option2 Value": variant.size}
    if variant.photos and not single:
        row["Variant Image"] = f"{photos}/{variant.photos[0]}"
    return row


_SHOPIFY_2025 = {
    "Title": "Title",
    "URL handle": "Handle",
    "Description": "Body (HTML)",
    "Vendor": "Vendor",
    "Product category": "Product Category",
    "Type": "Type",
    "Tags": "Tags",
    "Published on online store": "Published",
    "Status": "Status",
    "SKU": "Variant SKU",
    "Barcode": "Variant Barcode",
    "Option1 name": "Option1 Name",
    "Option1 value": "Option1 Value",
    "Option1 Linked To": "",
    "Option2 name": "Option2 Name",
    "Option2 value": "Option2 Value",
    "Option2 Linked To": "",
    "Option3 name": "Option3 Name",
    "Option3 value": "Option3 Value",
    "Option3 Linked To": "",
    "Price": "Variant Price",
    "Compare-at price": "Variant Compare At Price",
    "Cost per item": "Cost per item",
    "Charge tax": "Variant Taxable",
    "Inventory tracker": "Variant Inventory Tracker",
    "Inventory quantity": "Variant Inventory Qty",
    "Continue selling when out of stock": "Variant Inventory Policy",
    "Weight value (grams)": "Variant Grams",
    "Weight unit for display": "Variant Weight Unit",
    "Requires shipping": "Variant Requires Shipping",
    "Fulfillment service": "Variant Fulfillment Service",
    "Product image URL": "Image Src",
    "Image position": "Image Position",
    "Image alt text": "Image Alt Text",
    "Variant image URL": "Variant Image",
    "Gift card": "Gift Card",
    "SEO title": "SEO Title",
    "SEO description": "SEO Description",
}


def _shopify_2025(product: MadeProduct, photos: str) -> Iterator[Row]:
    for row in _shopify(product, photos):
        yield {new: row.get(old, "") for new, old in _SHOPIFY_2025.items()}


_WOOCOMMERCE = (
    *("ID", "Type", "SKU", "GTIN, UPC, EAN, or ISBN", "Name", "Published", "Is featured?"),
    *("Visibility in catalog", "Short description", "Description", "Tax status", "In stock?"),
    *("Stock", "Backorders allowed?", "Sale price", "Regular price", "Categories", "Tags"),
    *("Images", "Parent", "Brands", "Position", "Attribute 1 name", "Attribute 1 value(s)"),
    *("Attribute 1 visible", "Attribute 1 global", "Attribute 2 name", "Attribute 2 value(s)"),
    *("Attribute 2 visible", "Attribute 2 global"),
)


def _woocommerce(product: MadeProduct, photos: str) -> Iterator[Row]:
    single = len(product.variants) == 1
    first = product.variants[0]
    row = {
        "ID": str(10_000 + product.number * 10),
        "Type": "simple" if single else "variable",
        "SKU": first.sku if single else product.handle,
        "Name": product.title,
        "Published": "1",
        "Is featured?": "0",
        "Visibility in catalog": "visible",
        "Description": product.markup,
        "Categories": format_path(product.category),
        "Tags": ", ".join(product.tags),
        "Images": ", ".join(_addresses(photos, product.photos)),
        "Brands": product.brand,
    }
    if single:
        yield row | _woocommerce_offer(first)
        return
    for number, (name, values) in enumerate(_options(product).items(), 1):
        row |= {
            f"Attribute {number} name": name,
            f"Attribute {number} value(s)": ", ".join(values),
            f"Attribute {number} visible": "1",
            f"Attribute {number} global": "1",
        }
    in_stock = any(variant.stock for variant in product.variants)
    yield row | {"In stock?": str(int(in_stock))}
    for place, variant in enumerate(product.variants, 1):
        child = {
            "ID": str(10_000 + product.number * 10 + place),
            "Type": "variation",
            "SKU": variant.sku,
            "Name": f"{product.title} - {variant.name.replace(' / ', ', ')}",
            "Published": "1",
            "Images": ", ".join(_addresses(photos, variant.photos[:1])),
            "Parent": product.handle,
            "Attribute 1 name": "Color",
            "Attribute 1 value(s)": variant.colour,
            "Attribute 1 global": "1",
        }
        if variant.size:
            child |= {
                "Attribute 2 name": "Size",
                "Attribute 2 value(s)": variant.size,
                "Attribute 2 global": "1",
            }
        yield child | _woocommerce_offer(variant)


def _woocommerce_offer(variant: MadeVariant) -> Row:
    return {
        "GTIN, UPC, EAN, or ISBN": variant.gtin,
        "Tax status": "taxable",
        "In stock?": "1" if variant.stock else "0",
        "Stock": str(variant.stock),
        "Backorders allowed?": "0",
        "Sale price": _money(variant.sale_price) if variant.sale_price else "",
        "Regular price": _money(variant.price),
    }


def _options(product: MadeProduct) -> dict[str, list[str]]:
    """Option name to the values that its variants have."""
    found: dict[str, dict[str, None]] = {"Color": {}, "Size": {}}
    for variant in product.variants:
        found["Color"][variant.colour] = None
        if variant.size:
            found["Size"][variant.size] = None
    return {name: list(values) for name, values in found.items() if values}


# Columns, rows of a product, delimiter, encoding, lines before the header.
Format = tuple[Sequence[str], Callable[[MadeProduct, str], Iterator[Row]], str, str, Sequence[str]]
FORMATS: dict[str, Format] = {
    "catalens": (_CATALENS, _catalens, ",", "utf-8", ()),
    "google": (_GOOGLE, _google, "\t", "utf-8", ()),
    "shopify": (_SHOPIFY, _shopify, ",", "utf-8", ()),
    "shopify-2025": (tuple(_SHOPIFY_2025), _shopify_2025, ",", "utf-8", ()),
    "woocommerce": (_WOOCOMMERCE, _woocommerce, ",", "utf-8-sig", ()),
    "magento": (shop_systems.MAGENTO, shop_systems.magento, ",", "utf-8", ()),
    "akeneo": (shop_systems.AKENEO, shop_systems.akeneo, ";", "utf-8", ()),
    "shopware": (shop_systems.SHOPWARE, shop_systems.shopware, ";", "utf-8", ()),
    "amazon": (
        shop_systems.AMAZON,
        shop_systems.amazon,
        "\t",
        "utf-8",
        shop_systems.AMAZON_ROWS,
    ),
    "medusa": (shop_systems.MEDUSA, shop_systems.medusa, ",", "utf-8", ()),
}
