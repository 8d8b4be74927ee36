"""What an action did is taken back: the values before return, what others did since stays, and the
erased stays erased."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.catalog import portions, undo, undo_journal
from indexer.catalog.records import Delete, Patch, Put
from indexer.catalog.store import Catalog
from indexer.catalog.undo import undo_action
from indexer.catalog.undo_journal import expire, is_expiry_due
from indexer.core.actor import acting, doing
from indexer.core.errors import NotUndoableError, UnknownActionError
from tests.indexer.catalog.test_store import photo, product, put


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.create(tmp_path / "catalog.sqlite3") as catalog:
        yield catalog


def bulk(catalog: Catalog, *writes: Patch | Put | Delete, kind: str = "batch") -> str:
    """The name of an action that makes these writes in a commit each."""
    with acting("Anna"), doing(kind) as action:
        for write in writes:
            catalog.apply([write])
    return action.name


def state(catalog: Catalog) -> list[tuple[object, ...]]:
    """All that products say, without what every write gives anew."""
    return [
        (p.product_id, p.title, p.category, p.tags, p.attributes, p.photos, p.sources, p.fields)
        for p in catalog.iterate()
    ]


def test_a_bulk_edit_comes_back_to_the_letter(catalog: Catalog) -> None:
    """Titles, paths, tags, attributes with their spelling and their absence; many changes of one
    action are one. Undone, it can be done again, and undone again."""
    catalog.set_types({"price": "number"})
    put(catalog, product("a", attributes={"price": "12.50", "size": "M"}))
    put(catalog, product("b", (2,), title=None, category=None, tags=()))
    before = state(catalog)
    name = bulk(
        catalog,
        Patch("a", {"title": "x", "attributes": {"price": 3, "size": None}}),
        Patch("a", {"title": "y", "category": None, "tags": ["cheap"]}),
        Patch("b", {"title": "z", "attributes": {"colour": "red"}}),
    )
    after = state(catalog)
    report = undo_action(catalog, name)
    assert (report.restored, report.skipped, report.by) == (2, [], "Anna")
    assert state(catalog) == before
    assert catalog.types() == {"price": "number", "size": "string"}
    with pytest.raises(NotUndoableError, match="undone already"):
        undo_action(catalog, name)
    undo_action(catalog, report.undone_by)
    assert state(catalog) == after
    undo_action(catalog, name)
    assert state(catalog) == before


def test_what_somebody_changed_since_stays(catalog: Catalog) -> None:
    """By field: also where it has by now the very value that the action gave it, and where a
    release that keeps no journal changed it."""
    for name in ("a", "b", "c"):
        put(catalog, product(name))
    name = bulk(catalog, *(Patch(one, {"title": "x", "category": "New"}) for one in "abc"))
    catalog.patch("a", {"title": "mine"})
    catalog.patch("b", {"title": "other"})
    catalog.patch("b", {"title": "x"})
    with catalog.database.transaction() as sql:
        sql.execute("UPDATE products SET title = 'old release' WHERE product_id = 'c'")
    report = undo_action(catalog, name)
    assert [(skip.product_id, skip.part, skip.reason) for skip in report.skipped] == [
        ("a", "title", "changed-since"),
        ("b", "title", "changed-since"),
        ("c", "title", "changed-since"),
    ]
    assert [catalog.get(one).title for one in "abc"] == ["mine", "x", "old release"]
    assert {catalog.get(one).category for one in "abc"} == {("A", "B")}


def test_a_change_that_was_undone_itself_is_in_nobodys_way(catalog: Catalog) -> None:
    put(catalog, product("a", title="first"))
    one = bulk(catalog, Patch("a", {"title": "second"}))
    two = bulk(catalog, Patch("a", {"title": "third"}))
    assert undo_action(catalog, one).skipped_count == 1
    undo_action(catalog, two)
    assert undo_action(catalog, one).restored == 1
    assert catalog.get("a").title == "first"


def test_an_import_is_taken_back_but_for_the_erased(catalog: Catalog) -> None:
    """Products that it added go, but for those that somebody has worked on; those that it or others
    erased do not come back, and nothing kept names them."""
    put(catalog, product("old", (1,), title="kept title"))
    put(catalog, product("gone", (2,), title="secret title"))
    put(catalog, product("lost", (3,)))
    name = bulk(
        catalog,
        Patch("old", {"title": "wrong"}),
        Patch("gone", {"title": "wrong"}),
        Put(product("new", (4,)), [photo(4)]),
        Put(product("liked", (5,)), [photo(5)]),
        Patch("new", {"title": "new too"}),
        Delete("lost"),
        kind="import",
    )
    catalog.patch("liked", {"tags": ["favourite"]})
    catalog.delete("gone")
    with catalog.database.read() as sql:
        assert "secret" not in str(sql.execute("SELECT parts FROM kept").fetchall())
    report = undo_action(catalog, name)
    assert (report.restored, report.removed, report.erased) == (1, 1, 1)
    assert [(skip.product_id, skip.part) for skip in report.skipped] == [("liked", "")]
    assert report.orphaned == [photo(4).content_hash]
    assert catalog.product_ids() == {"old", "liked"}
    assert catalog.get("old").title == "kept title"


def test_photos_come_back_where_they_are_still_stored(catalog: Catalog) -> None:
    """One that another product has, with its address; one that is erased is said."""
    put(catalog, product("a", (1, 2), sources={photo(1).content_hash: "https://x/1"}))
    put(catalog, product("b", (1,)))
    put(catalog, product("c", (3,)))
    name = bulk(
        catalog,
        Put(product("a", (2, 4)), [photo(2), photo(4)]),
        Put(product("c", (4,), title="x"), [photo(4)]),
    )
    report = undo_action(catalog, name)
    found = catalog.get("a")
    assert found.photos == (photo(1).content_hash, photo(2).content_hash)
    assert found.sources == {photo(1).content_hash: "https://x/1"}
    assert [(skip.product_id, skip.part, skip.reason) for skip in report.skipped] == [
        ("c", "photos", "photo-erased")
    ]
    assert catalog.get("c").title == "Shirt"


def test_a_type_that_an_action_widened_is_a_number_again(catalog: Catalog) -> None:
    """With the values of products that the action did not name; where text came since, it stays
    text and that is said."""
    catalog.set_types({"price": "number"})
    put(catalog, product("a", attributes={"price": "12.50"}))
    put(catalog, product("b", (2,), attributes={"price": 7}))
    before = state(catalog)
    name = bulk(catalog, Patch("a", {"attributes": {"price": "on request"}}))
    assert catalog.types()["price"] == "string"
    undo_action(catalog, name)
    assert (catalog.types()["price"], state(catalog)) == ("number", before)
    name = bulk(catalog, Patch("a", {"attributes": {"price": "on request"}}))
    put(catalog, product("c", (3,), attributes={"price": "ask"}))
    report = undo_action(catalog, name)
    assert ("attributes/price", "type-changed") in {(s.part, s.reason) for s in report.skipped}
    assert [catalog.get(one).attributes["price"] for one in "abc"] == ["12.50", "7", "ask"]


def test_a_dry_run_says_it_and_changes_nothing(catalog: Catalog) -> None:
    put(catalog, product("a"))
    name = bulk(catalog, Patch("a", {"title": "x"}), Put(product("n", (2,)), [photo(2)]))
    before = state(catalog)
    report = undo_action(catalog, name, dry_run=True)
    assert (report.restored, report.removed, report.orphaned) == (1, 1, [])
    assert state(catalog) == before
    assert undo_action(catalog, name).restored == 1


def test_others_write_between_the_portions_of_an_undo(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It pauses after each for as long as that took, and says how far it is; what was changed
    meanwhile stays."""
    for number in range(5):
        put(catalog, product(f"p{number}", (number,)))
    writes = [Patch(f"p{number}", {"title": "x"}) for number in range(5)]
    name = bulk(catalog, *writes, Put(product("n", (9,)), [photo(9)]))
    monkeypatch.setattr(undo, "_PORTION", 2)
    pauses: list[float] = []

    def act(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            catalog.patch("p4", {"title": "later"})

    monkeypatch.setattr(portions.time, "sleep", act)
    heard: list[tuple[int, int]] = []
    report = undo_action(
        catalog, name, progress=lambda done, total, note="", /: heard.append((done, total))
    )
    assert heard == [(2, 6), (4, 6), (5, 6), (6, 6)]
    assert (len(pauses), min(pauses) > 0) == (4, True)
    assert (report.restored, report.removed, report.skipped_count) == (4, 1, 1)
    assert [catalog.get(f"p{number}").title for number in range(5)] == 4 * ["Shirt"] + ["later"]


def test_an_undo_that_was_cut_off_is_done_again(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In portions, of which the first was committed: the second call does the rest."""
    for number in range(3):
        put(catalog, product(f"p{number}", (number,)))
    name = bulk(catalog, *(Patch(f"p{number}", {"title": "x"}) for number in range(3)))
    monkeypatch.setattr(undo, "_PORTION", 2)
    restore = undo._restore

    def cut(session: object, *rest: object) -> None:
        if catalog.get("p0").title != "x":
            raise KeyboardInterrupt
        restore(session, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(undo, "_restore", cut)
        with pytest.raises(KeyboardInterrupt):
            undo_action(catalog, name)
    assert [catalog.get(f"p{number}").title for number in range(3)] == ["Shirt", "Shirt", "x"]
    report = undo_action(catalog, name)
    assert (report.restored, report.skipped_count) == (1, 0)
    assert {one.title for one in catalog.iterate()} == {"Shirt"}


def test_what_was_kept_ends(catalog: Catalog) -> None:
    """By age, and where there is too much of it from the oldest; then it cannot be undone and says
    so, and the file is to be written anew."""
    put(catalog, product("a"))
    put(catalog, product("b", (2,)))
    one = bulk(catalog, Patch("a", {"title": "x"}))
    two = bulk(catalog, Patch("a", {"title": "y"}), Patch("b", {"title": "y"}))
    with catalog.database.transaction() as sql:
        assert expire(sql) == 0
        assert expire(sql, most=2) == 1
    with pytest.raises(NotUndoableError, match="no longer kept"):
        undo_action(catalog, one)
    assert catalog.change_log.must_scrub()
    assert [each.expired for each in catalog.actions.actions(limit=2)] == [False, True]
    with catalog.database.transaction() as sql:
        sql.execute("UPDATE actions SET at = '2020-01-01T00:00:00.000+00:00'")
        assert expire(sql) == 2
        assert sql.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    with pytest.raises(NotUndoableError, match="no longer kept"):
        undo_action(catalog, two)
    with pytest.raises(UnknownActionError, match="no action 'nothing'"):
        undo_action(catalog, "nothing")


def test_a_clock_that_was_wrong_ends_no_undo_of_others(catalog: Catalog) -> None:
    """An action of a clock that was years behind takes none of those before it along, and one of a
    clock that was ahead holds up no end."""
    put(catalog, product("a"))
    names = [bulk(catalog, Patch("a", {"title": title})) for title in "xyz"]
    with catalog.database.transaction() as sql:
        numbers = [row[0] for row in sql.execute("SELECT action_no FROM actions ORDER BY 1")]

        def date(number: int, at: str) -> None:
            sql.execute("UPDATE actions SET at = ? WHERE action_no = ?", (at, number))

        date(numbers[-1], "1970-01-01T00:00:00.000+00:00")
        assert expire(sql) == 0
        assert not is_expiry_due(sql)
        for number in numbers[:-1]:
            date(number, "2020-01-01T00:00:00.000+00:00")
        date(numbers[-2], "2999-01-01T00:00:00.000+00:00")
        assert is_expiry_due(sql)
        assert expire(sql) > 0
        assert sql.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    with pytest.raises(NotUndoableError, match="no longer kept"):
        undo_action(catalog, names[0])


def test_what_was_kept_ends_in_portions(catalog: Catalog) -> None:
    """Two products at a time; from the first on none of it can be undone, and the last takes the
    rest of the action along."""
    for number in range(5):
        put(catalog, product(f"p{number}", (number,)))
    name = bulk(catalog, *(Patch(f"p{number}", {"title": "x"}) for number in range(5)))
    with catalog.database.transaction() as sql:
        sql.execute("UPDATE actions SET at = '2020-01-01T00:00:00.000+00:00'")
        assert expire(sql, portion=2) == 2
        assert sql.execute("SELECT count(*) FROM kept").fetchone() == (3,)
        assert is_expiry_due(sql)
    with pytest.raises(NotUndoableError, match="no longer kept"):
        undo_action(catalog, name)
    with catalog.database.transaction() as sql:
        assert [expire(sql, portion=2) for _ in range(3)] == [2, 1, 0]
        assert not is_expiry_due(sql)


def test_a_write_ends_only_some_of_what_is_too_much(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the number that is kept, and some more, each write ends a few products of the oldest
    actions, and counts what is kept only then."""
    for number in range(6):
        put(catalog, product(f"p{number}", (number,)))
    monkeypatch.setattr(undo_journal, "MOST_KEPT", 4)
    monkeypatch.setitem(undo_journal.expire.__kwdefaults__, "most", 4)
    monkeypatch.setattr(undo_journal, "_SLACK", 0.5)
    monkeypatch.setattr(undo_journal, "_ENDED_AT_ONCE", 2)
    counted = []
    real = undo_journal._last_beyond
    monkeypatch.setattr(
        undo_journal, "_last_beyond", lambda *given: (counted.append(1), real(*given))[1]
    )
    held = []
    for title in "xyzw":
        bulk(catalog, *(Patch(f"p{number}", {"title": title}) for number in range(3)))
        with catalog.database.read() as sql:
            held.append(sql.execute("SELECT count(*) FROM kept").fetchone()[0])
    # Each patch is a write of its own.
    assert held == [3, 6, 5, 6]
    assert 1 <= len(counted) <= 3
    for number in range(4):
        catalog.patch("p5", {"title": f"{number}"})
    states = [each.expired for each in catalog.actions.actions(limit=20)]
    assert states.index(True) >= 2
    assert states == sorted(states)


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_ends_while_an_undo_runs_is_told(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    """Products whose values are kept no longer are not taken for those that came back, and the
    action is not undone."""
    monkeypatch.setattr(undo, "_PORTION", 2)
    names = [f"p{number}" for number in range(6)]
    for number, name in enumerate(names):
        put(catalog, product(name, (number,)))
    action = bulk(catalog, *(Patch(name, {"title": "x"}) for name in names))

    def end(done: int, _: int) -> None:
        if done == 2:
            with catalog.database.transaction() as sql:
                sql.execute("DELETE FROM kept WHERE pid > 3")

    report = undo_action(catalog, action, dry_run=dry_run, progress=end)
    assert (report.restored, report.skipped_count) == (3, 3)
    assert {(one.product_id, one.reason) for one in report.skipped} == {
        (name, "expired") for name in names[3:]
    }
    assert catalog.actions.get(action).undone is None


def test_types_of_many_names_are_taken_back_in_one_write(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for one that a product has by now, and one that has another type since."""
    names = [f"new {n}" for n in range(3000)]
    with doing("types") as action:
        catalog.set_types(dict.fromkeys(names, "string"), given=names)
    catalog.set_types({"new 1": "number"}, given=["new 1"])
    put(catalog, product("a", attributes={"new 2": "x"}))
    monkeypatch.setattr(undo, "restore_type", None)  # of one name at a time
    undo_action(catalog, action.name)
    assert catalog.types() == {"new 1": "number", "new 2": "string"}
