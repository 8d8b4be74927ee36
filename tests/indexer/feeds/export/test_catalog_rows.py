"""What a catalog holds goes out and comes in again unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.catalog.product_fields import ProductFields
from indexer.catalog.records import ProductInput, Tag
from indexer.catalog.store import open_catalog
from indexer.core.csv_text import LINE_ENDS
from indexer.core.home import Home
from indexer.feeds.dataset import read_dataset
from indexer.feeds.export.catalog_rows import CatalogRows
from indexer.feeds.export.feed_writer import write_feed
from indexer.feeds.export.proposal import ExportOptions, Proposal, ProposedValue
from indexer.feeds.importer import import_dataset
from tests.indexer.conftest import KINDS, draw

PROPOSALS = {
    "disc/0": Proposal(
        "disc/0",
        ("Round",),
        0.9,
        (ProposedValue("red", 0.9),),
        color=ProposedValue("red", 0.9),
        alt_text={"en": "A red disc"},
    )
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Three products with odd texts, codes, tags and fields."""
    for kind in KINDS:
        (tmp_path / "photos" / kind).mkdir(parents=True)
        draw(kind, 0).save(tmp_path / "photos" / kind / "0.png")
    home = Home.create(tmp_path / "home")
    import_dataset(home, read_dataset(tmp_path / "photos"))
    with open_catalog(home) as catalog:
        stored = catalog.get("disc/0")
        catalog.put(
            ProductInput(
                "disc/0",
                "=HYPERLINK(1) disc",
                ("Shapes", "Round things"),
                (Tag("new", "merchant"), Tag("a, b", "merchant")),
                {"mpn": "0012", "price": 7, "note": "-5 pieces", "weight": 2.5},
                stored.photos,
                fields=ProductFields(
                    url="https://shop.example/1",
                    price=19.0,
                    currency="EUR",
                    availability="in_stock",
                    gtin="4006381333931",
                    titles={"de": "Scheibe", "fr-CA": "Disque"},
                    categories={"de": ("Formen", "Rund")},
                    prices={
                        "CH": {"price": 21.5, "sale_price": 20.0, "currency": "CHF"},
                        "KW": {"price": 6.125, "currency": "KWD"},
                    },
                ),
            )
        )
    return home


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_catalog_that_is_exported_and_imported_is_unchanged(
    suffix: str, home: Home, tmp_path: Path
) -> None:
    """Fields, attributes, odd texts and proposals beside them: the import changes nothing. In the
    CSV that a spreadsheet opens, no cell is a formula."""
    out = tmp_path / f"out.{suffix}"
    with open_catalog(home) as catalog:
        rows = CatalogRows(home, catalog, PROPOSALS.get, ExportOptions())
        write_feed(out, rows.native_columns(), rows.native_rows(), spreadsheet=suffix == "csv")
        before = list(catalog.iterate())
    text = out.read_text(encoding="utf-8-sig")
    assert "Round" in text
    assert "A red disc" in text
    if suffix == "csv":
        assert ",'=HYPERLINK(1) disc," in text
    report = import_dataset(home, read_dataset(out))
    assert (report.added, report.replaced, report.unchanged) == (0, 0, 3)
    with open_catalog(home) as catalog:
        assert list(catalog.iterate()) == before


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_no_text_ends_a_row_of_the_file(suffix: str, home: Home, tmp_path: Path) -> None:
    """A bare carriage return, and whatever else some reader ends lines at: no row breaks, and no
    cell begins with the formula behind it."""
    with open_catalog(home) as catalog:
        stored = catalog.get("disc/0")
        catalog.put(
            ProductInput(
                "disc/0",
                f"Nice{LINE_ENDS}=1+1",
                ("Home\r=2", "Lamp"),
                (Tag("t\r=3", "merchant"),),
                {"note": "a\r=4", "mark\r=5": "b\v=6", "list": ["c\u2028=7", "d\x85=8"]},
                stored.photos,
            )
        )
        before = list(catalog.iterate())
        out = tmp_path / f"out.{suffix}"
        rows = CatalogRows(home, catalog, PROPOSALS.get, ExportOptions())
        write_feed(out, rows.native_columns(), rows.native_rows(), spreadsheet=suffix == "csv")
    report = import_dataset(home, read_dataset(out))
    assert (report.rows, report.added, len(report.skipped)) == (3, 0, 0)
    with open_catalog(home) as catalog:
        after = list(catalog.iterate())
    assert [(one.product_id, one.photos) for one in after] == [
        (one.product_id, one.photos) for one in before
    ]


def test_changes_alone_leave_the_others_out(home: Home) -> None:
    with open_catalog(home) as catalog:
        rows = CatalogRows(home, catalog, PROPOSALS.get, ExportOptions(changes=True))
        found = list(rows.native_rows())
    assert [row["product_id"] for row in found] == ["disc/0"]
    assert found[0]["proposed_tags"] == ["red"]


def test_google_gets_its_own_words(home: Home) -> None:
    """Amount and currency in one cell, the category as a path; a category that the shop has
    stays."""
    with open_catalog(home) as catalog:
        rows = CatalogRows(home, catalog, PROPOSALS.get, ExportOptions())
        (row,) = [row for row in rows.google_rows() if row["id"] == "disc/0"]
    assert row["price"] == "19.00 EUR"
    assert row["product_type"] == "Shapes > Round things"
    assert row["tags"] == ["new", "a, b", "red"]
    assert row["gtin"] == "4006381333931"
