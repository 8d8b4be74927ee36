"""A feed that lost much is held; what looks wrong as a whole is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.errors import FeedHeldError
from indexer.core.home import Home
from indexer.feeds.guards import suspicion
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.importer import import_feed
from indexer.feeds.row_digests import LastRun
from tests.indexer.feeds.test_importer import draw, feed, lines


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(12):
        draw(tmp_path / f"data/i/{number}.jpg", number)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("products", "photos", "held"),
    [
        (100, 200, False),
        (81, 162, False),
        (80, 160, True),
        (0, 0, True),
        (100, 101, False),
        (100, 100, True),
        (300, 310, False),
        (300, 300, True),
    ],
)
def test_what_is_held(products: int, photos: int, held: bool) -> None:
    """A fifth fewer products, or half the photos a product."""
    last = LastRun(products=100, photos=200, usable=100)
    assert (suspicion(last, products, photos) is not None) == held
    assert suspicion(None, products, photos) is None
    assert suspicion(LastRun(products=4, photos=4, usable=4), products, photos) is None


def test_a_shrunk_feed_is_held_until_it_is_accepted(home: Home, source: Path) -> None:
    """Nothing is written; a dry run says so; --accept, or the deletes it needs, let it through."""
    path = feed(source, *lines(*range(10)))
    import_feed(home, path)
    feed(source, *lines(*range(7), title="New"))
    with pytest.raises(FeedHeldError, match=r"7 products and had 10 .*30% less.*--accept"):
        import_feed(home, path)
    with open_catalog(home) as catalog:
        assert catalog.last_sequence() == 10
    foretold = import_feed(home, path, ImportOptions(dry_run=True))
    assert [note.code for note in foretold.warnings] == ["feed-held"]
    assert import_feed(home, path, ImportOptions(accept=True)).replaced == 7
    feed(source, *lines(*range(4)))
    report = import_feed(home, path, ImportOptions(sync=True, allow_deletes=6))
    assert (report.replaced, report.deleted) == (4, 6)


def test_a_feed_without_its_further_photos_is_held(home: Home, source: Path) -> None:
    """Half of the photos a product are gone: no photo is taken from a product."""
    rows = [f"p{number},i/{number + 6}.jpg,,,," for number in range(6)]
    path = feed(source, *lines(*range(6)), *rows)
    import_feed(home, path)
    feed(source, *lines(*range(6)))
    with pytest.raises(FeedHeldError, match="6 photos of 6 products"):
        import_feed(home, path)
    with open_catalog(home) as catalog:
        assert len(catalog.get("p0").photos) == 2


def test_separators_and_currencies_are_warned_of(home: Home, source: Path) -> None:
    """Categories that nothing parts, tags in one cell, prices in two currencies."""
    path = feed(
        source,
        'a,i/0.jpg,A,Clothing/Shirts,"summer, cotton",10.00 EUR',
        'b,i/1.jpg,B,Clothing/Hats,"winter, wool",12.00 USD',
        "c,i/2.jpg,C,Clothing/Hats,,13.00 EUR",
    )
    report = import_feed(home, path, ImportOptions(dry_run=True))
    found = {note.code: note for note in report.warnings}
    assert found.keys() >= {"category-separator", "tag-separator", "mixed-currencies"}
    assert "3 of 3" in found["category-separator"].reason
    assert found["tag-separator"].value == "summer, cotton"
    assert "EUR 2, USD 1" in found["mixed-currencies"].reason
