"""What a repair set aside leaves with an erasure, and by time."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.catalog.records import ProductInput, Put
from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.operations import set_aside
from indexer.operations.data_places import place_of
from indexer.operations.retention import end_terms, is_due
from indexer.operations.retention_terms import RetentionTerms
from indexer.operations.set_aside import erase_set_aside
from tests.indexer.index_build.test_pipeline import add_photo


def names(home: Home) -> set[str]:
    return {path.name for path in home.damaged.iterdir()}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Two products, whose photos and reviews were set aside."""
    home = Home.create(tmp_path / "home")
    home.damaged.mkdir()
    with open_catalog(home) as catalog:
        for number, name in enumerate(("gone", "stays")):
            photo = add_photo(home, number)
            (home.damaged / photo.content_hash).write_bytes(b"damaged")
            product = ProductInput(
                name, f"title of {name}", ("Wearable",), (), {}, (photo.content_hash,)
            )
            catalog.apply([Put(product, (photo,))])
    for suffix in ("", "-wal"):
        (home.damaged / f"20260101T000000-reviews.sqlite3{suffix}").write_bytes(b"gone")
    return home


def test_what_may_hold_an_erased_product_goes(home: Home) -> None:
    """Files of reviews, and its original; nothing before there was a deletion."""
    with open_catalog(home) as catalog:
        assert erase_set_aside(home, catalog) == 0
        kept = catalog.get("stays").photos[0]
        catalog.delete("gone")
        assert erase_set_aside(home, catalog) == 3
    assert names(home) == {kept}


def test_it_ends_by_time(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_catalog(home) as catalog:
        assert not is_due(home, catalog, RetentionTerms())
        assert end_terms(home, catalog).set_aside == 0
        monkeypatch.setattr(set_aside, "KEPT_DAYS", -1)
        assert is_due(home, catalog, RetentionTerms())
        assert end_terms(home, catalog).set_aside == 4
    assert names(home) == set()


def test_it_is_a_place_with_a_name() -> None:
    assert place_of(Path("damaged", "20260101T000000-reviews.sqlite3")) == "set aside"
