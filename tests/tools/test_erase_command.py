"""Command ``index erase``: all ids or none, and what it names beside the erasure."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from PIL import Image

from indexer.catalog.deletions import TOMBSTONE_DAYS
from indexer.catalog.store import open_catalog
from indexer.core.home import Home
from indexer.operations.backup import back_up
from indexer.operations.sync_source import SyncSources
from tests.indexer.index_build.test_pipeline import add_photo, put
from tools import cli


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Three products, no index version."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        for i in range(3):
            put(catalog, f"p{i}", add_photo(home, i))
    return home


def test_one_unknown_id_deletes_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever stands before it: all ids are looked up before the first is deleted."""
    assert cli.run(["index", "erase", "p0", "typo", "p1", "p9", "--home", str(home.path)]) == 1
    assert "there is no product 'typo', 'p9': nothing was deleted" in capsys.readouterr().err
    with open_catalog(home) as catalog:
        assert len(catalog) == 3
    assert cli.run(["index", "erase", "p0", "p0", "p1", "--home", str(home.path)]) == 0
    assert cli.run(["index", "erase", "p1", "p2", "--home", str(home.path)]) == 0
    assert "'p1' is deleted already" in capsys.readouterr().err
    with open_catalog(home) as catalog:
        assert len(catalog) == 0


def test_an_id_whose_tombstone_ended_is_refused(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says how long a deleted id is known."""
    place = ["--home", str(home.path)]
    assert cli.run(["index", "erase", "p0", *place]) == 0
    assert cli.run(["index", "erase", "p0", *place]) == 0
    with open_catalog(home) as catalog, catalog.database.transaction() as sql:
        sql.execute("DELETE FROM tombstones")
    capsys.readouterr()
    assert cli.run(["index", "erase", "p0", *place]) == 1
    assert f"deleted in the last {TOMBSTONE_DAYS} days" in capsys.readouterr().err


def test_backups_that_hold_it_are_named(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where nothing else in the home had to be rewritten, and where an erasure goes on; not
    where no product was named and nothing was erased."""
    with open_catalog(home) as catalog:
        put(catalog, "bare", add_photo(home, 0))
    made = back_up(home, tmp_path / "backups").path
    said = f"what was erased may still be in the backup {made}"
    for words, named in ((["bare"], True), (["bare"], True), ([], False)):
        assert cli.run(["index", "erase", *words, "--home", str(home.path)]) == 0
        assert (said in capsys.readouterr().err) is named


def test_feeds_that_may_bring_it_back_are_named(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that make products, and they do: a tombstone refuses older versions only, and rows of
    feeds have none. A feed of prices alone makes none, but names it again."""
    feed, prices = tmp_path / "feed.csv", tmp_path / "prices.csv"
    feed.write_text("product_id,title,image\np0,Anna,a.png\n")
    Image.new("RGB", (16, 16), "red").save(tmp_path / "a.png")
    prices.write_text("id,price\np0,3\n")
    place = ["--home", str(home.path)]
    every = ["--every", "1h", *place]
    assert cli.run(["sync", "add", "prices", str(prices), "--only", "price", *every]) == 0
    capsys.readouterr()
    assert cli.run(["index", "erase", "p1", *place]) == 0
    said = capsys.readouterr().err
    assert "fields are kept in step with: prices; a feed that still lists a deleted id" in said
    assert "makes the product again" not in said
    assert cli.run(["sync", "add", "daily", str(feed), *every]) == 0
    capsys.readouterr()
    assert cli.run(["index", "erase", "p0", *place]) == 0
    assert "kept in step with: daily; a feed that still lists" in capsys.readouterr().err
    assert cli.run(["sync", "run", "daily", *place]) == 0
    with open_catalog(home) as catalog:
        assert catalog.get("p0").title == "Anna"


def test_an_id_that_a_feed_of_prices_brought_back_is_erased_again(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its copy and the reports of its runs name it; the command that the search tells of mends it,
    and names no other product."""
    gone, place = "sku-alpha-17", ["--home", str(home.path)]
    with open_catalog(home) as catalog:
        put(catalog, gone, add_photo(home, 7))
    prices = tmp_path / "prices.csv"
    prices.write_text(f"id,price\n{gone},3\nsku-alpha-170,4\np0,3\n")
    owned = ["--join", "id", "--only", "price", "--every", "1h"]
    assert cli.run(["sync", "add", "erp", str(prices), *owned, *place]) == 0
    assert cli.run(["index", "erase", gone, *place]) == 0
    assert cli.run(["sync", "run", "erp", *place]) == 0
    copy = home.path / "sync" / "erp.feed.csv"
    copy.write_text(prices.read_text())
    verify = ["index", "verify", "--erased", gone, *place]
    capsys.readouterr()
    assert cli.run(verify) == 1
    said = capsys.readouterr().err
    assert "sync/erp.feed.csv (id), sync/erp.runs.jsonl (id)" in said
    assert said.rstrip().endswith(f"run catalens index erase {gone}")
    assert cli.run(["index", "erase", gone, *place]) == 0
    assert cli.run(verify) == 0
    assert not copy.exists()
    (run,) = SyncSources(home).runs("erp")
    assert any("'[erased]'" in text for text in run.warnings)
    copy.write_text(prices.read_text())
    assert cli.run(["index", "erase", *place]) == 0
    assert copy.exists(), "without an id and a deletion there is nothing to look for"


def test_a_ticket_is_its_owner_s_alone(home: Home, tmp_path: Path) -> None:
    """It holds the id, paths, hashes and vectors that are erased."""
    ticket = tmp_path / "tickets" / "ticket.json"
    assert cli.run(["index", "erase", "p0", "--home", str(home.path), "--ticket", str(ticket)]) == 0
    assert stat.S_IMODE(ticket.stat().st_mode) == 0o600


def test_a_ticket_of_a_deleted_product_is_refused(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its hashes and vectors may be gone: none is written in silence. One that a killed run wrote
    is kept."""
    with open_catalog(home) as catalog:
        catalog.delete("p0")
    ticket = tmp_path / "ticket.json"
    erase = ["index", "erase", "p0", "--home", str(home.path), "--ticket", str(ticket)]
    assert cli.run(erase) == 1
    assert "is deleted already: a ticket holds" in capsys.readouterr().err
    assert not ticket.exists()
    ticket.write_text("{}")
    assert cli.run(erase) == 0
    assert ticket.read_text() == "{}"
