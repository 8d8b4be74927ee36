"""Proposals go into the shop's own rows; everything else is copied through."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from indexer.feeds.detection import detect
from indexer.feeds.export.feed_filler import FeedFiller
from indexer.feeds.export.proposal import ExportOptions, Proposal, ProposedValue, read_only
from indexer.feeds.profile import load_profile
from indexer.feeds.reader import open_table

SHOPIFY = (
    "Handle,Title,Body (HTML),Vendor,Product Category,Type,Tags,Published,Option1 Name,"
    "Option1 Value,Variant SKU,Variant Inventory Qty,Variant Price,Variant Barcode,Image Src,"
    "Image Position,Image Alt Text,Status\n"
    'tee,Linen Tee,"<p>Soft,\nlight</p>",Acme,,Shirts,"summer, linen",true,Size,S,T-S,3,19.00,'
    "0012345678905,https://cdn.example/t.jpg,1,,active\n"
    "tee,,,,,,,,,M,T-M,0,19.00,,,,,\n"
    "tee,,,,,,,,,,,,,,https://cdn.example/t2.jpg,2,back,\n"
    "mug,Mug,,Acme,Home > Mugs,Mugs,,true,Title,Default Title,'007,5,9.50,,"
    "https://cdn.example/m.jpg,1,A mug,active\n"
)
PROPOSALS = {
    "T-S": Proposal(
        "T-S",
        ("Apparel", "Shirts"),
        0.9,
        (ProposedValue("Linen", 0.9), ProposedValue("white", 0.95)),
        alt_text={"en": "White linen tee", "de": "Leinenhemd, weiß"},
        findings=("blurred",),
    ),
    "007": Proposal("007", ("Home", "Cups"), 0.9, (ProposedValue("kitchen", 0.9),)),
}


def filled(tmp_path: Path, text: str, **options: Any) -> tuple[FeedFiller, list[dict[str, Any]]]:
    path = tmp_path / "feed.csv"
    path.write_text(text, encoding="utf-8", newline="")
    table = open_table(path)
    filler = FeedFiller(table, detect(table).profile, PROPOSALS.get, ExportOptions(**options))
    return filler, [row.values for row in filler.rows()]


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines(keepends=True)))


def test_blank_cells_are_filled_and_all_else_is_as_it_was(tmp_path: Path) -> None:
    """Category and alt text go to the row with the title, tags behind those that are there; the
    other product's category, GTIN, price, stock, HTML and apostrophe stay."""
    filler, rows = filled(tmp_path, SHOPIFY)
    expected = rows_of(SHOPIFY)
    expected[0]["Product Category"] = "Apparel > Shirts"
    expected[0]["Tags"] = "summer, linen, white"
    expected[0]["Image Alt Text"] = "White linen tee"
    expected[3]["Tags"] = "kitchen"
    assert rows == expected
    assert filler.changed == {"Product Category": 1, "Tags": 2, "Image Alt Text": 1}


def test_a_variant_s_blank_cells_stay_where_the_product_says_it(tmp_path: Path) -> None:
    """Shopify says type and description once a product: its further rows keep them blank, and a
    description that is missing is nobody's guess."""
    value = ProposedValue("Guess", 0.99)
    guess = {"product_type": value, "description": value}
    path = tmp_path / "feed.csv"
    path.write_text(SHOPIFY, encoding="utf-8", newline="")
    found = {name: Proposal(name, attributes=guess) for name in ("T-S", "T-M", "007")}
    table = open_table(path)
    filler = FeedFiller(table, load_profile("shopify"), found.get, ExportOptions())
    assert [row.values for row in filler.rows()] == rows_of(SHOPIFY)


def test_only_what_is_asked_for_and_only_changes(tmp_path: Path) -> None:
    """``changes`` leaves out products of which nothing changes, with all their rows."""
    _, rows = filled(tmp_path, SHOPIFY, only=frozenset({"category"}), changes=True)
    assert [row["Handle"] for row in rows] == ["tee", "tee", "tee"]
    assert rows[0]["Product Category"] == "Apparel > Shirts"
    assert rows[0]["Tags"] == "summer, linen"


def test_what_the_shop_says_is_replaced_on_request_and_can_be_undone(tmp_path: Path) -> None:
    filler, rows = filled(tmp_path, SHOPIFY, only=frozenset({"category"}), replace=True)
    assert rows[3]["Product Category"] == "Home > Cups"
    assert list(filler.old_rows()) == rows_of(SHOPIFY)


def test_an_alt_text_has_the_language_asked_for(tmp_path: Path) -> None:
    _, rows = filled(tmp_path, SHOPIFY, only=frozenset({"alt_text"}), language="de")
    assert rows[0]["Image Alt Text"] == "Leinenhemd, weiß"


def test_a_kind_that_the_format_has_no_column_for_is_named(tmp_path: Path) -> None:
    filler, rows = filled(tmp_path, SHOPIFY, only=frozenset({"findings"}))
    assert rows == rows_of(SHOPIFY)
    assert [notice.code for notice in filler.notices] == ["no-column"]


def test_attributes_go_to_the_variant_s_own_row(tmp_path: Path) -> None:
    """Google's feed has a column for the colour; each row is a variant with its own."""
    path = tmp_path / "feed.tsv"
    path.write_text(
        "id\ttitle\timage_link\titem_group_id\tcolor\tprice\n"
        "a\tTee\thttps://x.example/a.jpg\tg\t\t19.00 EUR\n"
        "b\tTee\thttps://x.example/b.jpg\tg\tblue\t19.00 EUR\n"
    )
    found = {
        name: Proposal(name, color=ProposedValue("red", 0.9), attributes={}) for name in ("a", "b")
    }
    filler = FeedFiller(open_table(path), load_profile("google"), found.get, ExportOptions())
    assert [row.values["color"] for row in filler.rows()] == ["red", "blue"]


def test_what_is_unsure_is_left_out() -> None:
    proposal = PROPOSALS["T-S"].at_least(0.92)
    assert proposal.category is None
    assert [tag.value for tag in proposal.tags] == ["white"]


def test_gtin_price_and_stock_cannot_be_asked_for() -> None:
    from indexer.core.errors import BadRequestError

    for name in ("gtin", "price", "stock"):
        with pytest.raises(BadRequestError, match="never proposed"):
            read_only(name, ["material"])
    assert read_only("tags, material", ["material"]) == {"tags", "material"}
