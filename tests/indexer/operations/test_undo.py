"""Undo over a whole home: products with their index, a model's categories, activations."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from indexer.catalog import undo_journal
from indexer.catalog.deletions import Deletions
from indexer.catalog.records import Patch
from indexer.catalog.store import open_catalog
from indexer.classification.taxonomy import TaxonomyMap, apply_taxonomy
from indexer.core.actor import acting, doing
from indexer.core.atomic_files import write_sealed_json
from indexer.core.errors import NotUndoableError, UnknownActionError
from indexer.core.home import Home
from indexer.core.home_clock import accept_time
from indexer.feeds.import_options import ImportOptions
from indexer.index.active_model import active_model
from indexer.index.version import Versions
from indexer.index_build.pipeline import build_index
from indexer.operations import retention
from indexer.operations import undo as operations_undo
from indexer.operations.feed_import import run_import
from indexer.operations.retention import end_terms, is_due
from indexer.operations.retention_terms import RetentionTerms
from indexer.operations.undo import list_actions, undo
from service.app import create_app
from service.background import worker_process
from service.engine import Engine
from service.settings import Settings
from tests.indexer.index_build.test_pipeline import add_photo, put
from tests.service.api.routes.test_queries import assert_problem
from tests.service.conftest import (  # noqa: F401  (the drawn shop, as fixtures)
    open_web,
    own,
    own_home,
    photo,
    template,
)
from tests.service.state.test_snapshots import wait_for
from tools.cli import run
from tools.exports import note_export


def paths(engine: Engine) -> set[tuple[str, ...]]:
    return {category.path for category in active_model(engine.home)[1].decision.categories}


def test_an_import_is_listed_and_undone_over_http(
    own: Engine,  # noqa: F811
    open_web: Callable[..., FlaskClient],  # noqa: F811
    tmp_path: Path,
) -> None:
    """By whom and what, without its products' ids; a dry run first; then the next question finds
    what was before, photos of what it added are gone from the disk."""
    web = open_web()
    (tmp_path / "feed").mkdir()
    (tmp_path / "feed" / "n.png").write_bytes(photo("ring", "red", turn=33))
    rows = [{"product_id": "new-one", "image": "n.png", "title": "New"}]
    (tmp_path / "feed" / "spring.jsonl").write_text("\n".join(map(json.dumps, rows)))
    before = own.catalog.product_ids()
    with acting("Anna"):
        run_import(own.home, tmp_path / "feed" / "spring.jsonl", ImportOptions())
    own.refresh()
    (content_hash,) = own.catalog.get("new-one").photos
    (listed,) = web.get("/v1/actions").get_json()["actions"][:1]
    assert (listed["kind"], listed["by"], listed["note"]) == ("import", "Anna", "spring.jsonl")
    assert (listed["added"], listed["changed"], listed["state"]) == (1, 0, "undoable")
    url = f"/v1/actions/{listed['name']}:undo"
    assert web.post(url, json={"dry_run": True}).get_json()["removed"] == 1
    assert own.catalog.get("new-one").title == "New"
    done = web.post(url, json={}).get_json()
    assert (done["removed"], done["skipped"]) == (1, [])
    assert own.catalog.product_ids() == before
    assert own.snapshot is not None
    assert own.snapshot.live.sequence == own.last_sequence()
    assert web.get(f"/v1/images/{content_hash}").status_code == 404
    assert not list(own.home.photos.rglob(content_hash))
    assert_problem(web.post(url, json={}), 409, "not-undoable")
    assert_problem(web.post("/v1/actions/nothing:undo", json={}), 404, "unknown-action")


def test_a_long_undo_can_be_followed_and_cancelled(
    own_home: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked for in the background it is a job with progress and the same result; a cancelled one
    leaves what came back, and undoing again does the rest. A short one is answered at once."""
    with Engine(Settings(home=own_home, poll_s=0.05)) as engine:
        web = create_app(engine, engine.settings).test_client()
        names = [product.product_id for product in engine.catalog.iterate()][:6]
        with doing("batch"), acting("Anna"):
            engine.products.batch([Patch(name, {"title": "SALE"}) for name in names])
        (listed,) = web.get("/v1/actions").get_json()["actions"][:1]
        assert (listed["kind"], listed["changed"]) == ("batch", 6)
        url = f"/v1/actions/{listed['name']}:undo"
        would = web.post(url, json={"dry_run": True, "background": True})
        assert (would.status_code, would.get_json()["restored"]) == (200, 6)
        monkeypatch.setattr(operations_undo, "LONG", 5)
        job = _cancelled_midway(engine, web, url, monkeypatch)
        assert (job["kind"], job["state"], job["options"]["action"]) == (
            *("undo", "cancelled"),
            listed["name"],
        )
        titles = [engine.catalog.get(name).title for name in names]
        assert titles[:2] != ["SALE", "SALE"]
        assert titles[2:] == ["SALE"] * 4
        began = web.post(url, json={"background": True})
        assert began.status_code == 202
        place = began.headers["Location"]
        wait_for(lambda: web.get(place).get_json()["state"] == "done")
        job = web.get(place).get_json()
        assert (job["done"], job["total"], job["stage"]) == (6, 6, "undo")
        result = job["result"]
        assert (result["restored"], result["skipped"], result["action"]) == (4, [], listed["name"])
        assert all(engine.catalog.get(name).title != "SALE" for name in names)
        assert_problem(web.post(url, json={"background": True}), 409, "not-undoable")
        unknown = web.post("/v1/actions/nothing:undo", json={"background": True})
        assert_problem(unknown, 404, "unknown-action")


def _cancelled_midway(
    engine: Engine, web: FlaskClient, url: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The job of an undo that is cancelled while it rests after its first two products."""
    code = (
        "import sys, time; from indexer.catalog import undo; from indexer.operations import jobs; "
        "undo._PORTION = 2; "
        "jobs._throttled = lambda report: lambda *said: (report(*said[:3]), time.sleep(60)); "
        "sys.exit(jobs.main(sys.argv[1:]))"
    )
    real = subprocess.Popen

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        return real([sys.executable, "-c", code, *command[-2:]], **options)

    with monkeypatch.context() as patched:
        patched.setattr(worker_process.subprocess, "Popen", start)
        place = web.post(url, json={"background": True}).headers["Location"]
        wait_for(lambda: web.get(place).get_json()["done"] == 2)
        web.delete(place)
        wait_for(lambda: web.get(place).get_json()["state"] == "cancelled")
    found: dict[str, Any] = web.get(place).get_json()
    return found


def test_a_map_of_categories_is_taken_back_with_the_models_labels(own: Engine) -> None:  # noqa: F811
    """Merged ones are two again, ids and few-shot rows with them; done again, they are one; changed
    since, they stay and that is said."""
    start = {product.product_id: product.category for product in own.catalog.iterate()}
    labels = active_model(own.home)[1].decision.grouping()
    moves = TaxonomyMap({("Shapes", "ring"): ("Shapes", "cross"), ("Shapes", "dots"): ("Dots",)})
    apply_taxonomy(own.home, own.catalog, moves)
    assert paths(own) == {("Shapes", "stripes"), ("Shapes", "cross"), ("Dots",)}
    name = list_actions(own.home, own.catalog)[0].name
    done = undo(own.home, own.catalog, name)
    assert (done.kind, done.restored, done.skipped) == ("taxonomy", 10, [])
    assert active_model(own.home)[1].decision.grouping() == labels
    assert {each.product_id: each.category for each in own.catalog.iterate()} == start
    undo(own.home, own.catalog, done.undone_by)
    assert paths(own) == {("Shapes", "stripes"), ("Shapes", "cross"), ("Dots",)}
    apply_taxonomy(own.home, own.catalog, TaxonomyMap({("Dots",): ("Spots",)}))
    again = undo(own.home, own.catalog, name)
    assert {skip.part for skip in again.skipped} == {"category", "model categories"}
    assert ("Spots",) in paths(own)


def test_the_last_activation_is_undone_by_name(own: Engine) -> None:  # noqa: F811
    """An earlier one is refused, since what came after would go with it."""
    bundle = active_model(own.home)[1]
    build_index(own.home, bundle=bundle)
    with acting("Bo"):
        Versions(own.home).activate("v000002")
        first = list_actions(own.home, own.catalog)[0]
        Versions(own.home).activate("v000001")
    assert (first.kind, first.by, first.note) == ("activation", "Bo", "v000001 -> v000002")
    with pytest.raises(NotUndoableError, match="another version was activated"):
        undo(own.home, own.catalog, first.name)
    last = list_actions(own.home, own.catalog)[0]
    assert undo(own.home, own.catalog, last.name, dry_run=True).undone_by == ""
    undo(own.home, own.catalog, last.name)
    active = own.home.active()
    assert active is not None
    assert active.index_version == "v000002"
    with pytest.raises(UnknownActionError):
        undo(own.home, own.catalog, "activation-v000009-1")


def test_what_was_kept_ends_with_its_term(
    own: Engine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Retention finds it by its age, whatever else happens in the home, and lets others write
    between portions."""
    monkeypatch.setattr(retention, "_PORTION", 1)
    pauses: list[float] = []
    monkeypatch.setattr(retention, "pause_since", pauses.append)
    own.catalog.patch("ring-blue", {"title": "x"})
    own.catalog.patch("ring-tan", {"title": "x"})
    end_terms(own.home, own.catalog)
    assert not is_due(own.home, own.catalog, RetentionTerms())
    with own.catalog.database.transaction() as sql:
        sql.execute("UPDATE actions SET at = '2020-01-01T00:00:00.000+00:00'")
    assert is_due(own.home, own.catalog, RetentionTerms())
    with own.home.lock("decision"):  # an undo is in work, and needs it
        assert end_terms(own.home, own.catalog).undo == 0
    assert (end_terms(own.home, own.catalog).undo, len(pauses)) == (2, 2)
    assert list_actions(own.home, own.catalog)[0].state == "expired"


def test_a_list_is_in_order_whatever_a_clock_noted(own: Engine) -> None:  # noqa: F811
    """What was done while the clock was ahead does not stand before what was done since."""
    for title in "xyz":
        own.catalog.patch("ring-blue", {"title": title})
    last = own.catalog.actions.actions(limit=3)
    with own.catalog.database.transaction() as sql:
        query = "UPDATE actions SET at = '2999-01-01T00:00:00.000+00:00' WHERE name = ?"
        sql.execute(query, (last[1].name,))
    names = [action.name for action in list_actions(own.home, own.catalog, limit=3)]
    assert names == [action.name for action in last]


def test_a_clock_that_jumped_ends_nothing(
    own: Engine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A year ahead all that is kept would be gone for good: tombstones, undos, photos of reviews,
    reports of jobs. Said to be right, it ends them."""
    own.catalog.patch("ring-blue", {"title": "x"})
    own.catalog.delete("ring-tan")
    end_terms(own.home, own.catalog)
    own.home.path.joinpath("CLOCK").unlink()
    year_ago = datetime.now(UTC) - timedelta(days=365)
    write_sealed_json(own.home.path / "CLOCK", {"seen": year_ago.timestamp()})
    with own.catalog.database.transaction() as sql:
        sql.execute("UPDATE actions SET at = ?", (year_ago.isoformat(timespec="milliseconds"),))
        sql.execute("UPDATE tombstones SET until = 1")
    assert not is_due(own.home, own.catalog, RetentionTerms())
    held = end_terms(own.home, own.catalog).held
    assert held is not None
    assert "catalens index gc --accept-clock" in held
    assert Deletions(own.catalog.database).was_deleted("ring-tan")
    assert list_actions(own.home, own.catalog)[-1].state == "undoable"
    accept_time(own.home)
    assert is_due(own.home, own.catalog, RetentionTerms())
    assert end_terms(own.home, own.catalog).undo > 0
    assert not Deletions(own.catalog.database).was_deleted("ring-tan")


def test_the_term_of_an_undo_is_a_setting(
    own: Engine,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`undo_days` says when it ends, 0 that it does not; a write beyond the number of products that
    are kept ends nothing by its age."""
    terms = Settings.make(home=own.home.path, undo_days=45).retention_terms
    assert (terms.undo, RetentionTerms().undo) == (45, 30)
    own.catalog.patch("ring-blue", {"title": "x"})
    with own.catalog.database.transaction() as sql:
        at = datetime.now(UTC) - timedelta(days=40)
        sql.execute("UPDATE actions SET at = ?", (at.isoformat(timespec="milliseconds"),))
    found = list_actions(own.home, own.catalog, days=45)[0]
    assert datetime.fromisoformat(found.until) - datetime.fromisoformat(found.at) == timedelta(45)
    assert list_actions(own.home, own.catalog, days=0)[0].until == ""
    assert not is_due(own.home, own.catalog, RetentionTerms(undo=0))
    monkeypatch.setattr(undo_journal, "MOST_KEPT", 0)
    own.catalog.patch("ring-blue", {"title": "y"})
    end_terms(own.home, own.catalog, terms)
    assert list_actions(own.home, own.catalog)[1].state == "undoable"
    end_terms(own.home, own.catalog, RetentionTerms(undo=39))
    assert list_actions(own.home, own.catalog)[1].state == "expired"


def test_the_command_lists_and_takes_back(
    own_home: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As JSON, under the name of who is logged in; single writes are listed where they are asked
    for."""
    with open_catalog(Home(own_home)) as catalog:
        catalog.patch("ring-blue", {"title": "x"})
    assert run(["undo", "list", "--home", str(own_home), "--json"]) == 0
    kinds = {each["kind"] for each in json.loads(capsys.readouterr().out)["actions"]}
    assert "write" not in kinds
    assert run(["undo", "list", "--writes", "--home", str(own_home), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["actions"][0]
    assert run(["undo", found["name"], "--home", str(own_home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["restored"] == 1
    assert run(["undo", "nothing", "--home", str(own_home)]) == 1
    assert "there is no action 'nothing'" in capsys.readouterr().err


def test_only_what_can_come_back_is_offered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not an erasure, and not an export, which is recorded by name; the command says until when by
    the setting."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        for number in range(2):
            put(catalog, f"p{number}", add_photo(home, number))
        with acting("Anna"):
            catalog.delete("p0")
            note_export(catalog, "2 rows to shop.csv")
        exported, erased, added, _ = list_actions(home, catalog)
        assert (exported.kind, exported.by, exported.note) == (
            "export", "Anna", "2 rows to shop.csv",
        )  # fmt: skip
        assert (erased.erased, erased.state, added.state) == (1, "not-undoable", "undoable")
        assert exported.state == "not-undoable"
        with pytest.raises(NotUndoableError, match="erased 1 products: there is nothing"):
            undo(home, catalog, erased.name)
        with pytest.raises(NotUndoableError, match="changed no product"):
            undo(home, catalog, exported.name)
    monkeypatch.setenv("CATALENS_UNDO_DAYS", "7")
    assert run(["undo", "list", "--writes", "--home", str(home.path), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["actions"][0]
    ends = datetime.fromisoformat(listed["until"]) - datetime.fromisoformat(listed["at"])
    assert ends == timedelta(days=7)


def test_single_writes_are_not_read_for_the_others(own: Engine) -> None:  # noqa: F811
    """However many came since: whoever may take only so long is asked for each action listed."""
    with doing("batch", "three"):
        own.products.patch("cross-red", {"title": "title"})
    row = "INSERT INTO actions (name, at, kind, actor, note) VALUES (?, '', 'write', '', '')"
    with own.catalog.database.transaction() as sql:
        sql.executemany(row, ((f"x{number}",) for number in range(5000)))
    listed = list_actions(own.home, own.catalog, limit=3)
    assert [action.kind for action in listed].count("write") >= 2
    steps: list[int] = []

    def step() -> None:
        steps.append(1)

    found = list_actions(own.home, own.catalog, writes=False, on_step=step)
    kinds = [action.kind for action in found]
    assert "batch" in kinds
    assert "write" not in kinds
    assert 0 < len(steps) <= len(found)


def test_what_is_still_written_is_not_undone(
    own: Engine,  # noqa: F811
    open_web: Callable[..., FlaskClient],  # noqa: F811
    tmp_path: Path,
) -> None:
    """Else the rest of a running import could be undone by nobody; the one before it can be."""
    feed = tmp_path / "feed.jsonl"
    (tmp_path / "n.png").write_bytes(photo("ring", "red", turn=33))
    web = open_web()
    refused: list[str] = []

    def bring(title: str, ask: bool) -> str:
        feed.write_text(json.dumps({"product_id": "new-one", "image": "n.png", "title": title}))

        def look(stage: str, done: int, *_: object) -> None:
            if not ask or stage != "import" or not done:
                return
            now, before = own.catalog.actions.actions(limit=2)
            for body in ({}, {"dry_run": True}, {"background": True}):
                answer = web.post(f"/v1/actions/{now.name}:undo", json=body)
                assert_problem(answer, 409, "not-undoable")
                assert "still being written" in answer.get_json()["detail"]
            with pytest.raises(NotUndoableError, match="cancel its job or wait"):
                undo(own.home, own.catalog, now.name)
            undo(own.home, own.catalog, before.name, dry_run=True)
            refused.append(now.name)

        run_import(own.home, feed, ImportOptions(), progress=look)
        return own.catalog.actions.actions(limit=1)[0].name

    bring("first", ask=False)
    name = bring("second", ask=True)
    assert refused
    assert set(refused) == {name}
    assert undo(own.home, own.catalog, name).restored == 1
    with own.home.lock("types"), doing("types"):
        own.products.patch("ring-blue", {"title": "x"})
        kind = own.catalog.actions.actions(limit=1)[0]
        with pytest.raises(NotUndoableError, match="still being written"):
            undo(own.home, own.catalog, kind.name)
