"""What a client may store is bounded, and names that no product has do not stay for ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.catalog import attribute_names
from indexer.catalog.attribute_names import forget_unused_names
from indexer.catalog.product_rows import read_products
from indexer.catalog.records import NewPhoto, ProductInput, Put
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import BadProductError
from indexer.core.home import Home
from indexer.core.sqlite import Connection, Error
from tests.indexer.core.test_nesting import nested

PHOTO = NewPhoto("0" * 64, "PNG", 10, 4, 4, "reference", "/nowhere")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with open_catalog(Home.create(tmp_path / "home")) as opened:
        yield opened


def put(catalog: Catalog, product_id: str = "p", **more: Any) -> None:
    fields = {"title": "t", "category": None, "tags": (), "attributes": {}, **more}
    product = ProductInput(product_id, photos=(PHOTO.content_hash,), **fields)
    catalog.put(product, photos=[PHOTO])


@pytest.mark.parametrize(
    ("most", "more", "reason"),
    [
        ({"title": "t" * 20_000}, {"title": "t" * 20_001}, "title has 20,001 characters"),
        ({"tags": ("t" * 1000,)}, {"tags": ("t" * 1001,)}, "a tag has 1,001 characters"),
        (
            {"tags": tuple(map(str, range(1000)))},
            {"tags": tuple(map(str, range(1001)))},
            "tags: 1,001 are given, at most 1,000",
        ),
        ({"category": ("c",) * 64}, {"category": ("c",) * 65}, "levels of a category: 65"),
        ({"category": ("c" * 1000,)}, {"category": ("c" * 1001,)}, "a level of a category has"),
        (
            {"attributes": dict.fromkeys(map(str, range(2000)), 1)},
            {"attributes": dict.fromkeys(map(str, range(2001)), 1)},
            "attributes: 2,001 are given",
        ),
        (
            {"attributes": {"n" * 200: 1}},
            {"attributes": {"n" * 201: 1}},
            "attribute's name has 201",
        ),
        ({"attributes": {"a": "v" * 100_000}}, {"attributes": {"a": "v" * 100_001}}, "'a' has"),
        ({"attributes": {"a": ["v"] * 5000}}, {"attributes": {"a": ["v"] * 5001}}, "'a': 5,001"),
        (
            {"attributes": {"a": ["v" * 50_000] * 2}},
            {"attributes": {"a": ["v" * 50_001] * 2}},
            "characters of its elements",
        ),
        ({}, {"attributes": {"a": nested(500)}}, "'a' is nested deeper than 64 levels"),
        (
            {"attributes": {str(n): "é" * 50_000 for n in range(10)}},
            {"attributes": {str(n): "é" * 50_000 for n in range(11)}},
            "bytes of all of them: 1,100,",
        ),
    ],
)
def test_a_product_holds_so_much_and_no_more(
    catalog: Catalog, most: dict[str, Any], more: dict[str, Any], reason: str
) -> None:
    """The refusal says what is too much and how much is stored; nothing of it is."""
    put(catalog, **most)
    before = catalog.get("p")
    with pytest.raises(BadProductError, match=reason):
        put(catalog, **more)
    changes = {name: value for name, value in more.items() if name != "photos"}
    with pytest.raises(BadProductError, match=reason):
        catalog.patch("p", changes)
    assert catalog.get("p") == before


def test_patches_together_are_bounded_too(catalog: Catalog) -> None:
    """What a product has already counts."""
    put(catalog, attributes=dict.fromkeys(map(str, range(1200)), 1))
    with pytest.raises(BadProductError, match="with those that the product has: 2,400"):
        catalog.patch("p", {"attributes": dict.fromkeys(map(str, range(1200, 2400)), 1)})
    for number in range(10):
        catalog.patch("p", {"attributes": {f"long {number}": "x" * 100_000}})
    with pytest.raises(BadProductError, match="bytes of all of them"):
        catalog.patch("p", {"attributes": {"long 10": "x" * 100_000}})


class ShortTexts:
    """A connection whose SQLite makes no long text."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def execute(self, query: str, values: Any = ()) -> Any:
        if "json_group_array" in query:
            raise Error("string or blob too big")
        return self.connection.execute(query, values)


def test_products_from_before_the_limits_are_still_read(catalog: Catalog) -> None:
    """Those of one page may be more than the longest text that SQLite makes: they are read one by
    one instead."""
    for number in range(6):
        put(catalog, f"p{number}", attributes={"text": "x" * number}, tags=("a", "b"))
    with catalog.database.read() as sql:
        found = read_products(ShortTexts(sql), range(1, 7))  # type: ignore[arg-type]
    assert found == catalog.by_pids(range(1, 7))
    assert len(found) == 6


def test_names_that_no_product_has_are_forgotten(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those whose type a person gave, nor those that products have; few are kept, since a feed
    may bring them back."""
    put(catalog, "stays", attributes={"kept": 1, "also": "x"})
    put(catalog, "goes", attributes=dict.fromkeys((f"gone {n}" for n in range(300)), 1))
    catalog.set_types({"given": "number"}, given=["given"])
    catalog.delete("goes")
    monkeypatch.setattr(attribute_names, "_PORTION", 1)
    assert forget_unused_names(catalog) == 300
    assert set(catalog.types()) == {"kept", "also", "given"}
    with catalog.database.read() as sql:
        query = "SELECT 1 FROM kept_types WHERE name LIKE 'gone%'"
        assert sql.execute(query).fetchone() is None
    put(catalog, "few", attributes={"one": 1})
    catalog.delete("few")
    assert forget_unused_names(catalog) == 0
    assert "one" in catalog.types()


def test_names_with_given_types_leave_room_for_others(catalog: Catalog) -> None:
    """What a refusal tells to do mends it: where there are nearly as many as a catalog takes, those
    that no product has are forgotten whoever typed them."""
    put(catalog, "stays", attributes={"kept": 1})
    names = [f"fill {n}" for n in range(9_999)]
    for part in (names[:5000], names[5000:]):
        catalog.set_types(dict.fromkeys(part, "string"), given=part)
    catalog.set_types({"kept": "number"}, given=["kept"])
    with pytest.raises(BadProductError, match="catalens index gc forgets"):
        put(catalog, "more", attributes={"another": 1})
    assert forget_unused_names(catalog) == 9_999
    put(catalog, "more", attributes={"another": 1})
    assert catalog.given_types() == {"kept"}


def test_a_name_that_is_written_meanwhile_stays(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(catalog, "goes", attributes=dict.fromkeys((f"gone {n}" for n in range(300)), 1))
    catalog.delete("goes")
    names = attribute_names._names
    written: list[str] = []

    def write_meanwhile(texts: Any) -> set[str]:
        if not written:
            written.append("back")
            put(catalog, "back", attributes={"gone 7": 2})
        return names(texts)

    put(catalog, "other", attributes={"kept": 1})
    monkeypatch.setattr(attribute_names, "_names", write_meanwhile)
    monkeypatch.setattr(attribute_names, "_PORTION", 1)
    assert forget_unused_names(catalog) == 299
    assert set(catalog.types()) == {"kept", "gone 7"}


def test_many_products_in_one_write_are_bounded_one_by_one(catalog: Catalog) -> None:
    """A bad one never fails the rest."""
    good = ProductInput("good", "t", None, (), {}, (PHOTO.content_hash,))
    bad = ProductInput("bad", "t" * 20_001, None, (), {}, (PHOTO.content_hash,))
    one, two = catalog.apply([Put(good, [PHOTO]), Put(bad, [PHOTO])])
    assert not isinstance(one, BadProductError)
    assert isinstance(two, BadProductError)
