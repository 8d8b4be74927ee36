"""Shopify's exports become variants with their product's words and photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from indexer.feeds import groups
from tests.indexer.feeds.feed_files import ReadFeed, photo_sources, read_feed_file, write_rows

CDN = "https://cdn.shop.example/files"
# Classic column to the one since 2025.
NEW = {
    "Handle": "URL handle",
    "Body (HTML)": "Description",
    "Product Category": "Product category",
    "Published": "Published on online store",
    "Option1 Name": "Option1 name",
    "Option1 Value": "Option1 value",
    "Option2 Name": "Option2 name",
    "Option2 Value": "Option2 value",
    "Variant SKU": "SKU",
    "Variant Barcode": "Barcode",
    "Variant Price": "Price",
    "Variant Compare At Price": "Compare-at price",
    "Variant Inventory Tracker": "Inventory tracker",
    "Variant Inventory Qty": "Inventory quantity",
    "Variant Inventory Policy": "Continue selling when out of stock",
    "Variant Grams": "Weight value (grams)",
    "Image Src": "Product image URL",
    "Image Position": "Image position",
    "Variant Image": "Variant image URL",
    "Gift Card": "Gift card",
}
# Renamed by hand to what the manifest of Catalens has.
BY_HAND = {
    "Handle": "product_id",
    "Title": "title",
    "Product Category": "category",
    "Tags": "tags",
    "Image Src": "image",
}


def rows() -> list[dict[str, str]]:
    """A tee in three variants and four photos, a mug, a draft, a gift card, a hidden cap."""
    tee = {"Handle": "kelp-tee"}
    return [
        {
            **tee,
            "Title": "Kelp Tee",
            "Body (HTML)": "<p>Soft &amp; heavy.<br>Wash cold.</p>",
            "Vendor": "Kelp & Co",
            "Product Category": "Apparel &amp; Accessories > Clothing > Shirts",
            "Type": "T-Shirts",
            "Tags": "summer, cotton , new-in,",
            "Published": "true",
            "Option1 Name": "Colour",
            "Option1 Value": "Blue",
            "Option2 Name": "Shoe Size (EU)",
            "Option2 Value": "M",
            "Variant SKU": "KT-BL-M",
            "Variant Grams": "180",
            "Variant Inventory Tracker": "shopify",
            "Variant Inventory Qty": "0",
            "Variant Inventory Policy": "deny",
            "Variant Price": "19.00",
            "Variant Compare At Price": "25.00",
            "Variant Barcode": "'0012345678905",
            "Image Src": f"{CDN}/tee-back.jpg?v=1",
            "Image Position": "2",
            "Gift Card": "false",
            "Variant Image": f"{CDN}/tee-blue.jpg?v=1",
            "Status": "active",
            "Price / International": "22.00",
            "Pattern (product.metafields.shopify.pattern)": "striped; checked",
        },
        {
            **tee,
            "Option1 Value": "Red",
            "Option2 Value": "L",
            "Variant SKU": "",
            "Variant Inventory Tracker": "shopify",
            "Variant Inventory Qty": "0",
            "Variant Inventory Policy": "continue",
            "Variant Price": "21.00",
            "Image Src": f"{CDN}/tee-front.jpg?v=1",
            "Image Position": "1",
            "Variant Image": f"{CDN}/tee-red.jpg?v=1",
        },
        {
            **tee,
            "Option1 Value": "Red",
            "Option2 Value": "XL",
            "Variant SKU": "KT-BL-M",
            "Variant Price": "21.00",
            "Image Src": f"{CDN}/tee-red.jpg?v=2",
            "Image Position": "3",
        },
        {**tee, "Image Src": f"{CDN}/tee-blue.jpg?v=1", "Image Position": "4"},
        {
            "Handle": "mug",
            "Title": "Mug",
            "Type": "Mugs",
            "Published": "true",
            "Option1 Name": "Title",
            "Option1 Value": "Default Title",
            "Variant Inventory Qty": "12",
            "Variant Price": "9.50",
            "Image Src": f"{CDN}/mug.jpg",
            "Status": "active",
        },
        {"Handle": "draft", "Title": "Draft", "Variant SKU": "D", "Status": "draft"},
        {"Handle": "gift", "Title": "Gift", "Variant SKU": "G", "Gift Card": "true"},
        {"Handle": "cap", "Title": "Cap", "Variant SKU": "C", "Published": "FALSE"},
    ]


def read(tmp_path: Path, names: dict[str, str], drop: Sequence[str] = ()) -> ReadFeed:
    renamed = [
        {names.get(name, name): cell for name, cell in row.items() if name not in drop}
        for row in rows()
    ]
    return read_feed_file(write_rows(tmp_path / "products_export.csv", renamed))


@pytest.mark.parametrize("names", [{}, NEW, BY_HAND], ids=["classic", "2025", "by hand"])
def test_every_field(tmp_path: Path, names: dict[str, str]) -> None:
    """Ids, options, prices, stock and photos of each variant, in old, new and renamed columns."""
    feed = read(tmp_path, names)
    assert feed.detection.profile.name == "shopify"
    assert feed.ids == ["KT-BL-M", "kelp-tee/Red/L", "kelp-tee/Red/XL", "mug"]
    blue, red, repeated, mug = feed.products
    for variant in (blue, red, repeated):
        assert (variant.title, variant.fields.brand, variant.fields.parent) == (
            "Kelp Tee",
            "Kelp & Co",
            "kelp-tee",
        )
        assert variant.category == ("Apparel & Accessories", "Clothing", "Shirts")
        assert variant.tags == ("summer", "cotton", "new-in")
        assert variant.attributes["description"] == "Soft & heavy.\nWash cold."
        assert variant.attributes["product_type"] == "T-Shirts"
        assert variant.attributes["pattern"] == ["striped", "checked"]
    assert (blue.fields.price, blue.fields.sale_price, blue.fields.currency) == (25.0, 19.0, None)
    assert blue.fields.prices == {"International": {"price": 22.0}}
    assert (blue.fields.gtin, blue.fields.sku) == ("0012345678905", "KT-BL-M")
    assert (red.fields.price, red.fields.sale_price, red.fields.sku) == (21.0, None, None)
    assert [one.fields.variant for one in feed.products] == [
        "Blue / M",
        "Red / L",
        "Red / XL",
        None,
    ]
    assert (red.attributes["colour"], red.attributes["shoe_size_eu"]) == ("Red", "L")
    assert [one.fields.availability for one in feed.products] == [
        "out_of_stock",
        "backorder",
        "in_stock",
        "in_stock",
    ]
    assert (blue.attributes["stock"], mug.attributes["stock"]) == (0, 12)
    assert (mug.fields.parent, mug.category, mug.fields.price) == (None, ("Mugs",), 9.5)
    assert set(mug.attributes) == {"product_type", "stock"}


def test_photos_of_variants(tmp_path: Path) -> None:
    """A variant's own photo, then those of the product that are no other variant's, in order."""
    feed = read(tmp_path, {})
    assert [photo_sources(one) for one in feed.products] == [
        [f"{CDN}/tee-blue.jpg?v=1", f"{CDN}/tee-front.jpg?v=1", f"{CDN}/tee-back.jpg?v=1"],
        [f"{CDN}/tee-red.jpg?v=1", f"{CDN}/tee-front.jpg?v=1", f"{CDN}/tee-back.jpg?v=1"],
        [f"{CDN}/tee-front.jpg?v=1", f"{CDN}/tee-back.jpg?v=1"],
        [f"{CDN}/mug.jpg"],
    ]


def test_what_is_not_for_sale_is_told(tmp_path: Path) -> None:
    """Drafts, gift cards and unpublished products are left out with their reason; the id that was
    named twice is told."""
    feed = read(tmp_path, {})
    assert [(note.where, note.code, note.value) for note in feed.skipped] == [
        ("products_export.csv:7", "not-for-sale", "draft"),
        ("products_export.csv:8", "not-for-sale", "gift"),
        ("products_export.csv:9", "not-for-sale", "cap"),
    ]
    assert [(note.where, note.code, note.value) for note in feed.warnings] == [
        ("products_export.csv:2", "no-currency", "19.00"),
        ("products_export.csv:4", "repeated-id", "KT-BL-M"),
    ]


def test_prices_alone_are_partial(tmp_path: Path) -> None:
    """Without photos the same ids carry only what stands there."""
    feed = read(tmp_path, {}, ["Title", "Image Src", "Variant Image", "Image Position"])
    assert feed.detection.profile.name == "shopify"
    assert (feed["KT-BL-M"].partial, feed["KT-BL-M"].fields.price) == (True, 25.0)


def test_an_sku_of_two_products(tmp_path: Path) -> None:
    """The first keeps it, wherever the second stands; rows without a handle follow their title."""
    same = {"Vendor": "V", "Variant SKU": "S-1", "Variant Price": "1"}
    path = write_rows(
        tmp_path / "feed.csv",
        [
            {"Handle": "a", "Title": "A", **same, "Option1 Value": "Default Title"},
            {"Handle": "b", "Title": "B", **same, "Option1 Value": "Default Title"},
            {"Handle": "", "Title": "C", **same, "Variant SKU": "S-3", "Image Src": "1.jpg"},
            {"Handle": "", "Title": "", "Image Src": "2.jpg"},
        ],
    )
    feed = read_feed_file(path)
    assert feed.ids == ["S-1", "b", "S-3"]
    assert photo_sources(feed["S-3"]) == ["1.jpg", "2.jpg"]
    assert [(note.where, note.code) for note in feed.warnings] == [
        ("feed.csv:2", "no-currency"),
        ("feed.csv:3", "repeated-id"),
    ]


def test_stock_that_nobody_tracks(tmp_path: Path) -> None:
    """Where no row says who counts, counts decide if there are any; where all are nought, none
    does."""
    rows = [
        {"Handle": "a", "Title": "A", "Vendor": "V", "Variant Price": "1"},
        {"Handle": "b", "Title": "B", "Vendor": "V", "Variant Price": "1"},
    ]
    for first, kinds in (("3", ["in_stock", "out_of_stock"]), ("0", ["in_stock", "in_stock"])):
        for row, count in zip(rows, [first, "0"], strict=True):
            row |= {"Variant Inventory Qty": count, "Variant Inventory Tracker": ""}
        feed = read_feed_file(write_rows(tmp_path / f"{first}.csv", rows))
        assert [one.fields.availability for one in feed.products] == kinds


def test_metafields_and_tools_of_others(tmp_path: Path) -> None:
    """A variant's metafields are its own; Matrixify's stock, metafields and cells with several
    photos are read."""
    row = {"Handle": "ring", "Vendor": "V", "Variant Price": "1", "Option1 Name": "Size"}
    path = write_rows(
        tmp_path / "feed.csv",
        [
            {
                **row,
                "Title": "Ring",
                "Option1 Value": "S",
                "Image Src": f"{CDN}/1.jpg;{CDN}/2.jpg",
                "Width (variant.metafields.custom.width)": "52",
                "Metafield: custom.metal [single_line_text_field]": "gold",
                "Inventory Available: Main": "3",
                "Command": "MERGE",
            },
            {**row, "Option1 Value": "M", "Inventory Available: Main": "0"},
        ],
    )
    small, medium = read_feed_file(path).products
    assert photo_sources(small) == photo_sources(medium) == [f"{CDN}/1.jpg", f"{CDN}/2.jpg"]
    assert (small.fields.availability, medium.fields.availability) == ("in_stock", "out_of_stock")
    assert small.attributes == {"custom_metal": "gold", "width": "52", "size": "S", "stock": 3}
    assert medium.attributes == {"custom_metal": "gold", "size": "M", "stock": 0}


def test_photos_that_many_variants_share_have_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variants times photos is bounded: each has the first ones, and that is told once."""
    monkeypatch.setattr(groups, "_MOST_SHARED", 12)
    many = [
        {
            "Handle": "tee",
            "Title": "Tee",
            "Option1 Name": "Size",
            "Option1 Value": str(n),
            "Variant SKU": f"S{n}",
            "Variant Price": "9.00",
            "Image Src": f"{CDN}/{n}.jpg",
        }
        for n in range(6)
    ]
    feed = read_feed_file(write_rows(tmp_path / "products_export.csv", many))
    assert [photo_sources(one) for one in feed.products] == 6 * [[f"{CDN}/0.jpg", f"{CDN}/1.jpg"]]
    told = [note for note in feed.warnings if note.code == "too-many-photos"]
    assert [note.where for note in told] == ["products_export.csv:4"]
    assert "6 variants and 6 photos; each has its own and the first 2" in told[0].reason
