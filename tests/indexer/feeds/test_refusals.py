"""Drafts leave the catalog when the feed is kept in step, and that is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.import_report import ImportReport
from indexer.feeds.importer import import_feed

HEADER = (
    "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Price,Image Src,Published,Status"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def row(number: int, status: str = "active", sku: str | None = None, size: str = "M") -> str:
    stock = f"S{number}" if sku is None else sku
    return f"tee-{number:02},Tee {number},Size,{size},{stock},{number}.50,tee.jpg,true,{status}"


def run(home: Home, rows: list[str], *, sync: bool = False) -> ImportReport:
    folder = home.path.parent / "shop"
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (20, 20), "red").save(folder / "tee.jpg")
    path = folder / "products.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return import_feed(home, path, ImportOptions(sync=sync))


def titles(home: Home) -> dict[str, str | None]:
    with open_catalog(home) as catalog:
        return {product.product_id: product.title for product in catalog.iterate()}


def test_a_product_that_became_a_draft_goes_with_sync_at_once(home: Home) -> None:
    """The first run with --sync deletes it and says so, also the variants without an SKU."""
    rows = [row(number) for number in range(12)] + [row(12, sku="", size="L")]
    run(home, rows)
    drafts = [*rows[:3], row(3, "draft"), *rows[4:12], row(12, "archived", sku="", size="L")]
    report = run(home, drafts)
    assert (report.deleted, "S3" in titles(home)) == (0, True)
    kinds = {kind.code: kind.lines[0].reason for kind in report.warnings.kinds()}
    assert kinds["stored-not-for-sale"].startswith("2 products are not for sale any more, and stay")
    with pytest.raises(Exception, match="would delete 2 of 13"):
        run(home, drafts, sync=True)
    report = run(home, [*rows[:3], row(3, "draft"), *rows[4:]], sync=True)
    assert (report.deleted, report.unchanged, "S3" in titles(home)) == (1, 12, False)
    reasons = [notice.reason for notice in report.warnings if notice.code != "no-currency"]
    assert reasons == ["product 'S3' is not for sale any more, and is deleted"]


def test_a_draft_takes_no_id_from_another(home: Home) -> None:
    """A copy of a product that is still a draft has its SKU, and stands before it."""
    run(home, [row(1, "draft", "S2"), row(2)])
    assert titles(home) == {"S2": "Tee 2"}
    assert run(home, [row(1, "draft", "S2"), row(2)], sync=True).deleted == 0
