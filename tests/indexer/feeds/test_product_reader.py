"""Rows of feeds become the products that their profile promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.feeds import assembly
from indexer.feeds.product_reader import ProductReader
from indexer.feeds.profile import load_profile
from indexer.feeds.reader import open_table
from indexer.feeds.table import LostLines
from tests.indexer.feeds.feed_files import photo_sources, read_feed_file, write_rows


def test_manifest_keeps_columns_and_fills_fields(tmp_path: Path) -> None:
    """A column that a page needs is a field and stays an attribute; others are attributes."""
    path = write_rows(
        tmp_path / "feed.csv",
        [
            {
                "product_id": " A-1 ",
                "image": "a.jpg",
                "title": "Mug",
                "category": "Home>Kitchen&gt; Mugs >",
                "tags": "red| |blue |red",
                "split": "Val",
                "price": "1.299,00 €",
                "gtin": "'0012345678905",
                "availability": "ausverkauft",
                "url": "https://shop.example/mug",
                "parent": "A",
                "variant": "Red",
                "title_de": "Becher",
                "firmware": "1.10",
            }
        ],
    )
    feed = read_feed_file(path)
    assert feed.detection.profile.name == "catalens"
    product = feed["A-1"]
    assert (product.title, product.category, product.tags) == (
        "Mug",
        ("Home", "Kitchen", "Mugs"),
        ("red", "blue"),
    )
    assert product.split == "validation"
    fields = product.fields
    assert (fields.price, fields.currency) == (1299.0, "EUR")
    assert (fields.gtin, fields.availability) == ("0012345678905", "out_of_stock")
    assert (fields.url, fields.parent, fields.variant) == ("https://shop.example/mug", "A", "Red")
    assert fields.titles == {"de": "Becher"}
    assert product.attributes == {
        "price": 1299,
        "gtin": "0012345678905",
        "availability": "ausverkauft",
        "url": "https://shop.example/mug",
        "parent": "A",
        "variant": "Red",
        "title_de": "Becher",
        "firmware": "1.10",
    }
    assert feed.reader.types == {
        "price": "number",
        "gtin": "string",
        "parent": "string",
        "firmware": "string",
    }
    assert (feed.warnings, feed.skipped, product.partial) == ([], [], False)


def test_rows_of_one_id_are_one_product(tmp_path: Path) -> None:
    """The first present value holds, one that differs is told with its line, all photos stay."""
    path = write_rows(
        tmp_path / "feed.csv",
        [
            {"product_id": "1", "image": "a.jpg", "title": "", "tags": "", "colour": "red"},
            {"product_id": "2", "image": "x.jpg", "title": "Other", "tags": "", "colour": ""},
            {"product_id": "1", "image": "b.jpg", "title": "First", "tags": "t", "colour": ""},
            {"product_id": "1", "image": "a.jpg", "title": "Second", "tags": "", "colour": "blue"},
        ],
    )
    feed = read_feed_file(path)
    assert feed.ids == ["1", "2"]
    first = feed["1"]
    assert [(photo.where, photo.source) for photo in first.photos] == [
        ("feed.csv:2", "a.jpg"),
        ("feed.csv:4", "b.jpg"),
        ("feed.csv:5", "a.jpg"),
    ]
    assert (first.title, first.tags, first.attributes) == ("First", ("t",), {"colour": "red"})
    assert [(note.where, note.column, note.value) for note in feed.warnings] == [
        ("feed.csv:5", "title", "Second"),
        ("feed.csv:5", "colour", "blue"),
    ]


def test_photos_of_one_product_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many photos the first are read, and that is told by name; one that many rows name is
    there once."""
    monkeypatch.setattr(assembly, "MOST_PHOTOS", 150)
    rows = [{"product_id": "1", "image": f"{n // 2}.jpg"} for n in range(302)]
    feed = read_feed_file(write_rows(tmp_path / "feed.csv", rows))
    assert photo_sources(feed["1"]) == [f"{n}.jpg" for n in range(150)]
    assert [(note.where, note.code) for note in feed.warnings] == [
        ("feed.csv:302", "too-many-photos")
    ]
    assert "product '1' names 151 photos; the first 150 are read" in feed.warnings[0].reason
    assert len(read_feed_file(write_rows(tmp_path / "f.csv", rows[:300]))["1"].photos) == 150


def test_splits_that_differ_are_kept_for_training(tmp_path: Path) -> None:
    """A product whose rows name several splits is known as torn, in the order of the splits."""
    rows = [
        {"product_id": "1", "image": f"{n}.jpg", "split": s}
        for n, s in enumerate(["test", "train"])
    ]
    feed = read_feed_file(write_rows(tmp_path / "feed.csv", rows))
    assert feed["1"].split == "test"
    assert feed.reader.torn == {"1": ("train", "test")}
    assert feed.codes == ["conflict"]


def test_default_ids_come_from_photos(tmp_path: Path) -> None:
    """The path without its extension, which stays where two would be one; a given id joins it."""
    rows = [
        {"image": "./i/a.jpg", "product_id": ""},
        {"image": f"{tmp_path}/i/b.jpg", "product_id": ""},
        {"image": "i\\b.png", "product_id": ""},
        {"image": "i/b.png.gif", "product_id": ""},
        {"image": "i/c.jpg", "product_id": "i/a"},
        {"image": "https://cdn.example/p/d.jpg?v=1", "product_id": ""},
        {"image": "", "product_id": ""},
    ]
    feed = read_feed_file(write_rows(tmp_path / "feed.csv", rows))
    assert feed.ids == ["i/a", "i/b.jpg", "i/b.png", "i/b.png.gif", "cdn.example/p/d"]
    assert photo_sources(feed["i/a"]) == ["./i/a.jpg", "i/c.jpg"]
    assert [(note.where, note.code) for note in feed.skipped] == [("feed.csv:8", "no-id")]


def test_several_photos_in_one_cell(tmp_path: Path) -> None:
    """Commas part photos, but not addresses and names that hold one."""
    rows = [
        {"product_id": "1", "image": "a.jpg,b.jpg"},
        {"product_id": "2", "image": "https://x.example/w_2,h_3/a.jpg, //x.example/b.jpg,"},
        {"product_id": "3", "image": "tee, red.jpg"},
    ]
    feed = read_feed_file(write_rows(tmp_path / "feed.csv", rows))
    assert [photo_sources(product) for product in feed.products] == [
        ["a.jpg", "b.jpg"],
        ["https://x.example/w_2,h_3/a.jpg", "https://x.example/b.jpg"],
        ["tee, red.jpg"],
    ]


def test_an_odd_value_costs_itself(tmp_path: Path) -> None:
    """Price, split and availability that say nothing are named with line, column and value."""
    rows = [
        {"product_id": "1", "image": "a.jpg", "price": "19.90", "availability": "yes", "split": ""},
        {"product_id": "2", "image": "b.jpg", "price": "ask us", "availability": "?", "split": "x"},
        {"product_id": "..", "image": "c.jpg", "price": "1", "availability": "", "split": ""},
    ]
    feed = read_feed_file(write_rows(tmp_path / "feed.csv", rows))
    assert feed.ids == ["1", "2"]
    assert sorted((note.where, note.column or "", note.value) for note in feed.warnings) == [
        ("feed.csv:3", "availability", "?"),
        ("feed.csv:3", "price", "ask us"),
        ("feed.csv:3", "split", "x"),
    ]
    assert [(note.where, note.value) for note in feed.skipped] == [("feed.csv:4", "..")]
    assert feed.reader.lost_ids == {".."}
    assert feed["2"].attributes == {"availability": "?"}


def test_a_price_list_is_partial(tmp_path: Path) -> None:
    """A feed without photos only says what it says."""
    rows = [{"product_id": "1", "price": "12,90", "stock": "0"}]
    feed = read_feed_file(write_rows(tmp_path / "prices.csv", rows, ";"))
    product = feed["1"]
    assert (product.partial, product.title, product.photos) == (True, None, ())
    assert (product.fields.price, product.fields.availability) == (12.9, "out_of_stock")


def test_google_rows_are_products(tmp_path: Path) -> None:
    """Fields, photos in order, category by name, variants of one group."""
    rows = [
        {
            "id": "KT-1",
            "title": "Kelp Tee &amp; Top",
            "description": "<p>Soft<br>heavy</p>",
            "link": "https://shop.example/kt",
            "image_link": "https://x.example/1.jpg",
            "additional_image_link": "https://x.example/a,b.jpg,https://x.example/2.jpg",
            "availability": "out of stock",
            "price": "19.00 EUR",
            "sale_price": "15.00 EUR",
            "brand": "Kelp",
            "gtin": "0012345678905",
            "mpn": "12E4",
            "google_product_category": "212",
            "product_type": "Men > Tees",
            "item_group_id": "KT",
            "color": "blue",
            "size": "042",
            "shipping": "DE::Standard:4.90 EUR",
            "custom_label_0": "autumn",
        },
        {
            "id": "RM-1",
            "title": "Mug",
            "image_link": "https://x.example/3.jpg",
            "availability": "preorder",
            "price": "9.50 XYZ",
            "google_product_category": "674",
        },
        {"id": "KT-1", "title": "Kelp Tee", "item_group_id": "KT", "color": "red", "size": "M"},
        {"id": "RM-1", "title": "Mug again"},
        {"id": "", "title": "Nothing"},
    ]
    feed = read_feed_file(write_rows(tmp_path / "google.tsv", rows, "\t"))
    assert feed.detection.profile.name == "google"
    assert feed.ids == ["KT-1", "KT/red/M", "RM-1"]
    tee = feed["KT-1"]
    assert (tee.title, tee.category) == ("Kelp Tee & Top", ("Men", "Tees"))
    assert photo_sources(tee) == [
        "https://x.example/1.jpg",
        "https://x.example/a,b.jpg",
        "https://x.example/2.jpg",
    ]
    fields = tee.fields
    assert (fields.price, fields.sale_price, fields.currency) == (19.0, 15.0, "EUR")
    assert (fields.availability, fields.brand, fields.gtin) == (
        "out_of_stock",
        "Kelp",
        "0012345678905",
    )
    assert (fields.parent, fields.variant, fields.url) == (
        "KT",
        "blue / 042",
        "https://shop.example/kt",
    )
    assert tee.attributes == {
        "color": "blue",
        "size": "042",
        "mpn": "12E4",
        "description": "Soft\nheavy",
        "google_product_category": "212",
        "product_type": "Men > Tees",
        "custom_label_0": "autumn",
    }
    mug = feed["RM-1"]
    assert (mug.category, mug.fields.price, mug.fields.currency) == (None, 9.5, None)
    assert feed.codes == ["repeated-id", "odd-currency", "vendor-number"]
    assert feed.warnings[2].column == "google_product_category"
    assert [(note.where, note.code) for note in feed.skipped] == [
        ("google.tsv:5", "repeated-id"),
        ("google.tsv:6", "no-id"),
    ]


def test_a_sale_price_above_the_price_names_its_cell(tmp_path: Path) -> None:
    """Line, column and value as they stand in the feed."""
    rows = [
        {"id": "1", "image_link": "a", "title": "t", "price": "19 EUR", "sale_price": "25,00 €"}
    ]
    feed = read_feed_file(write_rows(tmp_path / "g.csv", rows, ";"), "google")
    (said,) = feed.warnings
    assert (said.where, said.code) == ("g.csv:2", "odd-sale-price")
    assert (said.column, said.value) == ("sale_price", "25,00 €")


def test_supplemental_feed_is_partial(tmp_path: Path) -> None:
    """An id and a price are Google's when nothing else stands there."""
    rows = [{"id": "KT-1", "sale_price": "9 EUR", "custom_label_0": "x"}]
    feed = read_feed_file(write_rows(tmp_path / "more.tsv", rows, "\t"))
    assert (feed.detection.profile.name, feed["KT-1"].partial) == ("google", True)
    fields = feed["KT-1"].fields
    assert (fields.price, fields.sale_price, fields.currency) == (None, 9.0, "EUR")


def test_cells_that_a_shop_made_harmless_are_read_as_they_were(tmp_path: Path) -> None:
    """WooCommerce writes a quote before a formula, and a backslash and n for a line break."""
    described = r"<p>Warm</p>\n100% wool\nC:\\new"
    row = {"Type": "simple", "SKU": "cap", "Name": "'-50% Cap", "Description": described}
    row |= {"Published": "1", "In stock?": "1", "Categories": "'+Size", "Images": "a.jpg"}
    cap = read_feed_file(write_rows(tmp_path / "woo.csv", [row]))["cap"]
    assert (cap.title, cap.category) == ("-50% Cap", ("+Size",))
    assert cap.attributes == {"description": "Warm\n100% wool C:\\new"}


@pytest.mark.parametrize(
    ("cells", "stock"),
    [
        (["1,234", "12"], [1234, 12]),
        (["1.234", "2.000"], [1234, 2000]),
        (["3.000", "12.000"], [3, 12]),
        (["1.234", "0.500", "7"], [1.234, 0.5, 7]),
        (["1,234,567"], [1234567]),
    ],
)
def test_thousands_of_a_count_are_no_decimals(
    tmp_path: Path, cells: list[str], stock: list[float]
) -> None:
    """What a column's other values say decides."""
    rows = [
        {"id": str(n), "image_link": "a", "title": "t", "quantity": c} for n, c in enumerate(cells)
    ]
    feed = read_feed_file(write_rows(tmp_path / "g.csv", rows), "google")
    assert [product.attributes["stock"] for product in feed.products] == stock


def test_ambiguous_prices_are_decided_by_the_column(tmp_path: Path) -> None:
    """ "1.299" is what the other prices of its column say, and the decision is told."""
    rows = [
        {"id": str(n), "image_link": "a", "title": "t", "price": p}
        for n, p in enumerate(["1.299", "12,90"])
    ]
    feed = read_feed_file(write_rows(tmp_path / "g.csv", rows, ";"), "google")
    assert [product.fields.price for product in feed.products] == [1299.0, 12.9]
    assert feed.codes == ["ambiguous-price", "no-currency"]


def test_map_and_fingerprint(tmp_path: Path) -> None:
    """Each column has its meaning, in the feed's order; another map is another fingerprint."""
    rows = [{"id": "1", "image_link": "a.jpg", "price": "1 EUR", "tax": "x", "Farbe 2": "rot"}]
    table = open_table(write_rows(tmp_path / "g.csv", rows))
    reader = ProductReader(table, load_profile("google"), warn=[])
    assert reader.map() == {
        "id": "product id",
        "image_link": "photo",
        "price": "price",
        "tax": "left out",
        "Farbe 2": "attribute farbe_2",
    }
    other = ProductReader(table, load_profile("catalens"), warn=[])
    again = ProductReader(table, load_profile("google"), warn=[])
    assert reader.fingerprint == again.fingerprint != other.fingerprint


def test_second_pass_notes_nothing(tmp_path: Path) -> None:
    """Keys asked again after the first pass are the same, and no id becomes a repeated one."""
    rows = [{"image": "a.jpg"}, {"image": "a.png"}]
    table = open_table(write_rows(tmp_path / "feed.csv", rows))
    reader = ProductReader(table, load_profile("catalens"), warn=[])
    keys = [reader.group_key(record) for record in table.records(LostLines())]
    assert [reader.resolve(key) for key in keys] == ["a.jpg", "a.png"]
    again = [reader.group_key(record) for record in table.records(LostLines())]
    assert again == keys
    assert reader.resolve(reader.image_key("b.jpg")) == "b"
