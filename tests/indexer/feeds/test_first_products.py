"""The first products of a feed show all its categories."""

from __future__ import annotations

from array import array
from pathlib import Path

from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.feeds.first_products import choose_first
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.importer import import_feed
from tests.indexer.feeds.test_importer import counts, draw, feed


def test_one_of_each_category_comes_first() -> None:
    """Then a second of each; a group of several products counts as such."""
    categories = array("Q", [7, 7, 7, 9, 7, 5])
    ones = array("Q", [1] * 6)
    assert choose_first(ones, categories, 3).tolist() == [0, 3, 5]
    assert choose_first(ones, categories, 4).tolist() == [0, 3, 5, 1]
    assert choose_first(ones, categories, 100).tolist() == [0, 3, 5, 1, 2, 4]
    assert choose_first(array("Q", [5, 1, 1, 1, 1, 1]), categories, 5).tolist() == [0]
    assert choose_first(ones, categories, None).tolist() == [0, 1, 2, 3, 4, 5]
    assert choose_first(array("Q"), array("Q"), 3).tolist() == []


def test_the_rest_comes_with_the_next_run(tmp_path: Path) -> None:
    """A sample over all categories, then all others; nothing twice."""
    home = Home.create(tmp_path / "home")
    rows = []
    for number in range(12):
        draw(tmp_path / f"i/{number}.jpg", number)
        category = "Hat" if number == 11 else "Shoe" if number == 10 else "Shirt"
        rows.append(f"p{number},i/{number}.jpg,T,{category},,")
    path = feed(tmp_path, *rows)
    assert counts(import_feed(home, path, ImportOptions(only_first=4))) == (4, 0, 0, 0)
    with open_catalog(home) as catalog:
        assert catalog.product_ids() == {"p0", "p10", "p11", "p1"}
    assert counts(import_feed(home, path)) == (8, 0, 4, 0)
