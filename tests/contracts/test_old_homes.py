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
from indexer.core.errors import NewerFormatError
from indexer.core.home import Active, Home
from indexer.core.sqlite import connect
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.live import LiveIndex
from indexer.index.version import Versions
from indexer.operations.erasure import erase
from indexer.operations.migrate import migrate
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
