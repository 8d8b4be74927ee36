"""What one product cannot hold costs itself: the product and its other values are stored."""

from __future__ import annotations

from pathlib import Path

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.feeds.attribute_room import within_room
from indexer.feeds.importer import import_feed
from tests.indexer.conftest import draw
from tests.indexer.feeds.feed_files import write_rows


def test_the_longest_goes_where_all_are_too_many() -> None:
    """Of a product's megabyte; a value alone has 100,000 characters, a product 2,000 values."""
    held, odd = within_room({"long": "x" * 100_001, "n": 1, "list": ["y" * 60_000] * 2}, "f:2")
    assert (held, [note.column for note in odd]) == ({"n": 1}, ["long", "list"])
    values = {f"v{n}": "é" * (40_000 + n) for n in range(20)}
    held, odd = within_room({**values, "n": 1}, "f:2")
    assert [note.column for note in odd] == [f"v{n}" for n in range(19, 12, -1)]
    assert list(held) == [*(f"v{n}" for n in range(13)), "n"]
    held, odd = within_room({f"v{n}": n for n in range(2001)}, "f:2")
    assert (len(held), [note.column for note in odd]) == (2000, ["v2000"])


def test_a_cell_that_is_too_long_costs_no_product(tmp_path: Path) -> None:
    """A description with a photo inside, a title, a tag and a category of a whole page."""
    draw("disc", 1).save(tmp_path / "a.png")
    row = {"image": "a.png", "description": "short", "title": "Mug", "tags": "x", "category": "C"}
    rows = [
        {**row, "product_id": "1", "description": '<img src="data:' + "A" * 150_000 + '">'},
        {**row, "product_id": "2", "title": "t" * 20_001},
        {**row, "product_id": "3", "tags": "new|" + "t" * 1001},
        {**row, "product_id": "4", "category": "A > " + "c" * 1001},
    ]
    home = Home.create(tmp_path / "home")
    report = import_feed(home, write_rows(tmp_path / "feed.csv", rows))
    assert (report.added, report.skipped.total) == (4, 0)
    assert sorted((note.where, note.column) for note in report.warnings) == [
        ("feed.csv:2", "description"),
        ("feed.csv:3", "title"),
        ("feed.csv:4", "tags"),
        ("feed.csv:5", "category"),
    ]
    with open_catalog(home) as catalog:
        stored = {product.product_id: product for product in catalog.iterate()}
    assert [stored[one].attributes for one in "12"] == [{}, {"description": "short"}]
    assert (stored["2"].title, stored["4"].category) == (None, None)
    assert [tag.tag for tag in stored["3"].tags] == ["new"]
