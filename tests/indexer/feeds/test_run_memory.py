"""A second run reads only what changed, and whatever it cannot be sure of."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.feeds import importer
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.importer import import_feed
from tests.indexer.feeds.test_importer import counts, draw, feed, lines


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(12):
        draw(tmp_path / f"data/i/{number}.jpg", number)
    return tmp_path / "data"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of products that were read, not only counted, since the list was emptied."""
    found: list[str] = []
    real = importer.read_products

    def listening(*arguments: object) -> object:
        for group in real(*arguments):  # type: ignore[arg-type]
            found.extend(product.product_id for product in group.products)
            yield group

    monkeypatch.setattr(importer, "read_products", listening)
    return found


def again(home: Home, path: Path, read: list[str], **options: object) -> list[str]:
    """The products that a run reads."""
    read.clear()
    report = import_feed(home, path, ImportOptions(**options))  # type: ignore[arg-type]
    assert report.added + report.replaced + report.unchanged == report.products
    return sorted(read)


def test_unchanged_rows_are_not_read_again(home: Home, source: Path, read: list[str]) -> None:
    """Only changed and new rows are; all are counted."""
    path = feed(source, *lines(*range(6)))
    assert len(again(home, path, read)) == 6
    assert again(home, path, read) == []
    feed(source, *lines(5), *lines(0, 1, 2), *lines(3, title="New"), *lines(4, 7))
    assert again(home, path, read) == ["p3", "p7"]
    with open_catalog(home) as catalog:
        assert catalog.last_sequence() == 8


def test_rows_of_one_product_may_lie_apart(home: Home, source: Path, read: list[str]) -> None:
    """One changed row brings all rows of its product, in their order."""
    second = "p1,i/8.jpg,,,,"
    path = feed(source, *lines(0, 1, 2), second, *lines(3), "p1,i/9.jpg,,,,")
    again(home, path, read)
    with open_catalog(home) as catalog:
        assert len(catalog.get("p1").photos) == 3
        before = catalog.get("p1").photos
    feed(source, *lines(0, 1, 2), second, *lines(3), "p1,i/10.jpg,,,,")
    assert again(home, path, read) == ["p1"]
    with open_catalog(home) as catalog:
        assert catalog.get("p1").photos[:2] == before[:2]
        assert catalog.get("p1").photos[2] != before[2]


def test_what_others_changed_is_read_again(home: Home, source: Path, read: list[str]) -> None:
    """A patch, a deletion and another catalog: the feed's word counts again."""
    path = feed(source, *lines(*range(6)))
    again(home, path, read)
    with open_catalog(home) as catalog:
        catalog.patch("p2", {"title": "Elsewhere"})
        catalog.delete("p4")
    assert again(home, path, read) == ["p2", "p4"]
    with open_catalog(home) as catalog:
        assert catalog.get("p2").title == "T"
        assert len(catalog) == 6
    assert again(home, path, read) == []


def test_photos_are_looked_at(home: Home, source: Path, read: list[str]) -> None:
    """A file of the same name with another photo, and a copy that is gone, are noticed."""
    path = feed(source, *lines(*range(6)))
    again(home, path, read)
    draw(source / "i/3.jpg", 300)
    (source / "i/1.jpg").touch()
    assert again(home, path, read) == ["p1", "p3"]
    copy = next(found for found in home.photos.rglob("*") if found.is_file())
    copy.unlink()
    assert len(again(home, path, read)) == 1
    assert copy.exists()
    assert again(home, path, read) == []


def test_rows_with_notices_are_read_again(home: Home, source: Path, read: list[str]) -> None:
    """What was left out is said each time; a photo that came meanwhile is found."""
    path = feed(source, *lines(0, 1), "p1,i/late.jpg,,,,", "p2,i/2.jpg,T,,,soon")
    again(home, path, read)
    assert again(home, path, read) == ["p1", "p2"]
    draw(source / "i/late.jpg", 55)
    again(home, path, read)
    with open_catalog(home) as catalog:
        assert len(catalog.get("p1").photos) == 2
    assert again(home, path, read) == ["p2"]


@pytest.mark.parametrize("what", ["photos", "npz", "options"])
def test_a_lost_memory_only_costs_time(
    home: Home, source: Path, read: list[str], what: str
) -> None:
    """A lost file, a damaged one and other options: all is read, nothing changes."""
    path = feed(source, *lines(*range(4)))
    again(home, path, read)
    options = {"types": {"price": "number"}} if what == "options" else {}
    if what != "options":
        (file,) = (home.path / "feeds").glob(f"*.{what}")
        file.write_bytes(b"damaged")
    assert len(again(home, path, read, **options)) == 4
    assert again(home, path, read, **options) == []
    with open_catalog(home) as catalog:
        assert catalog.last_sequence() == 4


def test_sync_knows_products_that_were_not_read(home: Home, source: Path) -> None:
    """The feed does not lack what stands in unchanged rows; what it lacks goes."""
    path = feed(source, *lines(*range(11)))
    import_feed(home, path)
    feed(source, *lines(*range(10)))
    assert counts(import_feed(home, path, ImportOptions(sync=True))) == (0, 0, 10, 1)


def test_a_new_product_with_an_old_id_loses_no_unchanged_one(home: Home, source: Path) -> None:
    """Its row is as it was, yet what it becomes is not: both products stay."""
    header = "Handle,Title,Option1 Name,Option1 Value,Variant SKU,Variant Price,Image Src"
    rows = [f"tee-{n},Tee {n},Size,M,S{n},9.50,i/1.jpg" for n in (2, 3)]
    path = source / "shopify.csv"

    def titles(*lines: str) -> dict[str, str | None]:
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        report = import_feed(home, path)
        assert report.rows == report.added + report.replaced + report.unchanged
        with open_catalog(home) as catalog:
            return {product.product_id: product.title for product in catalog.iterate()}

    assert titles(*rows) == {"S2": "Tee 2", "S3": "Tee 3"}
    found = titles("tee-1,Tee 1,Size,M,S2,9.50,i/1.jpg", *rows)
    assert found == {"S2": "Tee 1", "tee-2/M": "Tee 2", "S3": "Tee 3"}
    assert titles(*rows)["S2"] == "Tee 2"
