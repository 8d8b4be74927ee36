"""Homes that were stored long ago stay readable: opened, asked, written to,
rebuilt and migrated."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from indexer.catalog.records import Patch, Tag
from indexer.catalog.store import open_catalog
from indexer.core.actor import acting
from indexer.core.errors import NewerFormatError
from indexer.core.home import Active, Home
from indexer.core.sqlite import connect
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.live import LiveIndex
from indexer.index.version import Versions
from indexer.operations.erasure import erase
from indexer.operations.migrate import migrate
from indexer.operations.undo import list_actions, undo
from indexer.recommendation.orders import import_orders, learn
from service.access.keys import KeyFile, hash_key
from tests.indexer.index_build.test_pipeline import build, vector_of
from tools import cli

STORED = Path(__file__).parents[1] / "homes"
COLOURS = {
    "red": (200, 30, 30),
    "green": (30, 160, 60),
    "blue": (40, 60, 200),
    "tan": (200, 160, 110),
}


@pytest.fixture
def old(tmp_path: Path) -> Home:
    """Format 1 as first written: five products, two versions, the second serving, one write after
    it; drawn photos."""
    with tarfile.open(STORED / "format-1.tar.xz") as archive:
        archive.extractall(tmp_path / "old", filter="data")
    return Home(tmp_path / "old")


def test_every_stored_value_is_read(old: Home) -> None:
    """Products with titles, paths, tags, types, versions; the log; the
    manifests; the embeddings."""
    with open_catalog(old) as catalog:
        ball = catalog.get("ball/1")
        assert (ball.title, ball.category, ball.external_version) == (
            "Ball, röd",
            ("Toys", "Ball"),
            3,
        )
        assert ball.tags == (Tag("round", "merchant"), Tag("red", "machine"))
        assert ball.attributes == {"price": 9.5, "sizes": ["S", "M"], "sale": True, "colour": "red"}
        assert catalog.product_ids() == {"ball/1", "cube-2", "杯子", "shared", "late"}
        assert catalog.types() == {
            "colour": "string",
            "price": "number",
            "sale": "bool",
            "sizes": "list",
        }
        assert [(change.pid, change.kind) for change in catalog.changes(5)] == [
            (2, "patch"), (5, "delete"), (2, "put"), (6, "put"),
        ]  # fmt: skip
        assert catalog.change_log.identity() is None
    versions = Versions(old)
    assert (old.active(), versions.previous()) == (Active("v000002", "m1"), Active("v000001", "m1"))
    assert [
        (m.version, m.counts["entries"], m.last_sequence, m.source) for m in versions.list()
    ] == [
        ("v000001", 6, 5, None),
        ("v000002", 5, 8, None),
    ]
    for name in versions.names():
        versions.verify(name)
    store = EmbeddingStore(old.embeddings, "e1", 6)
    np.testing.assert_allclose(store.get(np.array([1]))[0], vector_of(COLOURS["red"]), atol=1e-3)


def test_its_versions_answer(old: Home) -> None:
    """Both find what they hold, with their tag rule; the later write is laid over as ever."""
    for name in ("v000001", "v000002"):
        opened = Versions(old).open(name)
        assert opened.tag_rule is not None
        assert opened.tag_rule.thresholds == {"round": 0.3}
        hits = LiveIndex(opened).search(vector_of(COLOURS["red"])[None], 2)[0]
        assert hits.pids.tolist() == [1, 4]
        assert hits.scores.min() > 0.999


def test_it_takes_writes_builds_and_erasure(old: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first write on it has an identity; a new version follows on the old numbers; erasing
    works."""
    with open_catalog(old) as catalog:
        catalog.apply([Patch("late", {"title": "Later"})])
        assert catalog.change_log.identity() is not None
        assert catalog.change_log.stamp(10) is not None
    monkeypatch.setattr(
        "indexer.index_build.publish.refit_tags", lambda *_: None
    )  # its model is not stored
    report = build(old)
    assert (report.version, report.products) == ("v000003", 5)
    assert (report.embedded, report.reused) == (1, 3)
    done = erase(old)
    assert done.rewritten == {"v000001": "v000004"}  # it still had the product that was deleted
    assert Versions(old).previous() == Active("v000004", "m1")


def test_migrate_changes_the_catalog_s_format_and_gives_it_an_identity(
    old: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command lists what it read; run again it has nothing to do; a newer home is refused by
    name."""
    assert cli.run(["migrate", "--home", str(old.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["products"], found["versions"]) == (1, 5, ["v000001", "v000002"])
    assert found["embeddings"] == ["e1"]
    assert len(found["migrated"]) == 3
    assert "format 2" in found["migrated"][0]
    assert "identity" in found["migrated"][1]
    assert "checksums" in found["migrated"][2]
    assert migrate(old).migrated == []
    with connect(old.embeddings / "e1.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(NewerFormatError, match=r"e1\.sqlite3 has format 7"):
        migrate(old)
    (old.path / "home.json").write_text('{"format": 2}')
    assert cli.run(["migrate", "--home", str(old.path)]) == 1
    assert "has format 2" in capsys.readouterr().err


# Of the release that first listed what was done (format 2, before the tables of today).
JANE = "catalens_lmUgFJqacx-wMszaPzJ2KKb2tJb_YTDvXvnILhIwbMw"
# What that release runs as it writes: an action, its changes, what it replaced, a deletion, orders.
OLD_WRITES = (
    "INSERT INTO actions (name, at, kind, actor, note, undoes) VALUES ('old', "
    "'2030-01-01T00:00:00.000+00:00', 'batch', 'Old', '', NULL)",
    "INSERT INTO changes (pid, kind, photos_changed) VALUES (2, 'patch', 0)",
    "UPDATE products SET title = 'By the old one', sequence = (SELECT max(sequence) FROM changes) "
    "WHERE pid = 2",
    "INSERT OR REPLACE INTO kept VALUES ((SELECT max(action_no) FROM actions), 2, "
    """'{"title": ["B", "e0"]}')""",
    "INSERT INTO action_changes (last, first, first_pid, last_pid, action_no) SELECT "
    "max(sequence), max(sequence), 4, 3, (SELECT max(action_no) FROM actions) FROM changes",
    "INSERT OR REPLACE INTO kept_types VALUES (1, 'x', NULL, NULL, 'string')",
    "INSERT OR REPLACE INTO deletions VALUES (77, '[]')",
    "INSERT INTO tombstones VALUES (x'00', NULL, 1.0)",
    "INSERT INTO orders (digest) VALUES (x'01')",
    "INSERT INTO order_items VALUES ((SELECT max(order_no) FROM orders), 1, NULL)",
    "INSERT OR REPLACE INTO complements VALUES ('A', 'B', 1, 1.0)",
    "INSERT OR REPLACE INTO meta VALUES ('undo_expired', '0')",
)


@pytest.fixture
def stores(tmp_path: Path) -> Home:
    """Catalog with orders and what an action replaced, and two keys, as an older release wrote
    them."""
    with tarfile.open(STORED / "stores-2.tar.xz") as archive:
        archive.extractall(tmp_path / "stores", filter="data")
    return Home(tmp_path / "stores")


def columns(home: Home) -> dict[str, list[tuple[str, bool]]]:
    """Table -> its columns in order, and whether a row can do without each."""
    sql = connect(home.catalog_file)
    tables = [name for (name,) in sql.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    found = {}
    for table in tables:
        rows = sql.execute(f"PRAGMA table_info({table})").fetchall()
        found[table] = [(row[1], not row[3] or row[4] is not None) for row in rows]
    sql.close()
    return found


def test_stores_of_an_older_release_are_taken_on_and_stay_readable_by_it(stores: Home) -> None:
    """Its actions are undone, its orders count, its keys open; afterwards each table has what that
    release reads and writes by place, and its statements run; what it wrote is read here."""
    before = columns(stores)
    with open_catalog(stores) as catalog, acting("Ben"):
        batch, first = list_actions(stores, catalog)
        assert (batch.kind, batch.by, batch.state, batch.changed) == (
            "batch",
            "Anna",
            "undoable",
            2,
        )
        assert (first.kind, first.note, first.added) == ("import", "spring.csv", 3)
        assert undo(stores, catalog, batch.name).restored == 2
        assert [catalog.get(name).title for name in "abc"] == ["A", "B", "C"]
        more = stores.path / "more.csv"
        more.write_text("order_id,product_id\no1,a\no1,b\no9,a\no9,c\n")
        report = import_orders(catalog, more)
        # The order that the older release knew by its digest is the same order.
        assert (report.orders, report.known) == (4, 2)
        catalog.delete("c")
        catalog.patch("a", {"attributes": {"price": 7}})
    for table, known in before.items():
        now = columns(stores)[table]
        assert now[: len(known)] == known, table
        assert all(optional for _, optional in now[len(known) :]), table
    sql = connect(stores.catalog_file)
    for statement in OLD_WRITES:
        sql.execute(statement)
    sql.commit()
    sql.close()
    with open_catalog(stores) as catalog:
        assert catalog.get("b").title == "By the old one"
        assert list_actions(stores, catalog)[0].by == "Old"
        assert learn(catalog, min_support=1)[0] == 5


def test_keys_of_an_older_release_open_and_are_changed_in_its_own_form(stores: Home) -> None:
    """Names, roles, rates and secrets; each field that it wrote stands where it stood."""
    file = KeyFile(stores)
    before = json.loads(stores.keys_file.read_text())
    assert [(key.name, key.role, key.rate) for key in file.read()] == [
        ("jane", "review", None),
        ("shop", "search", 5.0),
    ]
    assert file.read()[0].secrets[0].sha256 == hash_key(JANE)
    file.set_rate("shop", 0.5)
    after = json.loads(stores.keys_file.read_text())
    assert after["format"] == before["format"] == 1
    for old, new in zip(before["keys"], after["keys"], strict=True):
        assert {**new, "rate": old["rate"]} == old
