"""Where data lies: no file of a home is left out, and each place of a product is named."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import open_catalog
from indexer.core.errors import UnknownProductError
from indexer.core.home import Home
from indexer.fetch.state import FetchState, URLState
from indexer.index.pushed import note_pushed
from indexer.model.feature_store import FeatureCache
from indexer.operations.data_places import UNKNOWN, find_places, place_of
from indexer.operations.jobs import Jobs
from indexer.operations.product_places import ProductPlace, find_product
from indexer.reviews.store import Preview, open_reviews
from tests.indexer.conftest import copy_home
from tests.indexer.index_build.test_pipeline import build, template

__all__ = ["template"]


@pytest.fixture
def home(template: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with a version, reviews, addresses, a job, and a cache beside it."""
    home = copy_home(template, tmp_path)
    monkeypatch.setenv("CATALENS_CACHE", str(tmp_path / "cache"))
    build(home, activate=False)
    note_pushed(home, tmp_path / "depot")
    Jobs(home).add("build", {})
    with open_catalog(home) as catalog, open_reviews(home) as reviews:
        photo = catalog.photo(catalog.get("p3").photos[0])
        assert photo is not None
        PhotoStore(home).thumbnail(photo, 160)
        name = reviews.open_review({}, [Preview(photo.content_hash, b"jpeg")])
        reviews.decide(name, "approve", reason="as p3, or p4")
        reviews.add_feedback([{"accepted": [], "pid": catalog.pid("p3")}])
        with FetchState(home.fetch_file) as state:
            state.record(URLState("http://a/3.jpg", photo.content_hash))
        with closing(FeatureCache(tmp_path / "cache", "f" + "0" * 32)) as cache:
            cache.put([(photo.content_hash, "f" * 64, np.zeros(4, np.float16))])
    return home


def test_no_file_of_a_home_is_left_out(home: Home) -> None:
    """Files and bytes of the places are those of the folder; what lies outside is named, and so is
    a file that nobody knows."""
    with open_catalog(home) as catalog:
        found = {place.place: place for place in find_places(home, catalog)}
        assert UNKNOWN not in found
        inside = [place for place in found.values() if place.path.startswith(str(home.path))]
        files = [path for path in home.path.rglob("*") if path.is_file()]
        assert sum(place.files or 0 for place in inside) == len(files)
        assert sum(place.bytes or 0 for place in inside) == sum(p.stat().st_size for p in files)
        assert found["pushed versions"].path == str(home.path.parent / "depot")
        assert found["feature cache"].files == 1
        assert {"logs", "backups", "photos", "reviews"} <= set(found)
        assert all(place.ends and place.holds for place in found.values())
        (home.path / "notes.txt").write_text("p3")
        (strange,) = [p for p in find_places(home, catalog) if p.place == UNKNOWN]
        assert (strange.path, strange.files) == (str(home.path / "notes.txt"), 1)


def test_every_place_of_a_product_is_named(home: Home) -> None:
    with open_catalog(home) as catalog:
        found = find_product(home, catalog, "p3")
        content_hash = catalog.get("p3").photos[0]
        with pytest.raises(UnknownProductError):
            find_product(home, catalog, "never")
    counts = {(place.place, place.what): place.entries for place in found}
    assert counts == {
        ("catalog", "the product"): 1,
        ("catalog", "changes"): 1,
        ("photos", "an original photo"): 1,
        ("thumbnails", "160 px"): 1,
        ("embeddings", "vectors"): 1,
        ("keywords", "its words"): 1,
        ("index versions", "rows with their vectors"): 1,
        ("addresses of photos", "addresses"): 1,
        ("reviews", "entries about it"): 1,
        ("reviews", "entries about others that name it"): 1,
        ("reviews", "small photos"): 1,
        ("feature cache", "features of photos"): 1,
    }
    assert str(home.path / "thumbnails" / content_hash[:2] / f"{content_hash}-160.jpg") in [
        place.path for place in found
    ]


def test_a_file_that_no_store_knows_is_found_by_the_id(home: Home) -> None:
    """Its id in any other file of the home is a place too."""
    with open_catalog(home) as catalog:
        catalog.patch("p3", {"title": "x"})
        (home.path / "notes.txt").write_text('{"like": "p3"}')
        found = find_product(home, catalog, "p3")
    assert ProductPlace(UNKNOWN, str(home.path / "notes.txt"), "its id", None) in found


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("catalog.sqlite3-wal", "catalog"),
        (".home.json.12.0123abcd.tmp", "leftovers"),
        ("indexes/LAST", "index versions"),
        ("other/catalog.sqlite3", UNKNOWN),
    ],
)
def test_a_file_belongs_to_one_place(path: str, place: str) -> None:
    assert place_of(Path(path)) == place
