"""Deletions are remembered by salted digests: late deliveries are refused, names are found again
in free text, and no byte of an id stays."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest

from indexer.catalog import deletions
from indexer.catalog.deletions import Deletions
from indexer.catalog.erased_texts import ErasedTexts
from indexer.catalog.records import Delete, NewPhoto, Patch, ProductInput
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import BadHomeError, StaleVersionError, UnknownProductError
from indexer.core.home import Home
from indexer.core.home_clock import note_seen

PHOTO = NewPhoto("a" * 64, "JPEG", 9, 9, 9, "forget", None)
ID = "order-of-anna"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.create(tmp_path / "catalog.sqlite3")


def put(catalog: Catalog, product_id: str = ID, version: int | None = None, **more: object) -> str:
    product = ProductInput(
        product_id,
        str(more.get("title", "A very rare vase")),
        None,
        ("rare-tag",),
        {"maker": "Smith & Daughters"},
        (PHOTO.content_hash,),
    )
    return catalog.put(product, photos=[PHOTO], external_version=version).outcome


def test_a_late_put_does_not_bring_a_deleted_product_back(catalog: Catalog) -> None:
    """An older version is refused after the delete as before it; an equal or newer one, and one
    without a version, is a new product."""
    put(catalog, version=3)
    catalog.delete(ID, external_version=5)
    with pytest.raises(StaleVersionError, match="deleted at external_version 5, 4 is older"):
        put(catalog, version=4)
    assert catalog.pid(ID) is None
    assert put(catalog, version=5) == "added"
    catalog.delete(ID)
    with pytest.raises(StaleVersionError):
        put(catalog, version=4)
    assert put(catalog) == "added"


def test_a_delete_that_comes_before_its_put_is_remembered(catalog: Catalog) -> None:
    """It is 404 as ever, and the put that it overtook is refused all the same."""
    with pytest.raises(UnknownProductError):
        catalog.delete(ID, external_version=5)
    with pytest.raises(StaleVersionError):
        put(catalog, version=4)
    assert put(catalog, version=6) == "added"


def test_a_tombstone_ends(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its days a product of that id is a new one, and the record is gone."""
    put(catalog, version=3)
    catalog.delete(ID, external_version=5)
    record = Deletions(catalog.database)
    assert (record.was_deleted(ID), record.was_deleted("other"), record.has_ended()) == (
        True,
        False,
        False,
    )
    later = time.time() + 31 * 86_400
    monkeypatch.setattr(deletions.time, "time", lambda: later)
    assert record.has_ended()
    # Until the clean-up, which asks whether the clock is right.
    with pytest.raises(StaleVersionError):
        put(catalog, version=1)
    record.end()
    assert not record.has_ended()
    assert put(catalog, version=1) == "added"
    assert record.photos() == set()


def erased(catalog: Catalog, *living: str) -> ErasedTexts:
    record = Deletions(catalog.database)
    salted = record.salted()
    assert salted is not None
    return ErasedTexts(
        salted,
        record.pending(),
        record.photos(),
        lambda text: [other for other in living if text in other],
    )


def test_names_of_a_deleted_product_are_covered_where_they_stand(catalog: Catalog) -> None:
    """Its id anywhere, title, tags and values as words, its photo's hash; what is a text of others
    too, or a part of a longer id, stays."""
    put(catalog)
    catalog.delete(ID)
    texts = erased(catalog, "order-of-anna-2", "a rare-tag of others", "rare-tag")
    for text, covered in (
        (f"as {ID}, sold", "as [erased], sold"),
        (f"x{ID}x", "x[erased]x"),
        (ID, ""),
        ("order-of-anna-2", "order-of-anna-2"),
        ("rare-tag", "rare-tag"),
        ("It is A very rare vase.", "It is [erased]."),
        ("A very rare vases", "A very rare vases"),
        ("by Smith & Daughters", "by [erased]"),
        ("photo " + "a" * 64, "photo [erased]"),
        ("b" * 64, "b" * 64),
        ("nothing of it", "nothing of it"),
    ):
        assert texts.cover(text) == covered
    document = {"reason": f"like {ID}", "n": [1, None, {"tag": ID}]}
    assert texts.cover_all(document) == {"reason": "like [erased]", "n": [1, None, {"tag": ""}]}


@pytest.mark.parametrize("together", [False, True])
def test_what_it_said_before_is_covered_as_long_as_an_undo_keeps_it(
    catalog: Catalog, together: bool
) -> None:
    """By an action of its own or by the one that deletes it."""
    put(catalog)
    changes = {"title": "A plain pot", "tags": ["plain-tag"], "attributes": {"maker": "Jones Ltd"}}
    if together:
        catalog.apply([Patch(ID, changes), Delete(ID)])
    else:
        catalog.apply([Patch(ID, changes)])
        catalog.delete(ID)
    texts = erased(catalog)
    for text in ("A very rare vase", "rare-tag", "Smith & Daughters", "A plain pot", "plain-tag"):
        assert texts.cover(f"like {text}, sold") == "like [erased], sold"


def test_what_no_undo_keeps_any_more_is_not_known(catalog: Catalog) -> None:
    put(catalog)
    catalog.apply([Patch(ID, {"title": "A plain pot"})])
    with catalog.database.transaction() as sql:
        sql.execute("DELETE FROM kept")
    catalog.delete(ID)
    assert erased(catalog).cover("A very rare vase, A plain pot") == "A very rare vase, [erased]"


def test_a_short_id_is_looked_for_as_a_word(catalog: Catalog) -> None:
    put(catalog, "17")
    catalog.delete("17")
    texts = erased(catalog)
    assert texts.cover("as 17, not 170 or x17") == "as [erased], not 170 or x17"


def test_what_is_remembered_holds_no_text(catalog: Catalog) -> None:
    """The file holds neither id, title nor tag once its log is folded in."""
    put(catalog, version=1)
    catalog.delete(ID, external_version=2)
    catalog.database.checkpoint()
    held = catalog.path.read_bytes()
    assert [
        text for text in (ID, "rare vase", "rare-tag", "Daughters") if text.encode() in held
    ] == []


@pytest.mark.parametrize("damage", ["lost", "changed", "no hex"])
def test_a_lost_salt_is_not_made_anew(catalog: Catalog, damage: str) -> None:
    """No deleted product would be known again: late writes would come in, and an erasure would find
    nothing."""
    put(catalog, version=3)
    catalog.delete(ID, external_version=5)
    with catalog.database.transaction() as sql:
        (salt,) = sql.execute("SELECT value FROM meta WHERE key = 'tombstone_salt'").fetchone()
        changed = {"changed": salt[::-1], "no hex": "x" + salt[1:]}.get(damage)
        sql.execute("DELETE FROM meta WHERE key = 'tombstone_salt'")
        if changed is not None:
            sql.execute("INSERT INTO meta VALUES ('tombstone_salt', ?)", (changed,))
    for ask in (
        lambda: put(catalog, version=4),
        lambda: Deletions(catalog.database).salted(),
        lambda: Deletions(catalog.database).was_deleted(ID),
    ):
        with pytest.raises(BadHomeError, match="lost the salt"):
            ask()


def test_a_clock_that_is_behind_brings_no_end_nearer(tmp_path: Path) -> None:
    """A tombstone and what an action replaced end by the latest time that the home has seen."""
    home = Home.create(tmp_path / "home")
    seen = time.time() + 40 * 86_400
    note_seen(home, seen)
    with open_catalog(home) as catalog:
        put(catalog)
        catalog.patch(ID, {"title": "x"})
        catalog.delete(ID, external_version=5)
        with catalog.database.read() as sql:
            for table in ("tombstones", "erased_photos"):
                (until,) = sql.execute(f"SELECT min(until) FROM {table}").fetchone()
                assert until == seen + 30 * 86_400
        times = [datetime.fromisoformat(one.at).timestamp() for one in catalog.actions.actions()]
        assert min(times) == pytest.approx(seen, abs=0.01)
