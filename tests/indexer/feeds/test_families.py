"""WooCommerce's export becomes variations with what their variable product says."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.feeds.product_reader import ProductReader
from indexer.feeds.row_values import RowValues
from tests.indexer.feeds.feed_files import photo_sources, read_feed_file, write_rows

CDN = "https://shop.example/wp-content"


def common(number: str, kind: str, sku: str, name: str) -> dict[str, str]:
    return {
        "ID": number,
        "Type": kind,
        "SKU": sku,
        "Name": name,
        "Published": "1",
        "Is featured?": "0",
        "Visibility in catalog": "visible",
        "Tax status": "taxable",
    }


def test_every_field(tmp_path: Path) -> None:
    """Variations get title, category, tags and photos of their parent, and keep what is theirs."""
    path = write_rows(
        tmp_path / "wc-product-export.csv",
        [
            common("13", "variation", "KT-R", "Kelp Tee - Red")
            | {
                "In stock?": "1",
                "Stock": "parent",
                "Sale price": "15,00",
                "Regular price": "19,90",
                "Images": f"{CDN}/red.jpg",
                "Parent": "id:12",
                "Attribute 1 name": "Color",
                "Attribute 1 value(s)": "Red",
                "GTIN, UPC, EAN, or ISBN": "'0012345678905",
            },
            common("12", "variable", "", "Kelp Tee")
            | {
                "Short description": "short",
                "Description": "<p>Soft</p>",
                "In stock?": "1",
                "Stock": "7",
                "Categories": r"Clothing&gt;Caps\, Hats, Clothing > Caps\, Hats > Flat, Sale,",
                "Tags": r"summer, big\, bold,",
                "Images": f"{CDN}/w_2,h_3/a.jpg, {CDN}/b.jpg, {CDN}/red.jpg,",
                "Brands": "Kelp",
                "Attribute 1 name": "Color",
                "Attribute 1 value(s)": "Red, Blue",
                "Attribute 1 visible": "1",
                "Attribute 2 name": "Material",
                "Attribute 2 value(s)": "Cotton, Wool",
                "Attribute 3 name": "Brand",
                "Attribute 3 value(s)": "not this",
                "Meta: _price_seen": "3",
                "Weight (kg)": "0,2",
            },
            common("14", "variation", "", "")
            | {
                "In stock?": "0",
                "Stock": "0",
                "Regular price": "19,90",
                "Parent": "id:12",
                "Attribute 1 name": "Color",
                "Attribute 1 value(s)": "Blue",
            },
        ],
    )
    feed = read_feed_file(path)
    assert feed.detection.profile.name == "woocommerce"
    red, blue = feed.products
    assert (red.product_id, red.title, blue.product_id, blue.title) == (
        "KT-R",
        "Kelp Tee - Red",
        "14",
        "Kelp Tee",
    )
    for variation, variant in ((red, "Red"), (blue, "Blue")):
        assert variation.category == ("Clothing", "Caps, Hats", "Flat")
        assert variation.tags == ("summer", "big, bold")
        assert (variation.fields.parent, variation.fields.variant) == ("12", variant)
        assert variation.fields.brand == "Kelp"
        assert variation.attributes["color"] == variant
        assert variation.attributes["material"] == ["Cotton", "Wool"]
        assert variation.attributes["other_categories"] == ["Sale"]
        assert (variation.attributes["description"], variation.attributes["weight"]) == (
            "Soft",
            0.2,
        )
        assert "meta_price_seen" not in variation.attributes
    assert (red.fields.price, red.fields.sale_price) == (19.9, 15.0)
    assert (red.fields.gtin, red.fields.sku, blue.fields.sku) == ("0012345678905", "KT-R", None)
    assert (red.fields.availability, blue.fields.availability) == ("in_stock", "out_of_stock")
    assert (blue.attributes["stock"], "stock" in red.attributes) == (0, False)
    assert photo_sources(red) == [f"{CDN}/red.jpg", f"{CDN}/w_2,h_3/a.jpg", f"{CDN}/b.jpg"]
    assert photo_sources(blue) == [f"{CDN}/w_2,h_3/a.jpg", f"{CDN}/b.jpg"]
    assert (feed.codes, feed.skipped) == (["no-currency"], [])


def test_parents_that_are_missing_or_none(tmp_path: Path) -> None:
    """A variation keeps what it names; one that names itself or nothing stands alone; a variable
    product without variations is a product; what is not published is left out with its children."""
    rows = [
        common("1", "variation", "A-1", "A") | {"Parent": "GONE"},
        common("2", "variation", "A-2", "A") | {"Parent": "GONE"},
        common("3", "variation", "B", "B") | {"Parent": "B"},
        common("4", "variation", "C", "C"),
        common("5", "variable", "D", "D"),
        common("6", "simple, virtual", "'0042", "E") | {"Attribute 1 name": "Color"},
        common("7", "variable", "F", "F") | {"Published": "-1"},
        common("8", "variation", "F-1", "F") | {"Parent": "F"},
        common("9", "simple", "'0042", "G"),
        common("10", "simple", "H", "H") | {"Visibility in catalog": "hidden"},
        common("11", "simple", "A-1", "I"),
        common("12", "simple", "A-1", "J"),
        common("13", "variable", "K", "K"),
        common("14", "variation", "K", "K") | {"Parent": "K", "Attribute 1 value(s)": "Red"},
    ]
    feed = read_feed_file(write_rows(tmp_path / "feed.csv", rows))
    assert [(one.product_id, one.fields.parent) for one in feed.products] == [
        ("A-1", "GONE"),
        ("A-2", "GONE"),
        ("B", None),
        ("C", None),
        ("D", None),
        ("0042", None),
        ("0042#2", None),
        ("A-1#2", None),
        ("A-1#3", None),
        ("K", "K"),
    ]
    assert [(note.where, note.code) for note in feed.warnings] == [
        ("feed.csv:2", "parent-missing"),
        ("feed.csv:4", "own-parent"),
        ("feed.csv:5", "parent-missing"),
        ("feed.csv:10", "repeated-id"),
        ("feed.csv:12", "repeated-id"),
        ("feed.csv:13", "repeated-id"),
    ]
    assert [(note.where, note.value) for note in feed.skipped] == [
        ("feed.csv:8", "F"),
        ("feed.csv:11", "H"),
    ]


def test_stock_alone_is_partial(tmp_path: Path) -> None:
    """An export of some columns changes only those."""
    rows = [{"SKU": "A", "In stock?": "0", "Regular price": "9"}]
    feed = read_feed_file(write_rows(tmp_path / "feed.csv", rows))
    assert feed.detection.profile.name == "woocommerce"
    assert (feed["A"].partial, feed["A"].fields.availability) == (True, "out_of_stock")


def test_columns_in_the_shops_language(tmp_path: Path) -> None:
    """WooCommerce names its columns in the language of the shop; the words for kinds stay."""
    shared = {
        "Veröffentlicht": "1",
        "Sichtbarkeit im Katalog": "visible",
        "Steuerstatus": "taxable",
    }
    path = write_rows(
        tmp_path / "produkte.csv",
        [
            {
                "ID": "12",
                "Typ": "variable",
                "Artikelnummer": "KT",
                "Name": "Kelp Tee",
                "Kategorien": "Kleidung > Shirts",
                "Bilder": "a.jpg",
                "Attribut 1 Name": "Farbe",
                "Attribut 1 Wert(e)": "Rot, Blau",
            }
            | shared,
            {
                "ID": "13",
                "Typ": "variation",
                "Artikelnummer": "KT-R",
                "Name": "Kelp Tee - Rot",
                "Vorrätig?": "0",
                "Regulärer Preis": "19,90",
                "Übergeordnetes Produkt": "KT",
                "Attribut 1 Name": "Farbe",
                "Attribut 1 Wert(e)": "Rot, dunkel",
            }
            | shared,
        ],
    )
    feed = read_feed_file(path)
    assert (feed.detection.profile.name, feed.ids) == ("woocommerce", ["KT-R"])
    red = feed["KT-R"]
    assert (red.category, red.fields.price, red.fields.availability) == (
        ("Kleidung", "Shirts"),
        19.9,
        "out_of_stock",
    )
    assert (red.fields.parent, red.fields.variant) == ("KT", "Rot, dunkel")
    assert red.attributes == {"farbe": "Rot, dunkel"}
    assert photo_sources(red) == ["a.jpg"]


def test_several_values_and_dates_of_magento(tmp_path: Path) -> None:
    """Values that a bar parts are a list, of bars alone none; the days of a special price are kept
    beside it, and not where there is none."""
    row = {"attribute_set_code": "Bag", "product_type": "simple", "base_image": "/b.jpg"}
    dates = {"special_price_from_date": "1/1/26", "special_price_to_date": "2/1/26, 12:00 AM"}
    path = write_rows(
        tmp_path / "feed.csv",
        [
            {
                **row,
                **dates,
                "sku": "A",
                "price": "9",
                "special_price": "5",
                "additional_attributes": "activity=Gym|Hike,price=high,size=|",
            },
            {**row, **dates, "sku": "B", "price": "9"},
        ],
    )
    feed = read_feed_file(path)
    assert feed["A"].attributes == {
        "attribute_set": "Bag",
        "activity": ["Gym", "Hike"],
        "price_value": "high",
        "sale_price_from": "2026-01-01T00:00:00+00:00",
        "sale_price_until": "2026-02-01T23:59:59+00:00",
    }
    assert feed["B"].attributes == {"attribute_set": "Bag"}
    assert feed.reader.types["sale_price_until"] == "datetime"


def test_an_asin_is_no_gtin(tmp_path: Path) -> None:
    rows = [
        {"item_sku": "1", "item_name": "Shoe", "external_product_id": "B00ABCDEF1"},
        {"item_sku": "2", "item_name": "Shoe", "external_product_id": "4006381333931"},
    ]
    feed = read_feed_file(write_rows(tmp_path / "feed.csv", rows))
    assert (feed["1"].fields.gtin, feed["1"].attributes) == (None, {"asin": "B00ABCDEF1"})
    assert (feed["2"].fields.gtin, feed["2"].attributes) == ("4006381333931", {})


def test_views_are_found_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that names a variant in one store view finds it without a look at all the others:
    twice the rows ask for twice the ids."""
    asked = 0
    own_id = ProductReader._own_id

    def count(reader: ProductReader, row: RowValues) -> str | None:
        nonlocal asked
        asked += 1
        return own_id(reader, row)

    monkeypatch.setattr(ProductReader, "_own_id", count)
    costs = []
    for variants in (30, 60):
        names = [f"S{n}" for n in range(variants)]
        listed = "|".join(f"sku={name},size={name}" for name in names)
        shared = {"price": "5", "base_image": "a.jpg", "product_type": "simple", "name": "Mug"}
        parent = {"sku": "P", "configurable_variations": listed, "product_type": "configurable"}
        rows = [shared | parent]
        rows += [shared | {"sku": name} for name in names]
        rows += [{"sku": name, "store_view_code": "de", "name": f"Tasse {name}"} for name in names]
        asked = 0
        feed = read_feed_file(write_rows(tmp_path / "magento.csv", rows))
        costs.append(asked)
        assert [one.fields.titles["de"] for one in feed.products] == [f"Tasse {n}" for n in names]
    assert costs[1] < 2.2 * costs[0]
