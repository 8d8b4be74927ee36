"""Reviews and feedback speak of no other catalog's products, whatever numbers it gives again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from indexer.catalog.births import catalog_head, holds_head
from indexer.catalog.records import ProductInput, Put
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import BadDataError
from indexer.core.home import Home
from indexer.core.sqlite import connect
from indexer.operations.erasure import erase
from indexer.operations.verification import verify_home
from indexer.reviews.feedback_export import export_feedback
from indexer.reviews.store import Preview, open_reviews
from tests.indexer.index_build.test_pipeline import add_photo

NOTHING: dict[str, Any] = {"accepted": [], "rejected": [], "added": [], "category": None}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


def new(catalog: Catalog, name: str) -> Put:
    """A product; all have one photo."""
    photo = add_photo(Home(catalog.path.parent), 0)
    title = f"title of {name}"
    return Put(ProductInput(name, title, None, (), {}, (photo.content_hash,)), (photo,))


def add(catalog: Catalog, *names: str) -> None:
    for name in names:
        catalog.apply([new(catalog, name)])


def said(home: Home, *names: str) -> None:
    """A review of each product that names it as a neighbour too, and feedback on it."""
    with open_catalog(home) as catalog, open_reviews(home, catalog) as reviews:
        for name in names:
            pid = catalog.pid(name)
            body = {"tags": [{"tag": "x", "neighbours": [{"pid": pid, "score": 0.5}]}]}
            reviews.open_review(body, [Preview("a" * 64, b"j")], name=f"on {name}", pid=pid)
            reviews.add_feedback(
                [{**NOTHING, "added": [f"of {name}"], "clicked": [pid], "pid": pid}]
            )


def named(home: Home) -> dict[str, tuple[str | None, ...]]:
    """What each review and its feedback name now: own product, neighbour, feedback's, clicked."""
    with open_catalog(home) as catalog, open_reviews(home, catalog) as reviews:
        found = {}
        feedback = {body["added"][0]: body for _, body in reviews.feedback()}
        for review in reviews.waiting("open", limit=99)[0]:
            about = feedback[review.name.replace("on ", "of ")]
            (neighbour,) = review.body["tags"][0]["neighbours"]
            clicked = about["clicked"][0] if about["clicked"] else None
            pids = (review.pid, neighbour["pid"], about["pid"], clicked)
            ids = catalog.ids_of([pid for pid in pids if pid is not None])
            found[review.name] = tuple(None if pid is None else ids.get(pid) for pid in pids)
            assert about.get("foreign", False) is (about["pid"] is None)
        return found


def copy_away(home: Home, to: Path) -> Path:
    with open_catalog(home) as catalog:
        catalog.database.copy_to(to)
    return to


def put_back(home: Home, of: Path | None) -> None:
    for path in home.path.glob("catalog.sqlite3*"):
        path.unlink()
    if of is not None:
        shutil.copy(of, home.catalog_file)


def own(name: str) -> tuple[str | None, ...]:
    return (name,) * 4


NONE = (None,) * 4


def test_a_catalog_put_back_gives_numbers_to_other_products(home: Home, tmp_path: Path) -> None:
    """What names products from before the copy still does; what names later ones names none, also
    once new products have their numbers; what is said since names those."""
    with open_catalog(home) as catalog:
        add(catalog, "a", "b")
    said(home, "a")
    old = copy_away(home, tmp_path / "old")
    with open_catalog(home) as catalog:
        add(catalog, "c", "d")
    said(home, "b", "c", "d")
    assert named(home) == {f"on {name}": own(name) for name in "abcd"}
    put_back(home, old)
    left = {"on a": own("a"), "on b": own("b"), "on c": NONE, "on d": NONE}
    assert named(home) == left
    with open_catalog(home) as catalog:
        add(catalog, "e", "f", "g")
        assert catalog.pids(["e", "f"]) == {"e": 3, "f": 4}
    assert named(home) == left
    said(home, "e", "g")
    assert named(home) == {**left, "on e": own("e"), "on g": own("g")}
    (told,) = verify_home(home.path).not_checked
    # The reviews of b, c and d and their feedback: b is known all the same.
    assert told.startswith("6 reviews and entries of feedback were written beside another catalog")


def test_a_catalog_that_comes_back_knows_its_own_again(home: Home, tmp_path: Path) -> None:
    """Two states in turns: each knows what was said beside it, and nothing of the other's."""
    with open_catalog(home) as catalog:
        add(catalog, "a")
    said(home, "a")
    old = copy_away(home, tmp_path / "old")
    with open_catalog(home) as catalog:
        add(catalog, "b")
    said(home, "b")
    first = copy_away(home, tmp_path / "first")
    put_back(home, old)
    with open_catalog(home) as catalog:
        add(catalog, "c")
    said(home, "c")
    assert named(home) == {"on a": own("a"), "on b": NONE, "on c": own("c")}
    put_back(home, first)
    assert named(home) == {"on a": own("a"), "on b": own("b"), "on c": NONE}


def test_a_catalog_made_again_from_the_feed_has_none_of_them(home: Home, tmp_path: Path) -> None:
    with open_catalog(home) as catalog:
        add(catalog, "a", "b")
    said(home, "a", "b")
    put_back(home, None)
    with Catalog.create(home.catalog_file, photos=home.photos) as catalog:
        add(catalog, "x", "y")
    assert named(home) == {"on a": NONE, "on b": NONE}
    with pytest.raises(BadDataError, match="2: it is on a product of another catalog"):
        export_feedback(home, tmp_path / "out.csv")


def test_an_erasure_leaves_what_was_said_of_another_catalogs_product(
    home: Home, tmp_path: Path
) -> None:
    """The number of the erased product was another's once: only what names it is covered."""
    with open_catalog(home) as catalog:
        add(catalog, "a")
    said(home, "a")
    old = copy_away(home, tmp_path / "old")
    with open_catalog(home) as catalog:
        add(catalog, "lamp")
    said(home, "lamp")
    put_back(home, old)
    with open_catalog(home) as catalog:
        add(catalog, "chair")
    said(home, "chair")
    with open_catalog(home) as catalog:
        catalog.delete("chair")
    erase(home)
    with open_reviews(home) as reviews:
        added = [body["added"] for _, body in reviews.feedback()]
    assert added == [["of a"], ["of lamp"], [""]]


def test_entries_of_an_older_release_are_of_the_catalog_they_are_found_with(
    home: Home, tmp_path: Path
) -> None:
    """Neither it nor its catalog knew marks; from then on a catalog put back is told."""
    with open_catalog(home) as catalog:
        add(catalog, "a", "b")
    with connect(home.catalog_file) as sql:
        sql.execute("DROP TABLE births")
    said(home, "a")
    old = copy_away(home, tmp_path / "old")
    with connect(home.reviews_file) as sql:
        sql.execute("DROP TABLE catalog_heads")
    assert named(home) == {"on a": own("a")}
    with open_catalog(home) as catalog:
        add(catalog, "c")
    said(home, "c")
    put_back(home, old)
    with open_catalog(home) as catalog:
        add(catalog, "d")
    assert named(home) == {"on a": own("a"), "on c": NONE}


def test_compaction_takes_no_mark(home: Home) -> None:
    """A log that forgets old changes still knows which numbers are its own; one is given for all
    products of a commit."""
    with open_catalog(home) as catalog:
        add(catalog, "a")
        head = catalog_head(catalog.database)
        add(catalog, "b")
        catalog.change_log.compact(catalog.last_sequence())
        assert holds_head(catalog.database, head)
        assert not holds_head(catalog.database, head._replace(mark="0" * 16))
        assert not holds_head(catalog.database, head._replace(pid=99))
        with catalog.writing() as session:
            for name in "cde":
                session.write(new(catalog, name))
        with catalog.database.read() as sql:
            rows = sql.execute("SELECT first, last FROM births ORDER BY last").fetchall()
        assert rows == [(1, 1), (2, 2), (3, 5)]
