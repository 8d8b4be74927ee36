"""Fields and addresses of photos are stored, compared, patched, kept and owned; old files take
them."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from indexer.catalog.filters import elements, facts_of, parse_filter
from indexer.catalog.product_fields import NO_FIELDS, MarketPrice, ProductFields
from indexer.catalog.records import Delete, Patch, Put, Written
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import (
    BadProductError,
    CatalensError,
    ChangedError,
    ReadOnlyError,
    StorageError,
)
from indexer.core.home import Home
from indexer.core.sqlite import connect
from tests.indexer.catalog.test_store import MERCHANT, photo, product, put

STORED = Path(__file__).parents[2] / "homes"
FIELDS = ProductFields(
    url="https://shop.example/p?a=1",
    price=19.9,
    sale_price=15,
    currency="EUR",
    availability="out_of_stock",
    brand="Ünder",
    gtin="0012345678905",
    sku="12E4",
    parent="shirt",
    variant="Red / M",
    titles={"de": "Hemd"},
    categories={"de": ("Kleidung", "Hemden")},
    prices={"CH": {"price": 21.5, "currency": "CHF"}},
)
SOURCES = {photo(1).content_hash: "https://cdn.example/1.jpg?v=2"}


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.create(tmp_path / "catalog.sqlite3") as catalog:
        yield catalog


def test_fields_and_addresses_come_back_as_they_were_put(catalog: Catalog) -> None:
    """Each field, by language and market too, and the address of each photo that has one."""
    put(catalog, product(photos=(1, 2), fields=FIELDS, sources=SOURCES))
    with Catalog.open(catalog.path) as other:
        stored = other.get("p")
    assert stored.fields == FIELDS
    assert stored.sources == SOURCES
    assert put(catalog, product("bare")).pid == 2
    bare = catalog.get("bare")
    assert (bare.fields, bare.sources) == (NO_FIELDS, {})
    assert catalog.used_fields() == {name for name in vars(FIELDS)}


def test_a_change_of_fields_or_addresses_alone_is_no_change_of_photos(catalog: Catalog) -> None:
    """The same again is unchanged; a price or an address is written and logged, and no vector is
    concerned."""
    put(catalog, product(fields=FIELDS, sources=SOURCES))
    assert put(catalog, product(fields=FIELDS, sources=SOURCES)).outcome == "unchanged"
    dearer = put(catalog, product(fields=ProductFields(price=20), sources=SOURCES))
    assert (dearer.outcome, dearer.photos_changed) == ("replaced", False)
    moved = put(catalog, product(fields=ProductFields(price=20.0)))
    assert (moved.outcome, moved.photos_changed, moved.orphaned) == ("replaced", False, ())
    assert catalog.get("p").sources == {}
    assert [change.photos_changed for change in catalog.changes(1)] == [False, False]


def test_a_patch_merges_fields_by_name(catalog: Catalog) -> None:
    """None removes one, what is not named stays, and photos with their addresses are not
    touched."""
    put(catalog, product(fields=FIELDS, sources=SOURCES))
    changes = {"fields": {"price": 9, "sale_price": None, "titles": {"fr": "Chemise"}}}
    assert catalog.patch("p", changes).outcome == "patched"
    stored = catalog.get("p")
    assert (stored.fields.price, stored.fields.sale_price) == (9.0, None)
    assert (stored.fields.titles, stored.fields.gtin) == ({"fr": "Chemise"}, "0012345678905")
    assert stored.sources == SOURCES
    assert catalog.patch("p", changes).outcome == "unchanged"
    catalog.patch("p", {"fields": dict.fromkeys(vars(FIELDS))})
    assert catalog.get("p").fields == NO_FIELDS


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"price": "19.00 EUR"}, "price must be a number"),
        ({"price": True}, "price must be a number"),
        ({"sale_price": -1}, "sale_price must be 0 or more"),
        ({"price": float("nan")}, "price must be 0 or more"),
        ({"currency": "euro"}, "three capital letters"),
        ({"availability": "in stock"}, "availability must be one of in_stock"),
        ({"url": "javascript:alert(1)"}, "http or https"),
        # As browsers read it, it is the same.
        ({"url": "java\tscript:alert(1)"}, "control character"),
        ({"url": "\x01javascript:alert(1)"}, "control character"),
        ({"sku": "\0"}, "control character"),
        ({"parent": "p\u2028q"}, "control character"),
        ({"gtin": 4006381333931}, "gtin must be text"),
        ({"sku": "x" * 1001}, "1001 characters"),
        ({"brand": "\ud800"}, "not valid Unicode"),
        ({"titles": {"d e": "x"}}, "not a language"),
        ({"prices": {"DE": {"amount": 1}}}, "takes price, sale_price and currency"),
        ({"prices": {"DE": 3}}, "prices.DE must be an object"),
        ({"categories": {"de": 3}}, "category must be text"),
    ],
)
def test_a_field_that_cannot_be_stored_is_named(
    catalog: Catalog, fields: dict[str, Any], message: str
) -> None:
    """A put and a patch are refused whole, with the field and what it takes."""
    put(catalog, product(fields=FIELDS))
    with pytest.raises(BadProductError, match=message):
        put(catalog, product(fields=ProductFields(**fields)))
    with pytest.raises(BadProductError, match=message):
        catalog.patch("p", {"fields": fields})
    assert catalog.get("p").fields == FIELDS


def test_a_market_may_have_a_name_of_the_shop_s_own(catalog: Catalog) -> None:
    """As Shopify's export has them: "Price / International"."""
    prices: dict[str, MarketPrice] = {
        "International": {"price": 22.0},
        "European Union (B2B)": {"price": 21.0, "currency": "EUR"},
        "日本": {"price": 3000.0},
    }
    put(catalog, product(fields=ProductFields(prices=prices)))
    assert catalog.get("p").fields.prices == prices
    with pytest.raises(BadProductError, match="not a market"):
        catalog.patch("p", {"fields": {"prices": {"a\nb": {"price": 1.0}}}})


def test_an_unknown_field_is_refused_by_name(catalog: Catalog) -> None:
    """The message lists the fields that there are."""
    put(catalog, product())
    with pytest.raises(BadProductError, match="no field 'prise'; there are: url, price"):
        catalog.patch("p", {"fields": {"prise": 1}})
    with pytest.raises(BadProductError, match="address of a photo"):
        put(catalog, product(sources={photo(1).content_hash: "file:///etc/passwd"}))


def outcome(catalog: Catalog, write: Put | Patch | Delete) -> Written | CatalensError:
    return catalog.apply([write])[0]


def test_a_write_of_what_was_read_fails_when_another_came_between(catalog: Catalog) -> None:
    """Put, patch and delete with the sequence that was read; the stored product stays as it is."""
    read = put(catalog, product()).sequence
    assert catalog.patch("p", {"title": "Other"}).outcome == "patched"
    stale: list[Put | Patch | Delete] = [
        Put(product(title="Mine"), expected_sequence=read),
        Patch("p", {"title": "Mine"}, expected_sequence=read),
        Delete("p", expected_sequence=read),
        Put(product(title="Mine"), expected_sequence=0),
        Patch("gone", {"title": "Mine"}, expected_sequence=1),
    ]
    for write in stale:
        found = outcome(catalog, write)
        assert isinstance(found, ChangedError), write
    assert catalog.get("p").title == "Other"
    fresh = outcome(catalog, Patch("p", {"title": "Mine"}, expected_sequence=2))
    assert isinstance(fresh, Written)
    new = Put(product("new"), [photo(1)], expected_sequence=0)
    assert isinstance(outcome(catalog, new), Written)
    bad = outcome(catalog, Delete("p", expected_sequence=-1))
    assert isinstance(bad, BadProductError)


def test_a_put_keeps_what_another_source_owns(catalog: Catalog) -> None:
    """Named fields, attributes, title, category, tags and photos stay as stored; the rest is
    replaced."""
    put(
        catalog,
        product(attributes={"stock": 3, "note": "old", "price": 5}, fields=FIELDS, sources=SOURCES),
    )
    keep = frozenset({"title", "category", "tags", "photos", "stock", "price", "prices"})
    wanted = product(
        photos=(),
        title="New",
        category=("X",),
        tags=(),
        attributes={"note": "new", "stock": 0},
        fields=ProductFields(price=1, brand="New"),
    )
    found = outcome(catalog, Put(wanted, keep=keep))
    assert isinstance(found, Written)
    assert (found.outcome, found.photos_changed) == ("replaced", False)
    stored = catalog.get("p")
    assert (stored.title, stored.category, stored.tags) == ("Shirt", ("A", "B"), MERCHANT)
    assert stored.attributes == {"stock": 3, "note": "new", "price": 5}
    assert stored.fields == ProductFields(price=19.9, brand="New", prices=FIELDS.prices)
    assert (len(stored.photos), stored.sources) == (1, SOURCES)


def test_a_kept_address_belongs_to_its_photo(catalog: Catalog) -> None:
    """With "sources" kept, a photo that stays keeps its address, a new one has the given one."""
    put(catalog, product(photos=(1, 2), sources=SOURCES))
    wanted = product(photos=(3, 1), sources={photo(3).content_hash: "https://cdn.example/3.jpg"})
    outcome(catalog, Put(wanted, [photo(3)], keep=frozenset({"sources"})))
    assert catalog.get("p").sources == {
        photo(3).content_hash: "https://cdn.example/3.jpg",
        **SOURCES,
    }


def test_nothing_is_kept_of_a_product_that_is_new(catalog: Catalog) -> None:
    """What is given is stored; without photos it is refused, since there are none to keep."""
    keep = frozenset({"title", "photos"})
    assert isinstance(outcome(catalog, Put(product(photos=()), keep=keep)), BadProductError)
    assert isinstance(outcome(catalog, Put(product(), [photo(1)], keep=keep)), Written)
    assert catalog.get("p").title == "Shirt"


def test_owners_of_fields_are_data(catalog: Catalog) -> None:
    """Given, replaced and taken away by name; others keep theirs."""
    catalog.set_owners({"price": "erp", "stock": "erp"})
    catalog.set_owners({"price": "shop", "stock": None})
    assert catalog.owners() == {"price": "shop"}
    with pytest.raises(BadProductError, match="empty"):
        catalog.set_owners({"price": " "})


@pytest.fixture
def old(tmp_path: Path) -> Home:
    with tarfile.open(STORED / "format-1.tar.xz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    return Home(tmp_path / "old")


def columns(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(connect(path)) as sql:
        names = [
            row[0]
            for row in sql.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")
            if not row[0].startswith("sqlite_")
        ]
        return {
            name: sorted(row[1:] for row in sql.execute(f"PRAGMA table_info({name})"))
            for name in names
        }


def test_an_old_catalog_takes_fields_from_its_first_opening(old: Home, tmp_path: Path) -> None:
    """Its products are as they were; it has the columns of a new one, and its next write may hold
    fields."""
    with open_catalog(old) as catalog:
        assert catalog.migrated
        before = catalog.get("ball/1")
        assert (before.fields, before.sources, before.attributes["price"]) == (NO_FIELDS, {}, 9.5)
        catalog.patch("ball/1", {"fields": {"price": 3}})
        assert catalog.get("ball/1").fields == ProductFields(price=3.0)
    with open_catalog(old) as again:
        assert not again.migrated
    Catalog.create(tmp_path / "new.sqlite3").close()
    new = columns(tmp_path / "new.sqlite3")
    held = columns(old.catalog_file)
    assert {name: held[name] for name in new} == new


def test_an_old_catalog_that_cannot_be_written_is_read(
    old: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a read-only or full disk its products answer with no fields; when a write works, it is
    brought to today's format."""

    def full(*_: object) -> bool:
        raise StorageError("the disk is full")

    with monkeypatch.context() as disk:
        disk.setattr("indexer.catalog.store.bring_up_to_date", full)
        catalog = open_catalog(old)
    with catalog:
        assert not catalog.migrated
        assert catalog.get("ball/1").fields == NO_FIELDS
        assert catalog.facts([1])[1].attributes["price"] == 9.5
        assert (catalog.owners(), catalog.used_fields()) == ({}, set())
        catalog.patch("ball/1", {"fields": {"price": 3}})
        assert catalog.get("ball/1").fields.price == 3.0


def test_another_process_s_migration_is_seen(old: Home) -> None:
    """A reader that found an old file reads the fields that were written since."""
    catalog = Catalog(old.catalog_file)
    catalog._old = True
    with catalog, open_catalog(old) as other:
        other.patch("ball/1", {"fields": {"price": 3}})
        assert catalog.get("ball/1").fields.price == 3.0


def test_a_dry_run_leaves_an_old_file_old(old: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given up with the rest of its transaction; a killed migration leaves nothing behind
    either."""
    untouched = old.path / "copy.sqlite3"
    shutil.copy(old.catalog_file, untouched)
    monkeypatch.setattr(Catalog, "_bring_up_to_date", lambda self: None)
    with Catalog.open(untouched) as catalog:
        catalog._old = True
        catalog.apply([Patch("ball/1", {"fields": {"price": 3}})], dry_run=True)
        assert catalog.get("ball/1").fields == NO_FIELDS
    assert "used_fields" not in columns(untouched)


def test_fields_are_known_to_filters(catalog: Catalog) -> None:
    """Those that some product ever had can be named. Amounts are numbers."""
    put(catalog, product(attributes={"colour": "red"}))
    assert catalog.filter_types() == {"colour": "string"}
    put(catalog, product(attributes={"colour": "red"}, fields=ProductFields(price=5, sku="1")))
    assert catalog.filter_types() == {"colour": "string", "price": "number", "sku": "string"}
    facts = catalog.facts([1])[1]
    assert facts == facts_of(catalog.get("p"))
    raw = {"must": [{"field": "price", "lt": 6}, {"field": "sku", "eq": "1"}]}
    where = parse_filter(raw, catalog.filter_types(), pid_of=catalog.pid)
    assert where.holds(facts)
    assert not where.holds(facts._replace(attributes={"sku": "1"}))


def test_an_attribute_with_a_field_s_name_keeps_its_meaning(catalog: Catalog) -> None:
    """Its type stays until a product has the field; then the field's value counts where there is
    one, and the attribute where it can be read as one."""
    put(catalog, product("text", attributes={"price": "19.00 EUR", "brand": ["A", "B"]}))
    assert catalog.filter_types()["price"] == "string"
    assert catalog.filter_types()["brand"] == "list"
    put(catalog, product("both", attributes={"price": "7.5"}, fields=ProductFields(price=5)))
    put(catalog, product("read", attributes={"price": "7.5"}))
    types = catalog.filter_types()
    assert (types["price"], types["brand"]) == ("number", "list")
    prices = {
        pid: elements(facts, "price", "number") for pid, facts in catalog.facts([1, 2, 3]).items()
    }
    assert prices == {1: (), 2: (5.0,), 3: (7.5,)}


def test_fields_of_an_erased_product_leave_the_file(catalog: Catalog) -> None:
    """After a delete and a checkpoint neither its fields nor the address of its photo is there."""
    secret = [f"secret-{part}-{'x' * 40}" for part in ("url", "sku", "title", "address")]
    fields = ProductFields(url=secret[0], sku=secret[1], titles={"de": secret[2]})
    put(catalog, product(fields=fields, sources={photo(1).content_hash: secret[3]}))
    catalog.database.checkpoint()
    held = catalog.path.read_bytes()
    assert all(text.encode() in held for text in secret)
    catalog.delete("p")
    catalog.database.checkpoint()
    held = catalog.path.read_bytes()
    assert not any(text.encode() in held for text in secret)


def test_an_old_catalog_on_a_read_only_disk_stays_old(
    old: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is read, with no fields; a write is refused, and the file is not touched."""
    before = old.catalog_file.read_bytes()
    monkeypatch.setattr("indexer.core.sqlite.is_read_only", lambda _: True)
    with open_catalog(old) as catalog:
        assert len(list(catalog.iterate())) == 5
        assert catalog.filter_types() == catalog.types()
        assert (catalog.given_types(), catalog.get("ball/1").sources) == (set(), {})
        with pytest.raises(ReadOnlyError):
            catalog.patch("ball/1", {"fields": {"price": 3}})
    assert old.catalog_file.read_bytes() == before
