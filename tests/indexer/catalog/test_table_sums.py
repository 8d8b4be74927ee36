"""Whole tables of a catalog have checksums, whatever writes to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pytest

from indexer.catalog.checksums import SUMMED
from indexer.catalog.integrity import check_catalog, seal_catalog
from indexer.catalog.records import NewPhoto, Patch, ProductInput, Put
from indexer.catalog.schema import ensure_order_tables
from indexer.catalog.store import Catalog
from indexer.catalog.table_sums import stored_sums
from indexer.core.actor import acting, doing
from indexer.recommendation.orders import import_orders
from tests.indexer.catalog.test_integrity import change


def put(product_id: str, title: str, category: str) -> Put:
    """A product with a photo of its own."""
    content = blake2b(product_id.encode(), digest_size=32).hexdigest()
    photo = NewPhoto(content, "JPEG", 10, 4, 4, "reference", f"/{product_id}")
    return Put(ProductInput(product_id, title, (category,), (), {}, (content,)), [photo])


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """Products with tombstones, actions that can be undone, and orders."""
    with Catalog.create(tmp_path / "catalog.sqlite3") as catalog:
        with acting("ann"), doing("import", "first"):
            catalog.apply(
                [put(f"p{number}", f"title {number}", f"kind {number}") for number in range(6)]
            )
        with acting("bob"), doing("edit", "second"):
            catalog.patch("p1", {"title": "other"})
            catalog.delete("p2")
        orders = tmp_path / "orders.csv"
        rows = [f"o{order},p{order % 2 + more}" for order in range(4) for more in (0, 3)]
        orders.write_text("\n".join(["order_id,product_id", *rows]) + "\n")
        import_orders(catalog, orders, min_support=1)
        yield catalog


def sums(catalog: Catalog) -> dict[str, tuple[int, int]]:
    with catalog.database.read() as sql:
        return stored_sums(sql, SUMMED)


def test_every_table_that_is_there_has_a_checksum(catalog: Catalog) -> None:
    """All tables of a catalog but the rows' own and the checksums are checked as one, and fit."""
    assert check_catalog(catalog).damages == []
    with catalog.database.read() as sql:
        query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        there = {row[0] for row in sql.execute(query)}
    rows = {"products", "tags", "photos", "product_photos", "checksums"}
    assert there - rows - set(sums(catalog)) == {"attribute_types", "used_fields", "field_owners"}


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE kept SET parts = replace(parts, 'title 1', 'title 7')", "kept"),
        ("UPDATE actions SET actor = 'eve' WHERE actor = 'ann'", "actions"),
        ("DELETE FROM kept WHERE pid = 2", "kept"),
        ("UPDATE tombstones SET until = 0", "tombstones"),
        ("UPDATE tombstones SET digest = x'00'", "tombstones"),
        ("UPDATE deletions SET marks = '[]'", "deletions"),
        ("UPDATE complements SET together = 9", "complements"),
        ("UPDATE order_items SET pid = 9 WHERE pid = 4", "order_items"),
        ("UPDATE meta SET value = 'x' WHERE key = 'tombstone_salt'", "meta"),
        ("UPDATE changes SET kind = 'pat' WHERE sequence = 1", "changes"),
        ("DROP TABLE complements", "complements is lost"),
    ],
)
def test_what_was_changed_is_named(catalog: Catalog, statement: str, table: str) -> None:
    """A value, a row, a table that is not as it was written: verify names the table."""
    catalog.patch("p4", {"title": "later"})
    with catalog.database.read() as sql:
        keys = [row[0] for row in sql.execute("SELECT key FROM meta")]
    if "tombstone_salt" in statement:
        statement = statement.replace("tombstone_salt", keys[0])
    change(catalog, statement)
    damages = check_catalog(catalog).damages
    assert any(re.search(f"the table {table}", damage) for damage in damages), damages


def test_writes_of_all_kinds_keep_them(catalog: Catalog) -> None:
    """Rows that replace others, undos, erasures, dry runs, a table that gets a column."""
    before = sums(catalog)
    catalog.apply([Patch("p3", {"title": "given up"})], dry_run=True)
    assert sums(catalog) == before
    catalog.apply([put("p2", "again", "kind 9")])
    catalog.delete("p2")
    catalog.delete("p4")
    with catalog.database.transaction() as sql:
        ensure_order_tables(sql)
        sql.execute("ALTER TABLE complements ADD COLUMN more INTEGER DEFAULT 3")
        sql.execute("INSERT OR REPLACE INTO stamps SELECT sequence, 'other' FROM stamps LIMIT 1")
    with catalog.database.transaction() as sql:
        sql.execute("INSERT OR REPLACE INTO stamps SELECT sequence, 'third' FROM stamps LIMIT 1")
        sql.execute("UPDATE complements SET more = 4.0")
        sql.execute("UPDATE order_items SET time = 3")
    assert check_catalog(catalog).damages == []
    assert sums(catalog)["stamps"] != before["stamps"]
    assert sums(catalog)["complements"][0] == before["complements"][0] + 1


def test_what_an_older_catalens_wrote_is_not_called_damaged(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file's triggers take a table's checksum away; the next write gives a small table another
    one, ``migrate`` a large one."""
    with catalog.database.statements() as sql:
        sql.execute(
            "INSERT INTO actions (name, at, kind, actor, note) VALUES ('x', '', '', '', '')"
        )
    assert check_catalog(catalog).damages == []
    assert "actions" not in sums(catalog)
    monkeypatch.setattr("indexer.catalog.table_sums._SMALL", 1)
    with doing("edit", "third"):
        catalog.patch("p1", {"title": "third"})
    assert "actions" not in sums(catalog)
    monkeypatch.undo()
    with doing("edit", "fourth"):
        catalog.patch("p1", {"title": "fourth"})
    assert "actions" in sums(catalog)
    with catalog.database.statements() as sql:
        sql.execute("UPDATE kept SET parts = parts")
    assert "kept" not in sums(catalog)
    seal_catalog(catalog)
    assert "kept" in sums(catalog)
    assert check_catalog(catalog).damages == []


def test_a_table_is_not_read_again_for_its_checksum(catalog: Catalog) -> None:
    """The checksum follows from the rows that were written."""
    said: list[str] = []
    with catalog.database.transaction() as sql:
        sql.set_trace_callback(said.append)
        sql.execute("INSERT INTO births VALUES (900, 900, 'm')")
    sql.set_trace_callback(None)
    assert not [line for line in said if "typeof" in line and "FROM births" in line]
    assert check_catalog(catalog).damages == []


def test_a_write_prepares_no_statement_again(catalog: Catalog) -> None:
    """The statements that make triggers push those of writes out of no cache."""
    catalog.patch("p3", {"title": "a"})
    prepared: list[tuple[object, ...]] = []

    def note(*said: object) -> int:
        # What pragma_database_list asks itself stands in no cache of statements.
        if said[1] != "database_list":
            prepared.append(said)
        return 0

    with catalog.database.transaction() as sql:
        sql.set_authorizer(note)
    catalog.patch("p3", {"title": "b"})
    prepared.clear()
    catalog.patch("p3", {"title": "c"})
    sql.set_authorizer(None)
    assert prepared == []


def test_texts_of_any_characters_fit(catalog: Catalog) -> None:
    """A NUL ends no text, and what Python calls printable changes nothing."""
    with catalog.database.transaction() as sql:
        sql.execute("INSERT INTO births VALUES (900, 900, ?)", ("a\0b",))
        sql.execute("INSERT INTO births VALUES (901, 901, ?)", ("\U0001fa77 \ud7ff",))
    assert check_catalog(catalog).damages == []
    change(catalog, "UPDATE births SET mark = 'a' || char(0) || 'c' WHERE last = 900")
    assert check_catalog(catalog).damages == ["the table births does not match its checksum"]


def test_a_table_without_rows_is_whole(catalog: Catalog) -> None:
    """A changed row that was deleted since is no damage any more."""
    change(catalog, "UPDATE deletions SET marks = '[]'")
    assert check_catalog(catalog).damages == ["the table deletions does not match its checksum"]
    with catalog.database.transaction() as sql:
        sql.execute("DELETE FROM deletions")
    assert check_catalog(catalog).damages == []


@pytest.mark.parametrize("ends", ["dry run", "failure"])
def test_a_write_that_is_given_up_makes_no_trigger_anew(catalog: Catalog, ends: str) -> None:
    """What the connection has stays, whether a transaction is kept or not."""
    catalog.patch("p3", {"title": "a"})
    catalog.patch("p3", {"title": "b"})
    if ends == "dry run":
        catalog.apply([Patch("p3", {"title": "given up"})], dry_run=True)
    else:
        with pytest.raises(RuntimeError), catalog.database.transaction():
            raise RuntimeError
    said: list[str] = []
    with catalog.database.transaction() as sql:
        sql.set_trace_callback(said.append)
    catalog.patch("p3", {"title": "c"})
    sql.set_trace_callback(None)
    assert not [line for line in said if "TRIGGER" in line]
    assert check_catalog(catalog).damages == []


def test_the_log_is_compacted_in_portions(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between them others write; a compaction that ends early says how far it came."""
    monkeypatch.setattr("indexer.catalog.change_log._PORTION", 3)
    history = catalog.change_log
    pauses: list[int] = []
    monkeypatch.setattr(
        "indexer.catalog.change_log.pause_since", lambda _: pauses.append(history.begins())
    )
    assert history.compact(7) == 7
    assert (pauses, history.begins()) == ([3, 6], 7)
    assert check_catalog(catalog).damages == []
