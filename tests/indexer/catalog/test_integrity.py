"""A changed byte in a catalog is found, whatever SQLite says of its pages."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from indexer.catalog.checksums import PARTS, ROW, stored_checksums
from indexer.catalog.integrity import check_catalog, seal_catalog
from indexer.catalog.product_fields import ProductFields
from indexer.catalog.records import Delete, NewPhoto, Patch, ProductInput, Put
from indexer.catalog.store import Catalog


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """Ten products with two tags and a photo each."""
    with Catalog.create(tmp_path / "catalog.sqlite3") as catalog:
        writes = []
        for number in range(10):
            photo = NewPhoto(f"{number:064x}", "JPEG", 10, 4, 4, "reference", f"/{number}")
            product = ProductInput(
                f"p{number}", "title", ("A", "B"), ("t", "u"), {"size": 3}, (photo.content_hash,)
            )
            writes.append(Put(product, [photo]))
        catalog.apply(writes)
        yield catalog


def change(catalog: Catalog, statement: str) -> None:
    """Change the file behind the catalog's back, and behind its triggers'."""
    with catalog.database.statements() as sql:
        query = "SELECT name FROM sqlite_master WHERE name LIKE 'unseal_%'"
        for (name,) in sql.execute(query).fetchall():
            sql.execute(f"DROP TRIGGER {name}")
        sql.execute(statement)


def test_what_was_written_is_whole(catalog: Catalog) -> None:
    """Puts, patches, deletions, types and dry runs leave checksums that fit."""
    catalog.patch("p1", {"title": "other", "tags": ["x"]})
    catalog.delete("p2")
    catalog.apply([Patch("p3", {"title": "given up"})], dry_run=True)
    catalog.set_types({"size": "string"}, given=["size"])
    catalog.set_owners({"title": "feed"})
    state = check_catalog(catalog)
    assert (state.damages, state.unchecked, state.products) == ([], 0, 9)
    with catalog.database.read() as sql:
        assert 3 not in stored_checksums(sql, ROW)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE products SET title = 'tjtle' WHERE pid = 4", "1 products do not match.*'p3'"),
        ("UPDATE products SET external_version = 9 WHERE pid = 4", "1 products do not match"),
        ("UPDATE products SET attributes = '{' WHERE pid = 4", "values of 1 products"),
        ("UPDATE tags SET tag = 'v' WHERE pid = 4 AND tag = 'u'", "1 products do not match"),
        ("DELETE FROM tags WHERE pid = 4", "1 products do not match"),
        ("UPDATE product_photos SET photo_id = 1 WHERE pid = 4", "1 products do not match"),
        ("UPDATE photos SET width = 5 WHERE photo_id = 4", "1 photos do not match"),
        ("UPDATE attribute_types SET type = 'bool'", "attribute_types does not match"),
        ("DELETE FROM products WHERE pid = 4", "1 products are lost"),
        ("DELETE FROM photos WHERE photo_id = 4", "photos of products name 4"),
        ("UPDATE products SET sequence = 1 WHERE pid = 4", "another last change"),
        ("UPDATE sqlite_sequence SET seq = 3 WHERE name = 'products'", "counter of products"),
    ],
)
def test_what_was_changed_is_named(catalog: Catalog, statement: str, words: str) -> None:
    """A value, a row, a relation, a counter: each is found, and the product is named."""
    change(catalog, "UPDATE products SET external_version = NULL")
    # What the trigger of this connection saw must not be sealed by a later write.
    change(catalog, statement)
    damages = check_catalog(catalog).damages
    assert any(re.search(words, damage) for damage in damages), damages


def test_a_write_mends_what_it_replaces(catalog: Catalog) -> None:
    """A product that comes again has the checksum of what it is now."""
    change(catalog, "UPDATE products SET title = 'tjtle' WHERE pid = 4")
    catalog.patch("p3", {"title": "title"})
    assert check_catalog(catalog).damages == []


def test_what_an_older_catalens_wrote_is_not_called_damaged(catalog: Catalog) -> None:
    """It knows no checksums: the file's triggers take those of what it changes away, also where a
    row keeps its sequence number. The rows are said, and can be given checksums."""
    with catalog.database.statements() as sql:
        for statement in (
            "UPDATE products SET external_version = 7 WHERE pid = 1",
            "UPDATE products SET title = 'of old', sequence = 11 WHERE pid = 4",
            "INSERT INTO changes VALUES (11, 4, 'put', 0)",
            "UPDATE photos SET storage = 'copy', path = NULL WHERE photo_id = 5",
            "INSERT INTO attribute_types VALUES ('new', 'string', 0)",
            "INSERT INTO used_fields VALUES ('price')",
            "DELETE FROM products WHERE pid = 6",
            "DELETE FROM tags WHERE pid = 6",
            "DELETE FROM product_photos WHERE pid = 6",
            "DELETE FROM photos WHERE photo_id = 6",
        ):
            sql.execute(statement)
    state = check_catalog(catalog)
    # three products or photos, and the eleven rows of the log of changes
    assert (state.damages, state.unchecked) == ([], 14)
    assert seal_catalog(catalog) == 14
    state = check_catalog(catalog)
    assert (state.damages, state.unchecked) == ([], 0)
    with catalog.database.read() as sql:
        assert stored_checksums(sql, "attribute_types")
        assert stored_checksums(sql, "used_fields")


def test_a_write_reads_no_row_again_for_its_checksum(catalog: Catalog) -> None:
    """What puts and patches wrote is sealed from what they wrote, and fits what stands there."""
    said: list[str] = []
    with catalog.database.transaction() as sql:
        sql.set_trace_callback(said.append)
    photo = NewPhoto(f"{99:064x}", "JPEG", 10, 4, 4, "reference", "/99")
    fields = ProductFields(price=5.0)
    new = ProductInput(
        "new", "titel ü", None, ("t",), {"size": 1.5}, (photo.content_hash,), fields=fields
    )
    catalog.apply([Put(new, [photo], 7), Patch("p1", {"attributes": {"size": 4}}, 8)])
    catalog.apply([Patch(f"p{number}", {"title": f"t{number}"}) for number in range(2, 9)])
    with catalog.database.transaction() as sql:
        sql.set_trace_callback(None)
    reads = [text for text in said if "FROM tags" in text or "0, sequence, product_id" in text]
    assert reads == []
    state = check_catalog(catalog)
    assert (state.damages, state.unchecked, state.products) == ([], 0, 11)


def test_what_is_written_twice_is_sealed_as_it_ends(catalog: Catalog) -> None:
    """A row that one transaction patches, puts, versions and deletes has the last one's checksum,
    or none."""
    held = catalog.get("p5")
    again = ProductInput("p5", "other", None, ("z",), {"size": 9}, held.photos)
    catalog.apply(
        [
            Patch("p5", {"title": "first"}),
            Put(again),
            Put(again, external_version=3),
            Patch("p6", {"title": "gone"}),
            Delete("p6"),
        ]
    )
    state = check_catalog(catalog)
    assert (state.damages, state.unchecked, state.products) == ([], 0, 9)
    with catalog.database.read() as sql:
        assert 7 not in stored_checksums(sql, ROW)
        assert 7 not in stored_checksums(sql, PARTS)


@pytest.mark.parametrize("ends", ["dry run", "failure"])
def test_a_first_write_that_is_given_up_leaves_the_next_ones_sealed(
    tmp_path: Path, ends: str
) -> None:
    """What watches the rows is made in a transaction, and goes with one that is given up."""
    photo = NewPhoto("1" * 64, "JPEG", 10, 4, 4, "reference", "/1")
    product = ProductInput("p1", "title", None, ("t",), {}, (photo.content_hash,))
    with Catalog.create(tmp_path / "catalog.sqlite3") as catalog:
        catalog.apply([Put(product, [photo])])
    with Catalog.create(tmp_path / "catalog.sqlite3") as catalog:
        if ends == "dry run":
            catalog.apply([Delete("p1")], dry_run=True)
        else:
            with pytest.raises(ZeroDivisionError), catalog.writing():
                raise ZeroDivisionError
        catalog.patch("p1", {"tags": ["x"]})
        again = replace(product, title="other")
        # The second one changes the version alone, of a row whose checksum is known already.
        catalog.apply([Put(again, external_version=2), Put(again, external_version=3)])
        state = check_catalog(catalog)
        assert (state.damages, state.unchecked) == ([], 0)


def test_checksums_hold_under_every_python(catalog: Catalog) -> None:
    """Which characters ``repr`` escapes differs between versions: those of before are known still,
    and none is made by it any more."""
    title = "\U0001fa77 \u00fc"
    catalog.patch("p3", {"title": title})
    assert check_catalog(catalog).damages == []
    with catalog.database.read() as sql:
        row = sql.execute(
            "SELECT pid, 0, sequence, product_id, title, category, attributes, fields, spellings, "
            "external_version FROM products WHERE product_id = 'p3'"
        ).fetchone()
        known = stored_checksums(sql, ROW)[row[0]]
    assert known[1] == zlib.crc32(ascii(row).encode())
    old = zlib.crc32(repr(row).encode())
    assert old != known[1]
    change(catalog, f"UPDATE checksums SET checksum = {old} WHERE kind = 'row' AND key = {row[0]}")
    assert check_catalog(catalog).damages == []
