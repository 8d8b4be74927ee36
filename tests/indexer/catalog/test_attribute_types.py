"""Types widen when text comes, stored numbers keep their digits, and given types stay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.catalog import attribute_types
from indexer.catalog.records import Patch, Put, Written
from indexer.catalog.store import Catalog
from indexer.core.errors import BadProductError
from tests.indexer.catalog.test_store import photo, product, put


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.create(tmp_path / "catalog.sqlite3") as catalog:
        yield catalog


def attributes(catalog: Catalog, product_id: str) -> dict[str, Any]:
    return catalog.get(product_id).attributes


def test_a_number_that_meets_text_becomes_text_with_its_digits(catalog: Catalog) -> None:
    """What was written "1.10" and "38" reads so afterwards; what happened is said; later numbers
    come as text too."""
    put(catalog, product("a", attributes={"size": 38, "build": "1.10"}))
    catalog.set_types({"build": "number"})
    put(catalog, product("b", attributes={"size": 40.5, "build": "2.20"}))
    assert attributes(catalog, "b") == {"size": 40.5, "build": 2.2}
    written = put(catalog, product("c", attributes={"size": "M", "build": "3.0b"}))
    assert written.outcome == "added"
    assert [text.split(" was a number")[0] for text in written.warnings] == [
        "attribute 'size'",
        "attribute 'build'",
    ]
    assert catalog.types() == {"build": "string", "size": "string"}
    assert attributes(catalog, "a") == {"size": "38", "build": "1.10"}
    assert attributes(catalog, "b") == {"size": "40.5", "build": "2.20"}
    assert put(catalog, product("d", attributes={"size": 42})).warnings == ()
    assert attributes(catalog, "d") == {"size": "42"}


@pytest.mark.parametrize("text", ["042", "12E4", "0123456789012", "M", "1,5"])
def test_text_that_a_number_would_spoil_stays_as_written(catalog: Catalog, text: str) -> None:
    """In a put and in a patch, beside numbers that were stored before."""
    put(catalog, product("a", attributes={"size": 38}))
    assert put(catalog, product("b", attributes={"size": text})).warnings
    assert attributes(catalog, "b") == {"size": text}
    put(catalog, product("a", attributes={"model": 5}))
    assert catalog.patch("b", {"attributes": {"model": text}}).warnings
    assert attributes(catalog, "b") == {"size": text, "model": text}
    assert attributes(catalog, "a") == {"model": "5"}


def test_a_code_is_text_from_its_first_value(catalog: Catalog) -> None:
    """By its name, also where it is sent as a number."""
    put(catalog, product("a", attributes={"gtin": 4006381333931, "vendor_sku": "12E4"}))
    put(catalog, product("b", attributes={"gtin": "0012345678905"}))
    assert catalog.types() == {"gtin": "string", "vendor_sku": "string"}
    assert attributes(catalog, "a") == {"gtin": "4006381333931", "vendor_sku": "12E4"}
    assert attributes(catalog, "b") == {"gtin": "0012345678905"}


def test_bools_and_dates_widen_too(catalog: Catalog) -> None:
    """A bool becomes "true", a date stays as it was written."""
    put(catalog, product("a", attributes={"new": True, "since": "2024-01-31"}))
    put(catalog, product("b", attributes={"new": "soon", "since": "spring"}))
    assert attributes(catalog, "a") == {"new": "true", "since": "2024-01-31"}
    assert catalog.types() == {"new": "string", "since": "string"}


def test_a_type_that_a_person_gave_stays(catalog: Catalog) -> None:
    """Text that is no number is refused and named; a code is read as the number it was made."""
    catalog.set_types({"stock": "number"}, given=["stock"])
    with pytest.raises(BadProductError, match="'stock': expected number, got 'many'"):
        put(catalog, product("a", attributes={"stock": "many"}))
    assert put(catalog, product("a", attributes={"stock": "007"})).warnings == ()
    assert attributes(catalog, "a") == {"stock": 7}
    catalog.set_types({"stock": "string"})
    assert attributes(catalog, "a") == {"stock": "007"}


def test_one_odd_value_does_not_change_what_a_hundred_products_have(catalog: Catalog) -> None:
    """The value is what is wrong: it is refused by name, and the numbers stay numbers."""
    puts = [Put(product(f"p{n}", attributes={"stock": n}), [photo(1)]) for n in range(100)]
    catalog.apply(puts)
    with pytest.raises(BadProductError, match="'stock': expected number, got 'odd'"):
        put(catalog, product("x", attributes={"stock": "odd"}))
    assert catalog.types() == {"stock": "number"}


def test_a_widened_batch_is_whole(catalog: Catalog) -> None:
    """Rows read ahead follow the conversion; a bad write in between changes nothing."""
    put(catalog, product("a", attributes={"size": 38, "n": 1}))
    put(catalog, product("b", attributes={"size": 39}))
    results = catalog.apply(
        [
            Patch("a", {"attributes": {"size": "M"}}),
            Patch("b", {"attributes": {"n": 2, "bad": {"x": 1}}}),
            Patch("b", {"attributes": {"n": 2}}),
            Patch("a", {"title": "T"}),
        ]
    )
    kinds = [found.outcome if isinstance(found, Written) else "error" for found in results]
    assert kinds == ["patched", "error", "patched", "patched"]
    assert attributes(catalog, "a") == {"size": "M", "n": 1}
    assert attributes(catalog, "b") == {"size": "39", "n": 2}
    assert catalog.get("a").sequence == catalog.last_sequence()


def test_a_spelling_alone_is_a_change_and_the_same_again_is_none(catalog: Catalog) -> None:
    """Written anew it is kept; a patch of another attribute leaves it; kept values keep theirs."""
    put(catalog, product("a", attributes={"price": 5}))
    assert put(catalog, product("a", attributes={"price": "5.00"})).outcome == "replaced"
    assert put(catalog, product("a", attributes={"price": "5.00"})).outcome == "unchanged"
    catalog.patch("a", {"attributes": {"stock": 1}})
    keep = frozenset({"price"})
    catalog.apply([Put(product("a", attributes={"price": 9}), keep=keep)])
    catalog.set_types({"price": "string"})
    assert attributes(catalog, "a") == {"price": "5.00"}


def test_blank_text_is_no_reason_to_widen(catalog: Catalog) -> None:
    """It is refused as no number."""
    put(catalog, product("a", attributes={"size": 38}))
    with pytest.raises(BadProductError, match="expected number"):
        put(catalog, product("b", attributes={"size": " "}))


def test_types_of_thousands_of_attributes_change_at_once(catalog: Catalog) -> None:
    """More of them than one condition of SQLite can name."""
    names = [f"n{number}" for number in range(1500)]
    put(catalog, product("a", attributes=dict.fromkeys(names, 1)))
    catalog.set_types(dict.fromkeys(names, "string"))
    assert attributes(catalog, "a") == dict.fromkeys(names, "1")


def test_a_catalog_has_so_many_attributes_and_no_more(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a put, a patch or given types; those that it has go on."""
    monkeypatch.setattr(attribute_types, "_MOST_NAMES", 2)
    put(catalog, product("a", attributes={"x": 1, "y": 2}))
    with pytest.raises(BadProductError, match="'z' is new"):
        put(catalog, product("b", attributes={"z": 1}))
    with pytest.raises(BadProductError, match="at most"):
        catalog.patch("a", {"attributes": {"z": 1}})
    with pytest.raises(BadProductError, match="at most"):
        catalog.set_types({"z": "number"})
    put(catalog, product("b", attributes={"x": 3}))
    assert catalog.types() == {"x": "number", "y": "number"}
