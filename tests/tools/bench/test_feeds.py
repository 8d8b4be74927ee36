"""Benchmark ``feeds``: the fixture feeds field by field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from indexer.feeds.profile import profile_names
from tools.bench.data.feed_fixtures import FeedFixture
from tools.bench.data.feed_formats import FORMATS, write_feed
from tools.bench.data.feeds import made_products
from tools.bench.feeds import ALL_FIXTURES, measure, read_feed, wrong_fields


@pytest.mark.parametrize("fixture", ALL_FIXTURES, ids=lambda fixture: fixture.name)
def test_every_field_of_a_feed_is_right(tmp_path: Path, fixture: FeedFixture) -> None:
    """The profile is found by itself, and every product has what its shop says of it."""
    assert wrong_fields(fixture, tmp_path) == []


def test_every_profile_has_a_fixture() -> None:
    """No profile ships that was not checked field by field."""
    assert {fixture.profile for fixture in ALL_FIXTURES} == set(profile_names())


def test_a_wrong_field_is_counted(tmp_path: Path) -> None:
    """The measure sees a value that differs, a product that lacks, and what is not said."""
    fixture = ALL_FIXTURES[0]
    first = next(iter(fixture.expected))
    other = replace(
        fixture,
        expected={first: {"title": "another"}, "none": {"title": "x"}},
        said=("never said",),
    )
    assert len(wrong_fields(other, tmp_path)) == 4
    row = measure("fields", tmp_path)
    assert (row["share_right"], row["wrong"]) == (1, [])


@pytest.mark.long
def test_a_second_run_reads_only_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small feed is imported twice: everything is added, then almost all is unchanged."""
    monkeypatch.setenv("CATALENS_BENCH_FEED_ROWS", "300")
    row = measure("rows", tmp_path)
    first, second = row["runs"]
    assert first["added"] == first["rows"] > 200
    assert (second["added"], second["deleted"]) == (0, 0)
    assert 0 < second["replaced"] < 0.1 * second["unchanged"]
    assert row["peak_mb"] > 20
    assert row["second_rows_per_s"] > 0


@pytest.mark.parametrize("form", [*FORMATS, "google-xml"])
def test_the_made_shop_is_the_same_in_every_format(tmp_path: Path, form: str) -> None:
    """All its variants come back with their price, stock, parent and photos."""
    products = list(made_products(60))
    path = tmp_path / ("feed.xml" if form == "google-xml" else "feed.csv")
    write_feed(path, form, products, photos="https://cdn.kelp.example/p")
    found = read_feed(path)
    assert found.profile == form.partition("-")[0]
    by_gtin = {product.fields.gtin: product for product in found.products}
    variants = [(product, variant) for product in products for variant in product.variants]
    assert len(by_gtin) == len(found.products) == len(variants)
    for product, variant in variants:
        got = by_gtin[variant.gtin]
        # Akeneo and Medusa export no sale price, Akeneo no stock, Medusa no photo of a variant.
        sale_price = None if form in ("akeneo", "medusa") else variant.sale_price
        in_stock = "in_stock" if variant.stock else "out_of_stock"
        first = product.photos[0] if form == "medusa" else variant.photos[0]
        assert (got.fields.price, got.fields.sale_price) == (variant.price, sale_price)
        assert got.fields.availability == (None if form == "akeneo" else in_stock)
        assert (got.fields.parent is not None) == (len(product.variants) > 1)
        assert got.photos[0].source.endswith(first)


@pytest.mark.parametrize(
    ("profile", "header", "row"),
    [
        ("magento", "sku,name,price,base_image,categories", "A,Tee,19,/a/b.jpg,Default/Men"),
        ("shopware", "productNumber;name;stock;cover.media.url", "A;Tee;3;https://x.example/a.jpg"),
        ("akeneo", "uuid;identifier;family;categories;label-en_US;image", "u;A;t;tees;Tee;f/a.jpg"),
        ("amazon", "item_sku\titem_name\tmain_image_url", "A\tTee\thttps://x.example/a.jpg"),
        (
            "medusa",
            "Product Handle,Product Title,Product Image 1,Variant Sku",
            "tee,Tee,https://x.example/a.jpg,A",
        ),
    ],
)
def test_exports_of_few_columns_are_recognised(
    tmp_path: Path, profile: str, header: str, row: str
) -> None:
    """A shop that chose a handful of columns needs to name no profile."""
    feed = tmp_path / "feed.csv"
    feed.write_text(f"{header}\n{row}\n", encoding="utf-8")
    found = read_feed(feed)
    assert (found.profile, [product.product_id for product in found.products]) == (profile, ["A"])
    assert (found.products[0].title, len(found.products[0].photos)) == ("Tee", 1)
