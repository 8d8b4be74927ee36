"""Each change of a catalog carries the name of who made it."""

from __future__ import annotations

from pathlib import Path

from indexer.catalog.action_log import has_index
from indexer.catalog.store import Catalog
from indexer.core.actor import acting, doing
from indexer.core.sqlite import connect
from tests.indexer.catalog.test_store import photo, product


def test_every_change_has_a_name_and_an_action_holds_its_commits(tmp_path: Path) -> None:
    """Of single writes and of many commits that are one; what changes nothing is no action."""
    with Catalog.create(tmp_path / "catalog.sqlite3") as catalog:
        with acting("Anna"):
            catalog.put(product("a"), photos=[photo(1)])
            catalog.put(product("a"), photos=[photo(1)])
        with acting("feed erp"), doing("sync", "erp.csv"):
            catalog.patch("a", {"title": "one"})
            catalog.patch("a", {"title": "two"})
        catalog.patch("a", {"title": "three"})
        found = catalog.actions.actions()
        told = [(each.kind, each.by, each.note) for each in found]
        assert told == [
            ("write", "", ""),
            ("sync", "feed erp", "erp.csv"),
            ("write", "Anna", ""),
        ]
        assert catalog.actions.actors([1, 2, 3, 4, 99]) == {1: "Anna", 2: "feed erp", 3: "feed erp"}
        assert catalog.actions.actions(writes=False) == found[1:2]
        with catalog.database.transaction() as sql:
            sql.execute("DROP INDEX actions_by_kind")
        assert catalog.actions.actions(writes=False) == found[1:2], "of an older release"
        catalog.patch("a", {"title": "four"})
        with catalog.database.read() as sql:
            assert has_index(sql), "the next write makes it"


def test_a_batch_is_known_by_its_last_change(tmp_path: Path) -> None:
    """Whoever waits for it waits for all of its products, and for none that came before."""
    with Catalog.create(tmp_path / "catalog.sqlite3") as catalog:
        numbers = []
        with doing("batch"):
            for name in ("a", "b"):
                catalog.put(product(name), photos=[photo(1)])
                numbers.append(catalog.pid(name))
        catalog.put(product("c"), photos=[photo(1)])
        log = catalog.change_log
        assert log.pids_with(2) == set(numbers)
        assert log.pids_with(1) == {numbers[0]}
        assert log.pids_with(3) == {catalog.pid("c")}
        assert log.pids_with(4) == set()


def test_a_catalog_of_an_older_release_gets_the_tables_with_its_next_write(tmp_path: Path) -> None:
    """What that release wrote has no name, and what it will write again keeps none of ours."""
    path = tmp_path / "catalog.sqlite3"
    with Catalog.create(path) as catalog:
        catalog.put(product("a"), photos=[photo(1)])
    with connect(path) as sql:
        for table in ("actions", "action_changes", "kept", "kept_types", "kept_decisions"):
            sql.execute(f"DROP TABLE {table}")
    with Catalog.open(path) as catalog:
        assert catalog.actions.actions() == []
        assert catalog.actions.actors([1]) == {}
        with acting("Anna"):
            catalog.patch("a", {"title": "one"})
        with catalog.database.transaction() as sql:
            sql.execute("INSERT INTO changes (pid, kind, photos_changed) VALUES (1, 'patch', 0)")
        with acting("Bo"):
            catalog.patch("a", {"title": "two"})
        assert catalog.actions.actors([1, 2, 3, 4]) == {2: "Anna", 4: "Bo"}


def test_a_dry_run_is_no_action(tmp_path: Path) -> None:
    """It is given up with the rest of its transaction."""
    with Catalog.create(tmp_path / "catalog.sqlite3") as catalog, acting("Anna"):
        catalog.put(product("a"), photos=[photo(1)])
        catalog.set_types({"size": "string"}, dry_run=True)
        assert len(catalog.actions.actions()) == 1
