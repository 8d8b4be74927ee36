"""A feed writes what it says and nothing else; what it cannot write is said."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.product_fields import ProductFields
from indexer.catalog.records import NewPhoto, Tag
from indexer.catalog.store import open_catalog
from indexer.catalog.upload_notes import collect_uploads
from indexer.core.home import Home
from indexer.feeds.importer import import_feed
from indexer.imaging.decode import Photo
from tests.indexer.feeds.test_importer import counts, draw, feed, lines


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(4):
        draw(tmp_path / f"data/i/{number}.jpg", number)
    return tmp_path / "data"


def price_list(root: Path, *rows: str) -> Path:
    path = root / "prices.csv"
    path.write_text("\n".join(["product_id,price,availability", *rows]) + "\n")
    return path


def test_a_price_list_wipes_nothing(home: Home, source: Path) -> None:
    """Price and stock change; title, category, tags and photos stay; blank cells say nothing;
    unknown products are reported."""
    import_feed(home, feed(source, *lines(0, 1)))
    rows = ("p0,12.50,out of stock", "p1,,", "p9,3.00,in stock")
    report = import_feed(home, price_list(source, *rows))
    assert counts(report) == (0, 1, 1, 0)
    assert [(note.where, note.code) for note in report.skipped] == [
        ("prices.csv:4", "unknown-product")
    ]
    assert "'p9'" in report.skipped[0].reason
    with open_catalog(home) as catalog:
        product = catalog.get("p0")
        assert (product.title, product.category) == ("T", ("A", "B"))
        assert (product.tags, len(product.photos)) == (
            (Tag("x", "merchant"), Tag("y", "merchant")),
            1,
        )
        assert (product.fields.price, product.fields.availability) == (12.5, "out_of_stock")
        assert catalog.get("p1").fields.price == 1


def test_a_price_list_of_unknown_products_brings_nothing(home: Home, source: Path) -> None:
    """It fails in words."""
    import_feed(home, feed(source, *lines(0)))
    report = import_feed(home, price_list(source, "x,1.00,", "y,2.00,"))
    assert report.failure is not None
    assert "no product 'x'" in report.failure


def test_fields_that_another_source_owns_stay(home: Home, source: Path) -> None:
    """The feed's own price neither replaces nor blanks the owner's; the rest is written."""
    path = feed(source, *lines(0, 1))
    import_feed(home, path)
    with open_catalog(home) as catalog:
        catalog.set_owners({"price": "erp"})
        catalog.patch("p0", {"fields": {"price": 99.0}})
    feed(source, *lines(0, 1, title="New"))
    import_feed(home, path)
    with open_catalog(home) as catalog:
        assert (catalog.get("p0").title, catalog.get("p0").fields.price) == ("New", 99.0)
    feed(source, "p0,i/0.jpg,Newer,A > B,x|y,", *lines(1))
    import_feed(home, path)
    with open_catalog(home) as catalog:
        product = catalog.get("p0")
        assert (product.title, product.fields) == ("Newer", ProductFields(price=99.0))


class BrokenKeeper:
    """Ends the import at its first photo, or kills its process, while another is being written."""

    def __init__(self, home: Home, *, kills: bool = False) -> None:
        self.store = PhotoStore(home)
        self.kills = kills
        self.begun = threading.Event()
        self.first = threading.Lock()

    def keep(self, data: bytes, photo: Photo) -> NewPhoto:
        if self.first.acquire(blocking=False):
            self.begun.wait(5)
            if self.kills:
                os._exit(9)
            raise SystemExit(143)
        if self.kills:
            new = self.store.add(data, photo)
            self.begun.set()
        else:
            self.begun.set()
            time.sleep(0.1)
            new = self.store.add(data, photo)
        return new


def originals(home: Home) -> list[Path]:
    return [path for path in home.photos.rglob("*") if len(path.name) == 64]


def test_an_import_that_ends_leaves_no_photo(home: Home, source: Path) -> None:
    """Neither what a thread still wrote when another failed, nor a note of it."""
    with pytest.raises(SystemExit):
        import_feed(home, feed(source, *lines(0, 1)), photo_keeper=BrokenKeeper(home))
    assert originals(home) == []
    assert list(home.photos.glob(".*")) == []


def test_a_killed_import_is_cleared(home: Home, source: Path) -> None:
    """What it wrote for products that never came is noted; the products before it keep theirs."""
    import_feed(home, feed(source, *lines(0)))
    path = feed(source, *lines(0, 1, 2, 3))
    if (child := os.fork()) == 0:
        import_feed(home, path, photo_keeper=BrokenKeeper(home, kills=True))
    assert os.waitpid(child, 0)[1] == 9 << 8
    assert len(originals(home)) > 1
    (note,) = home.photos.glob(".uploads.*")
    os.utime(note, (1, 1))
    with open_catalog(home) as catalog:
        assert collect_uploads(home, catalog)
        assert [path.name for path in originals(home)] == list(catalog.get("p0").photos)
    assert not note.exists()


class ClearingKeeper:
    """The service clears the home after each photo."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.gone: list[str] = []

    def keep(self, data: bytes, photo: Photo) -> NewPhoto:
        new = PhotoStore(self.home).add(data, photo)
        with open_catalog(self.home) as catalog:
            self.gone += collect_uploads(self.home, catalog)
        return new


def test_an_import_uses_what_a_killed_one_left(home: Home, source: Path) -> None:
    import_feed(home, feed(source, *lines(0)))
    path = feed(source, *lines(0, 1, 2, 3))
    if (child := os.fork()) == 0:
        import_feed(home, path, photo_keeper=BrokenKeeper(home, kills=True))
    assert os.waitpid(child, 0)[1] == 9 << 8
    left = {path.name for path in originals(home)}
    (note,) = home.photos.glob(".uploads.*")
    os.utime(note, (1, 1))
    keeper = ClearingKeeper(home)
    report = import_feed(home, path, photo_keeper=keeper)
    assert not left.intersection(keeper.gone)
    assert report.added == 3
    assert list(home.photos.glob(".*")) == []
