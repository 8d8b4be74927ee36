"""Reviews keep nothing of an erased product, whenever they came into the queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.catalog.store import open_catalog
from indexer.core.errors import UnknownProductError
from indexer.core.home import Home
from indexer.operations.erasure import erase
from indexer.reviews.store import Preview, open_reviews
from tests.indexer.reviews.test_catalog_lineage import add


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Three products, the second of which is erased by now."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        add(catalog, "first", "gone", "last")
        catalog.delete("gone")
    erase(home)
    return home


def queue_late(home: Home, pid: int | None, name: str) -> None:
    """Queue a review as an older release did: nothing asked whether the product was still there."""
    with open_reviews(home) as reviews:
        body = {"verdict": "review", "listing": {"title": f"title of {name}"}}
        reviews.open_review(body, [Preview("a" * 64, b"preview of " + name.encode())], pid=pid)


def test_an_erased_product_comes_into_no_review_and_no_feedback(home: Home) -> None:
    """Whoever looked at it for long keeps nothing of it afterwards; of others all is kept."""
    with open_catalog(home) as catalog, open_reviews(home, catalog) as reviews:
        with pytest.raises(UnknownProductError, match="erased meanwhile"):
            reviews.open_review({"title": "of gone"}, [Preview("a" * 64, b"j")], pid=2)
        with pytest.raises(UnknownProductError, match="erased meanwhile"):
            reviews.add_feedback([{"added": ["red"], "pid": 1}, {"added": ["of gone"], "pid": 2}])
        assert (list(reviews.bodies()), reviews.counts()["open"]) == ([], 0)
        assert reviews.count_previews(["a" * 64]) == 0
        reviews.open_review({"title": "of last"}, [Preview("a" * 64, b"j")], pid=3)
        reviews.open_review({"title": "of none"}, [], pid=None)
        reviews.add_feedback([{"added": ["red"], "pid": 3}, {"added": ["blue"], "pid": None}])
        assert [pid for pid, _ in reviews.bodies()] == [3, None, None, None]


def test_erasing_again_ends_what_was_queued_too_late(home: Home) -> None:
    """Preview and text go, and no byte of them stays; those of products that are there, and of
    numbers that the catalog never gave, are left alone."""
    for pid, name in ((1, "first"), (2, "gone"), (3, "last"), (4, "never"), (None, "nothing")):
        queue_late(home, pid, name)
    erase(home)
    with open_catalog(home) as catalog, open_reviews(home, catalog) as reviews:
        found, _ = reviews.waiting("open", limit=9)
        titles = [review.body["listing"]["title"] for review in found]
        assert titles == [
            "title of first",
            "",
            "title of last",
            "title of never",
            "title of nothing",
        ]
        assert [list(review.photos) for review in found] == [[0], [], [0], [0], [0]]
    held = b"".join(path.read_bytes() for path in home.path.glob("reviews.sqlite3*"))
    assert b"preview of last" in held
    assert b"of gone" not in held
