"""A feed may own fields instead of products: its rows find their product by SKU or GTIN."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from indexer.catalog.product_fields import ProductFields
from indexer.catalog.records import ProductInput
from indexer.catalog.store import open_catalog
from indexer.core.errors import BadDataError
from indexer.core.home import Home
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import ImportReport
from indexer.feeds.importer import import_feed
from indexer.feeds.join import joined_by, written_names
from tests.indexer.conftest import draw

ONLY = frozenset({"price", "sale_price", "currency", "availability", "stock"})


def shop(folder: Path, titles: str = "") -> Path:
    """A feed of four products, two of which share a SKU."""
    draw("disc", 1).save(folder / "a.png")
    lines = ["id,title,image_link,sku,price,availability,brand"]
    for number, sku in enumerate(("S-1", "S-2", "S-3", "S-3")):
        title = f"Product {number}{titles}"
        lines.append(f"p{number},{title},a.png,{sku},{10 + number}.00 EUR,in stock,Acme")
    path = folder / "shop.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.create(tmp_path / "home")
    import_feed(home, shop(tmp_path))
    with open_catalog(home) as catalog:
        catalog.set_owners(dict.fromkeys(ONLY, "erp"))
    return home


def erp(home: Home, folder: Path, text: str, **options: object) -> ImportReport:
    path = folder / "erp.csv"
    path.write_text(text)
    chosen = {"join": "sku", "only": ONLY, "source": "erp", **options}
    return import_feed(home, path, ImportOptions(**chosen))  # type: ignore[arg-type]


def fields(home: Home, product_id: str) -> ProductFields:
    with open_catalog(home) as catalog:
        return catalog.get(product_id).fields


def test_a_sale_price_brings_its_dates_along() -> None:
    names = written_names(frozenset({"sale_price"}))
    assert names == {"sale_price", "currency", "sale_price_from", "sale_price_until"}


def test_a_price_list_changes_prices_and_nothing_else(home: Home, tmp_path: Path) -> None:
    """Joined by SKU; the column for the title is not the feed's to write; rows that join to
    nothing, or to two, are reported."""
    report = erp(
        home,
        tmp_path,
        "sku,title,price,sale_price,availability\nS-1,Wrong,19.90 EUR,15.00 EUR,out of stock\n"
        "S-9,x,1 EUR,,\nS-3,x,1 EUR,,\n",
    )
    assert report.replaced == 1
    assert {notice.code for notice in report.skipped} == {"joins-to-none", "joins-to-several"}
    several = next(notice for notice in report.skipped if notice.code == "joins-to-several")
    assert "'p2', 'p3'" in several.reason
    assert several.where == "erp.csv:4"
    with open_catalog(home) as catalog:
        product = catalog.get("p0")
    assert product.title == "Product 0"
    assert (product.fields.price, product.fields.sale_price) == (19.9, 15.0)
    assert (product.fields.availability, product.fields.brand) == ("out_of_stock", "Acme")
    assert len(product.photos) == 1


def test_a_price_list_that_shrank_is_written_and_said(home: Home, tmp_path: Path) -> None:
    """It may send only what changed, and deletes nothing."""
    more = tmp_path / "more.csv"
    more.write_text("id,title,image_link\n" + "".join(f"q{n},x,a.png\n" for n in range(6)))
    import_feed(home, more)
    rows = [f"q{number},9 EUR" for number in range(6)]
    for text, warned in ((rows, []), (rows[:1], ["feed-shrank"])):
        report = erp(home, tmp_path, "\n".join(["id,price", *text]), join="id")
        assert [notice.code for notice in report.warnings] == warned
    assert "has 1 products and had 6 in its last run" in next(iter(report.warnings)).reason


def test_a_price_list_need_not_name_photos(home: Home, tmp_path: Path) -> None:
    """Also where its file was imported whole before; one that owns photos should."""
    path = tmp_path / "more.csv"
    head = "id,title,image_link,price\n"
    path.write_text(head + "".join(f"q{n},x,a.png,9 EUR\n" for n in range(6)))
    import_feed(home, path)
    path.write_text("id,price\n" + "".join(f"q{n},8 EUR\n" for n in range(6)))
    for only, warned in ((ONLY, []), (ONLY | {"photos"}, ["feed-shrank"])):
        options = ImportOptions(join="id", only=only, dry_run=True)
        report = import_feed(home, path, options)
        assert [notice.code for notice in report.warnings] == warned
    assert "it is not held" in next(iter(report.warnings)).reason


def test_what_a_feed_owns_it_also_clears(home: Home, tmp_path: Path) -> None:
    """A blank sale price ends the sale; without the column it stays."""
    erp(home, tmp_path, "sku,price,sale_price\nS-1,20 EUR,15 EUR\n")
    erp(home, tmp_path, "sku,price\nS-1,21 EUR\n")
    assert fields(home, "p0").sale_price == 15.0
    erp(home, tmp_path, "sku,price,sale_price\nS-1,21 EUR,\n")
    found = fields(home, "p0")
    assert (found.price, found.sale_price, found.currency) == (21.0, None, "EUR")


def test_a_sale_without_dates_has_none_of_the_last_one(home: Home, tmp_path: Path) -> None:
    """Else it would be over before it began, and never shown."""
    only = written_names(frozenset(ONLY))
    until = "2020-02-01T00:00:00+00:00"
    profile = tmp_path / "erp.yaml"
    profile.write_text(
        "id: sku\nphotos: {columns: image}\n"
        "price: {price: price, sale_price: sale, sale_until: until}\n"
        "recognise: [{all: [sku, price]}]\n"
    )
    options = {"only": only, "profile": str(profile)}
    erp(home, tmp_path, f"sku,price,sale,until\nS-1,20 EUR,15 EUR,{until}\n", **options)
    with open_catalog(home) as catalog:
        assert catalog.get("p0").attributes["sale_price_until"] == until
    for header, row in (("sale,until", "14 EUR,"), ("sale", "13 EUR")):
        erp(home, tmp_path, f"sku,price,sale,until\nS-1,20 EUR,15 EUR,{until}\n", **options)
        report = erp(home, tmp_path, f"sku,price,{header}\nS-1,20 EUR,{row}\n", **options)
        assert report.replaced == 1
        with open_catalog(home) as catalog:
            assert "sale_price_until" not in catalog.get("p0").attributes


def test_the_other_source_reverts_nothing(home: Home, tmp_path: Path) -> None:
    """The shop's own feed comes again with other titles and its old prices."""
    erp(home, tmp_path, "sku,price,availability,stock\nS-1,99 EUR,out of stock,0\n")
    import_feed(home, shop(tmp_path, titles=" new"))
    with open_catalog(home) as catalog:
        product = catalog.get("p0")
    assert product.title == "Product 0 new"
    assert product.fields.price == 99.0
    assert product.fields.availability == "out_of_stock"
    assert product.attributes["stock"] == 0


def test_a_run_that_comes_again_changes_nothing(home: Home, tmp_path: Path) -> None:
    text = "sku,price\nS-1,19.90 EUR\nS-2,5 EUR\n"
    assert erp(home, tmp_path, text).replaced == 2
    with open_catalog(home) as catalog:
        before = catalog.last_sequence()
    report = erp(home, tmp_path, text)
    assert (report.replaced, report.unchanged) == (0, 2)
    with open_catalog(home) as catalog:
        assert catalog.last_sequence() == before


def test_a_row_finds_its_product_once_it_is_there(home: Home, tmp_path: Path) -> None:
    """What joined to nothing is read again, though the row did not change."""
    text = "sku,price\nS-7,19.90 EUR\n"
    assert erp(home, tmp_path, text).replaced == 0
    with open_catalog(home) as catalog:
        stored = catalog.get("p0")
        catalog.put(
            ProductInput("p7", "New", None, (), {}, stored.photos, fields=ProductFields(sku="S-7"))
        )
    assert erp(home, tmp_path, text).replaced == 1
    assert fields(home, "p7").price == 19.9


def test_a_column_that_is_not_there_is_named(home: Home, tmp_path: Path) -> None:
    with pytest.raises(BadDataError, match="no column 'sku' to join by; columns found: 'code'"):
        erp(home, tmp_path, "code,price\n1,2 EUR\n")


def test_columns_in_the_erp_s_own_language(home: Home, tmp_path: Path) -> None:
    """Joined by ``sku``, which the list calls otherwise; a currency stands in a column's name, and
    what a piece costs the shop is not what it asks."""
    report = erp(
        home,
        tmp_path,
        "Artikelnummer;EK Preis;Preis (CHF);Aktionspreis;Lagerbestand\n"
        "S-1;4,00;1.219,90;15,00;0\nS-2;4,00;22,00;;3\n",
    )
    assert report.replaced == 2
    found = fields(home, "p0")
    assert (found.price, found.sale_price, found.currency) == (1219.9, 15.0, "CHF")
    assert found.availability == "out_of_stock"
    assert fields(home, "p1").price == 22.0
    with open_catalog(home) as catalog:
        assert catalog.get("p1").attributes["stock"] == 3


def test_the_column_may_be_named_as_the_feed_has_it(home: Home, tmp_path: Path) -> None:
    """``--join Artikelnummer`` finds products by their SKU; with two such columns one is named."""
    text = "Artikelnummer;Referencia;Preis\nS-2;S-1;7,50\n"
    with pytest.raises(BadDataError, match="2 columns that may be the sku to join by: 'Artikelnu"):
        erp(home, tmp_path, text)
    assert erp(home, tmp_path, text, join="Artikelnummer").replaced == 1
    assert (fields(home, "p1").price, fields(home, "p0").price) == (7.5, 10.0)


def test_a_list_that_owns_nothing_says_so(home: Home, tmp_path: Path) -> None:
    """No column of it is read as a price or stock: nothing changes, and that is told."""
    report = erp(home, tmp_path, "sku,Betrag A\nS-1,19.90\n")
    told = next(notice for notice in report.warnings if notice.code == "owns-nothing")
    assert (report.replaced, told.where) == (0, "erp.csv:1")
    assert "'Betrag A'" in told.reason
    assert "profile suggest" in told.reason
    codes = [notice.code for notice in erp(home, tmp_path, "sku,qty\nS-1,3\n").warnings]
    assert "owns-nothing" not in codes


def test_columns_are_known_by_their_usual_names() -> None:
    names = ("SKU", "Variant SKU", "item_sku", "EAN", "Barcode", "id", "Supplier No")
    assert [joined_by(name) for name in names] == [
        *("sku", "sku", "sku", "gtin", "gtin", "product_id", "supplier_no")
    ]


def test_shopify_s_ids_for_google_find_the_variant(home: Home, tmp_path: Path) -> None:
    with open_catalog(home) as catalog:
        catalog.patch("p1", {"attributes": {"variant_id": "456"}})
    report = erp(home, tmp_path, "id,price\nshopify_DE_123_456,7 EUR\n", join="id")
    assert report.replaced == 1
    assert fields(home, "p1").price == 7.0


def test_whatever_runs_each_field_is_as_its_owner_says(home: Home, tmp_path: Path) -> None:
    """Random runs of one source, the other, and half a file: the model is two plain dicts. Longer
    by ``CATALENS_LIVE_RUNS``."""
    import os

    rng = random.Random(3)
    prices: dict[str, tuple[float, str]] = {}
    titles = {"p0": "Product 0", "p1": "Product 1"}
    rounds = min(int(os.environ.get("CATALENS_LIVE_RUNS", "12")), 1000)
    for number in range(rounds):
        if rng.random() < 0.5:
            rows = {
                sku: (float(rng.randint(1, 99)), rng.choice(["in stock", "out of stock"]))
                for sku in rng.sample(["S-1", "S-2"], rng.randint(1, 2))
            }
            text = "sku,price,availability\n"
            for sku, (price, stock) in rows.items():
                text += f"{sku},{price:.2f} EUR,{stock}\n"
            erp(home, tmp_path, text)
            prices |= {"p0" if sku == "S-1" else "p1": found for sku, found in rows.items()}
        else:
            import_feed(home, shop(tmp_path, titles=f" {number}"))
            titles = {"p0": f"Product 0 {number}", "p1": f"Product 1 {number}"}
        with open_catalog(home) as catalog:
            for product_id in ("p0", "p1"):
                product = catalog.get(product_id)
                assert product.title == titles[product_id]
                if product_id in prices:
                    price, stock = prices[product_id]
                    assert product.fields.price == price
                    assert product.fields.availability == stock.replace(" ", "_")
