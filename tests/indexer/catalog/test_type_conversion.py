"""What becomes text is converted in portions: others write in between, and nobody reads a lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.catalog import portions, type_conversion, undo
from indexer.catalog.filters import elements
from indexer.catalog.records import Put
from indexer.catalog.store import Catalog
from indexer.catalog.type_conversion import set_types
from indexer.catalog.undo import undo_action
from indexer.core.actor import doing
from indexer.core.errors import BadProductError
from tests.indexer.catalog.test_store import photo, product, put


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    """Ten products in portions of three."""
    monkeypatch.setattr(type_conversion, "PORTION", 3)
    monkeypatch.setattr(undo, "_PORTION", 3)
    with Catalog.create(tmp_path / "catalog.sqlite3") as catalog:
        catalog.apply(
            [
                Put(product(f"p{n}", attributes={"size": f"{n}.50", "new": n > 4}), (photo(1),))
                for n in range(9)
            ],
            types={"size": "number"},
        )
        put(catalog, product("other", attributes={"w": 1}))
        yield catalog


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Let somebody act after each portion; the how many-th it was."""
    passed = iter(range(99))
    monkeypatch.setattr(portions.time, "sleep", lambda _: act(next(passed)))


def sizes(catalog: Catalog) -> dict[str, Any]:
    return {p.product_id: p.attributes["size"] for p in catalog.iterate() if p.product_id[0] == "p"}


def test_others_write_between_portions(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that are written meanwhile become text too; deleted products stay so; the type comes
    last; the whole is one action, and undone as one."""
    catalog.set_types({"size": "number"})
    before = sizes(catalog)
    types: list[str] = []

    def act(number: int) -> None:
        types.append(catalog.types()["size"])
        if number == 0:
            catalog.patch("p0", {"attributes": {"size": "7.70"}})
            catalog.patch("p8", {"attributes": {"size": 8}})
            put(catalog, product("pX", attributes={"size": "3.30"}))
        if number == 1:
            catalog.delete("p1")
            catalog.delete("p7")

    between(monkeypatch, act)
    with doing("types") as action:
        catalog.set_types({"size": "string", "new": "string"}, given=["new"])
    assert types == ["number"] * 3
    assert catalog.types() == {"new": "string", "size": "string", "w": "number"}
    expected = {f"p{n}": f"{n}.50" for n in (2, 3, 4, 5, 6)}
    assert sizes(catalog) == {"p0": "7.70", **expected, "p8": "8", "pX": "3.30"}
    assert catalog.get("p5").attributes["new"] == "true"
    assert catalog.given_types() == {"new"}
    assert catalog.actions.get(action.name).kind == "types"
    undo_action(catalog, action.name)
    assert catalog.types()["size"] == "number"
    assert sizes(catalog)["p3"] == before["p3"] == 3.5


def test_no_commit_holds_more_than_a_portion(catalog: Catalog) -> None:
    """Changes of one transaction are as many as a portion has products."""
    last = catalog.last_sequence()
    catalog.set_types({"size": "string"})
    query = "SELECT last - first + 1 FROM action_changes WHERE first > ? ORDER BY first"
    with catalog.database.read() as sql:
        assert [count for (count,) in sql.execute(query, (last,))] == [3, 3, 3]
        query = "SELECT count(DISTINCT action_no) FROM action_changes WHERE first > ?"
        assert sql.execute(query, (last,)).fetchone() == (1,)


def most_written(catalog: Catalog, since: int) -> int:
    """The most products that one transaction changed."""
    query = "SELECT max(last - first + 1) FROM action_changes WHERE first > ?"
    with catalog.database.read() as sql:
        return int(sql.execute(query, (since,)).fetchone()[0])


def test_text_is_read_in_portions_after_its_type(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who writes meanwhile is read by the new type, no transaction changes more than a portion, and
    text that cannot be read refuses the whole."""
    catalog.set_types({"size": "string"})
    types: list[str] = []
    last = catalog.last_sequence()

    def act(number: int) -> None:
        types.append(catalog.types()["size"])
        if number == 0:
            catalog.patch("p8", {"attributes": {"size": "7.70"}})
            catalog.delete("p7")

    between(monkeypatch, act)
    catalog.set_types({"size": "number"}, given=["size"])
    assert types == ["number"] * 3
    assert sizes(catalog) == {**{f"p{n}": n + 0.5 for n in range(7)}, "p8": 7.7}
    assert most_written(catalog, last) == 3
    put(catalog, product("t", attributes={"text": "abc"}))
    before = (catalog.last_sequence(), catalog.types())
    with pytest.raises(BadProductError, match="product 't', attribute 'text'"):
        catalog.set_types({"size": "bool", "text": "number"})
    assert (catalog.last_sequence(), catalog.types()) == before


def test_text_that_comes_before_the_switch_refuses_it(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others write between the look and the switch is looked at too."""
    catalog.set_types({"size": "string", "new": "bool"})
    between(monkeypatch, lambda number: put(catalog, product("late", attributes={"size": "tall"})))
    with pytest.raises(BadProductError, match="product 'late', attribute 'size'"):
        catalog.set_types({"size": "number", "new": "string"})
    assert catalog.types()["size"] == "string"
    assert sizes(catalog)["p3"] == "3.50"


def test_reading_that_was_interrupted_is_ended_by_the_same_call(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The type is set and text is left: filters read it, and the call converts it."""
    catalog.set_types({"size": "string"})

    def end(_: int) -> None:
        raise KeyboardInterrupt

    between(monkeypatch, end)
    with pytest.raises(KeyboardInterrupt):
        catalog.set_types({"size": "number"}, given=["size"])
    assert sorted(map(type, sizes(catalog).values()), key=str) == [float] * 3 + [str] * 6
    found = catalog.facts(catalog.pids(["p8"]).values()).values()
    assert [elements(one, "size", "number") for one in found] == [(8.5,)]
    between(monkeypatch, lambda _: None)
    catalog.set_types({"size": "number"}, given=["size"])
    assert sizes(catalog) == {f"p{n}": n + 0.5 for n in range(9)}


@pytest.mark.parametrize("steps", range(0, 60, 4))
def test_whoever_runs_out_of_time_goes_on_by_the_same_call(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """Wherever ``on_step`` ends it, no value is lost, and the next call does the rest."""
    between(monkeypatch, lambda _: None)
    catalog.set_types({"size": "string"})
    left = iter(range(steps))

    def step() -> None:
        if next(left, None) is None:
            raise TimeoutError

    try:
        set_types(catalog, {"size": "number", "new": "string"}, ["size", "new"], on_step=step)
    except TimeoutError:
        assert {str(value) for value in sizes(catalog).values()} <= {
            *(f"{n}.5" for n in range(9)),
            *(f"{n}.50" for n in range(9)),
        }
    set_types(catalog, {"size": "number", "new": "string"}, ["size", "new"])
    assert sizes(catalog) == {f"p{n}": n + 0.5 for n in range(9)}
    assert (catalog.types()["size"], catalog.types()["new"]) == ("number", "string")


@pytest.mark.parametrize(("before", "after"), [("number", "string"), ("string", "number")])
def test_undo_of_a_type_is_in_portions(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    """Both ways all values and the type come back, nothing is said to be skipped, and the action is
    undone."""
    between(monkeypatch, lambda _: None)
    catalog.set_types({"size": before})
    was = sizes(catalog)
    with doing("types") as action:
        catalog.set_types({"size": after})
    assert sizes(catalog) != was
    last = catalog.last_sequence()
    report = undo_action(catalog, action.name)
    assert report.skipped == []
    assert (catalog.types()["size"], sizes(catalog)) == (before, was)
    assert most_written(catalog, last) == 3
    assert catalog.actions.get(action.name).undone == report.undone_by


def test_filters_read_the_same_while_it_goes_on(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A converted value under the type before compares as the value did."""
    catalog.set_types({"size": "number"})

    def facts() -> list[Any]:
        found = catalog.facts(catalog.pids([f"p{n}" for n in range(9)]).values()).values()
        return [(elements(one, "size", "number"), elements(one, "new", "bool")) for one in found]

    before = facts()
    assert before[3] == ((3.5,), ("false",))
    seen = []
    between(monkeypatch, lambda _: seen.append(facts()))
    catalog.set_types({"size": "string", "new": "string"})
    assert seen == [before] * 3


def test_interrupted_it_is_ended_by_the_same_call(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A portion is done, the type is still as it was."""
    catalog.set_types({"size": "number"})

    def end(_: int) -> None:
        raise KeyboardInterrupt

    between(monkeypatch, end)
    with pytest.raises(KeyboardInterrupt):
        catalog.set_types({"size": "string"})
    assert catalog.types()["size"] == "number"
    assert sorted(map(type, sizes(catalog).values()), key=str) == [float] * 6 + [str] * 3
    between(monkeypatch, lambda _: None)
    catalog.set_types({"size": "string"})
    assert sizes(catalog) == {f"p{n}": f"{n}.50" for n in range(9)}


def test_a_log_compacted_meanwhile_loses_nothing(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others wrote can no longer be told: all products are looked at."""
    catalog.set_types({"size": "number"})

    def act(number: int) -> None:
        if number == 1:
            catalog.patch("p0", {"attributes": {"size": "7.70"}})
            catalog.change_log.compact(catalog.last_sequence())

    between(monkeypatch, act)
    catalog.set_types({"size": "string"})
    assert sizes(catalog)["p0"] == "7.70"


def test_what_does_not_fit_is_refused_before_anything_is_written(catalog: Catalog) -> None:
    """One type that fits and one that does not, in one call."""
    catalog.set_types({"size": "number"})
    put(catalog, product("t", attributes={"text": "abc"}))
    last = catalog.last_sequence()
    with pytest.raises(BadProductError, match="product 't', attribute 'text'"):
        catalog.set_types({"size": "string", "text": "number"})
    assert (catalog.last_sequence(), catalog.types()["size"]) == (last, "number")
