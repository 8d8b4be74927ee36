"""Switching versions and following other processes, without a restart."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import remove_folder, write_json
from indexer.core.errors import (
    CatalensError,
    DamagedIndexError,
    IndexMismatchError,
    UnknownVersionError,
)
from indexer.core.home import Active, Home
from indexer.index.version import Versions
from indexer.index_build.pipeline import build_index
from indexer.model.registry import pretrained, resolve
from service.app import create_app
from service.engine import Engine, Query
from service.products.writer import Draft
from service.settings import Settings
from service.state.snapshots import SnapshotManager
from tests.service.api.routes.test_queries import assert_problem
from tests.service.conftest import photo


def wait_for(true: Callable[[], bool], seconds: float = 40.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "did not happen"
        time.sleep(0.02)


def test_a_start_opens_what_was_activated_meanwhile(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that it read as active is gone before it is open: another one serves, which it
    opens; a version that is damaged and still active ends the start as before."""
    home = Home(own_home)
    build_index(home, bundle=resolve(home, None))
    real, tried = SnapshotManager._open, []

    def opened(self: SnapshotManager, active: Active) -> Any:
        tried.append(active.index_version)
        if len(tried) == 1:
            Versions(home).activate("v000002")
            remove_folder(home.indexes / "v000001")
        return real(self, active)

    monkeypatch.setattr(SnapshotManager, "_open", opened)
    with Engine(Settings(home=own_home), watch=False) as engine:
        assert engine.ready().index_version == "v000002"
    assert tried == ["v000001", "v000002"]
    remove_folder(home.indexes / "v000002")
    with pytest.raises(CatalensError):
        Engine(Settings(home=own_home), watch=False)
    assert tried[2:] == ["v000002"]


def test_a_new_version_is_picked_up_without_a_restart(own_home: Path) -> None:
    """Questions never fail while it switches, and each names one of the two versions with the same
    results."""
    home = Home(own_home)
    with Engine(Settings(home=own_home, poll_s=0.05)) as engine:
        seen, failures, stop = [], [], threading.Event()

        def ask() -> None:
            while not stop.is_set():
                try:
                    answer = engine.similar("cross-red", k=3)
                    seen.append(
                        (answer.index_version, tuple(r.product_id for r in answer.content.results))
                    )
                except Exception as error:
                    failures.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        build_index(home, bundle=resolve(home, None), activate=True)
        wait_for(lambda: engine.ready().index_version == "v000002")
        time.sleep(0.05)
        stop.set()
        asking.join()
        assert failures == []
        assert {version for version, _ in seen} == {"v000001", "v000002"}
        assert len({results for _, results in seen}) == 1


def test_model_and_index_switch_as_one(own: Engine) -> None:
    """A model without categories takes over with its index: classify then says so, search still
    works."""
    assert own.classify(Query(product_id="cross-red")).content.categories[0].label == "cross"
    bare = pretrained(own.home)
    build_index(own.home, bundle=bare, activate=True)
    own.refresh()
    answer = own.similar("cross-red", k=1)
    assert (answer.model_version, answer.index_version) == (bare.model_version, "v000002")
    with pytest.raises(Exception, match="no categories"):
        own.classify(Query(product_id="cross-red"))


def test_other_processes_writes_are_followed(own_home: Path) -> None:
    """A product that another process stores, without an embedding, is found soon after; its
    deletion too."""
    shot = photo("dots", "green", turn=21)
    with Engine(Settings(home=own_home, poll_s=0.05)) as engine, open_catalog(engine.home) as other:
        row = other.get("cross-red")
        writer = Engine(Settings(home=own_home), watch=False)
        sequence = writer.products.put("elsewhere", Draft(photos=(shot,))).content.sequence
        found = engine.search(Query(image=shot), k=1, min_sequence=sequence).content.results[0]
        assert found.product_id == "elsewhere"
        other.delete(row.product_id)
        sequence = other.last_sequence()
        left = engine.search(Query(image=shot), k=1000, min_sequence=sequence).content.results
        assert len(left) == 20
        writer.close()


def test_photos_never_embedded_are_embedded_on_the_way(own: Engine) -> None:
    """An import beside a running service needs no rebuild to be found."""
    from indexer.catalog.photo_store import PhotoStore
    from indexer.catalog.records import ProductInput
    from indexer.imaging.decode import decode_photo

    shots = [photo("dots", "green", turn=turn) for turn in range(21, 32)]
    store = PhotoStore(own.home)
    with open_catalog(own.home) as other:
        for number, shot in enumerate(shots):
            new = store.add(shot, decode_photo(shot))
            product = ProductInput(f"import-{number}", None, None, (), {}, (new.content_hash,))
            other.put(product, photos=[new])
        sequence = other.last_sequence()
    own.refresh()
    assert own.ready().live.sequence == sequence == 31
    for number, shot in enumerate(shots):
        assert (
            own.search(Query(image=shot), k=1).content.results[0].product_id == f"import-{number}"
        )


def test_a_damaged_version_is_refused_and_the_old_one_serves_on(
    own: Engine, open_web: Callable[..., FlaskClient]
) -> None:
    """Activation over HTTP names the file; forced past the check it is not taken, nor at start."""
    web = open_web()
    build_index(own.home, bundle=resolve(own.home, None))
    victim = own.home.indexes / "v000002" / "vectors.npy"
    data = bytearray(victim.read_bytes())
    data[-7] ^= 1
    victim.write_bytes(bytes(data))
    body = assert_problem(web.post("/v1/indexes/v000002:activate"), 409, "damaged-index")
    assert "vectors.npy" in body["detail"]
    assert "catalens verify --repair" in body["detail"]
    own.home.activate(Active("v000002", own.ready().model_version))
    own.refresh()
    assert own.similar("cross-red", k=1).index_version == "v000001"
    with pytest.raises(DamagedIndexError, match=r"vectors\.npy"):
        Engine(Settings(home=own.home.path), watch=False)


def test_a_foreign_model_is_refused_naming_both(own: Engine) -> None:
    """An index built by another model does not serve with this one; both embedding
    ids are named."""
    path = own.home.models / own.ready().model_version / "spec.json"
    theirs = json.loads(path.read_text())
    assert theirs["backbone"] == "efficientnet_lite0"
    built = Versions(own.home).manifest("v000001")
    manifest = own.home.indexes / "v000001" / "manifest.json"
    changed = json.loads(manifest.read_text())
    changed["embedding_id"] = "e" + "0" * 32
    del changed["seal"]
    from indexer.index.version import Manifest

    manifest.write_bytes(Manifest(**changed).to_bytes())
    with pytest.raises(IndexMismatchError) as refused:
        Engine(Settings(home=own.home.path), watch=False)
    assert "e" + "0" * 32 in str(refused.value)
    assert built.embedding_id in str(refused.value)


def test_versions_are_listed_and_activated_over_http(
    own: Engine, open_web: Callable[..., FlaskClient]
) -> None:
    """The list says which serves; activation takes effect before it answers; an unknown
    one is 404."""
    web = open_web()
    build_index(own.home, bundle=resolve(own.home, None))
    listed = web.get("/v1/indexes").get_json()["indexes"]
    assert [(row["version"], row["active"]) for row in listed] == [
        ("v000001", True),
        ("v000002", False),
    ]
    assert web.post("/v1/indexes/v000002:activate").get_json()["activated"] == "v000002"
    assert web.get("/readyz").get_json()["index_version"] == "v000002"
    problem = assert_problem(web.post("/v1/indexes/v000009:activate"), 404, "unknown-version")
    assert (
        str(own.home.path) not in problem["detail"]
    )  # where files lie on the server is nobody's business


def test_an_unreadable_current_file_does_not_stop_the_service(own: Engine) -> None:
    """Nonsense in CURRENT is logged once; what served goes on and still follows other processes'
    writes."""
    events: list[str] = []

    class Log:
        def error(self, event: str, **_: object) -> None:
            events.append(event)

        info = warning = lambda self, event, **_: None

    own.snapshots._log = Log()
    write_json(own.home.current_file, ["nonsense"])
    with open_catalog(own.home) as catalog:
        catalog.delete("cross-green")
    for _ in range(3):
        own.refresh()
    found = own.similar("cross-red", k=20)
    assert found.index_version == "v000001"
    assert "cross-green" not in {result.product_id for result in found.content.results}
    assert events == ["activated version cannot be served; the old one goes on"]


def test_a_fault_that_lasts_is_not_told_at_every_look(
    own: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five times a second it would fill the log: told at once, then ever less often, and at once
    again when another one begins."""
    told: list[float] = []

    class Log:
        def error(self, event: str, *, said_again_after_s: float, **_: object) -> None:
            told.append(said_again_after_s)

        info = warning = lambda self, event, **_: None

    def broken(_: object) -> None:
        raise OSError("the disk is away")

    own.snapshots._log = Log()
    with monkeypatch.context() as patched:
        patched.setattr(own.snapshots, "_follow_log", broken)
        for _ in range(20):
            own.snapshots.follow()
        assert told == [1.0]
        own.snapshots._silence.hurry()
        own.snapshots.follow()
        assert told == [1.0, 2.0]
    own.snapshots.follow()
    monkeypatch.setattr(own.snapshots, "_follow_log", broken)
    own.snapshots.follow()
    assert told == [1.0, 2.0, 1.0]


# -- a request may name a version


@pytest.fixture
def two(own: Engine) -> Engine:
    """v000001 serves with the labelled model; v000002 is of another network, without categories."""
    build_index(own.home, bundle=pretrained(own.home, "efficientnet_lite1"))
    return own


def test_a_request_may_name_a_version(two: Engine, open_web: Callable[..., FlaskClient]) -> None:
    """Every question answers from the version it names, with that version's ids; unnamed, from the
    serving one."""
    web = open_web()
    shot = photo("cross", "red")
    models = {manifest.version: manifest.model_version for manifest in Versions(two.home).list()}
    assert len(set(models.values())) == 2
    for version in ("v000001", "v000002"):
        ids = {"index_version": version, "model_version": models[version]}
        form = {"image": (io.BytesIO(shot), "a.png"), "version": version, "k": "3"}
        found = web.post("/v1/search", data=form).get_json()
        assert found.items() >= ids.items()
        assert found["results"][0]["product_id"] == "cross-red"
        similar = web.get(f"/v1/products/cross-red/similar?k=3&version={version}").get_json()
        assert similar.items() >= ids.items()
        vectors = {pid: two.snapshots.get(version).live.vectors_of(pid)[1] for pid in (1, 2)}
        assert vectors[1].shape == (2, 1280)
        tags = web.post("/v1/tags", json={"product_id": "cross-red", "version": version}).get_json()
        assert tags.items() >= ids.items()
    assert (
        web.post("/v1/tags", json={"product_id": "cross-red"}).get_json()["index_version"]
        == "v000001"
    )
    asked = {"product_id": "cross-red", "version": "v000001"}
    assert web.post("/v1/classify", json=asked).get_json()["categories"][0]["label"] == "cross"
    assert_problem(
        web.post("/v1/classify", json={**asked, "version": "v000002"}), 409, "no-categories"
    )
    assert two.ready().index_version == "v000001"


def test_a_named_version_that_cannot_answer_says_why(
    two: Engine, open_web: Callable[..., FlaskClient]
) -> None:
    """Unknown 404, damaged and newer 409 naming the file or the format; the serving version goes
    on."""
    web = open_web()
    for name in ("v000009", "latest", "../v000001"):
        assert_problem(
            web.get(f"/v1/products/cross-red/similar?version={name}"), 404, "unknown-version"
        )
    assert_problem(web.get("/v1/products/cross-red/similar?version="), 422, "invalid-request")
    victim = two.home.indexes / "v000002" / "vectors.npy"
    data = bytearray(victim.read_bytes())
    data[-7] ^= 1
    victim.write_bytes(bytes(data))
    body = assert_problem(
        web.get("/v1/products/cross-red/similar?version=v000002"), 409, "damaged-index"
    )
    assert "vectors.npy" in body["detail"]
    manifest = two.home.indexes / "v000002" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 2}))
    assert_problem(web.get("/v1/products/cross-red/similar?version=v000002"), 409, "newer-format")
    assert web.get("/v1/products/cross-red/similar").get_json()["index_version"] == "v000001"


def test_named_versions_follow_writes(two: Engine, open_web: Callable[..., FlaskClient]) -> None:
    """A product that is put and one that is deleted, after the version was opened: seen there as in
    the serving one."""
    web = open_web()
    shot = photo("dots", "green", turn=21)

    def first() -> dict[str, object]:
        form = {"image": (io.BytesIO(shot), "a.png"), "version": "v000002", "k": "1000"}
        return {
            row["product_id"]: row["score"]
            for row in web.post("/v1/search", data=form).get_json()["results"]
        }

    assert len(first()) == 20
    two.products.put("new", Draft(photos=(shot,)))
    two.products.delete("cross-green")
    two.refresh()
    found = first()
    assert next(iter(found)) == "new"
    assert found["new"] == pytest.approx(1.0, abs=1e-3)  # embedded by that version's own network
    assert "cross-green" not in found
    assert len(found) == 20


def test_few_versions_are_kept_open(own: Engine) -> None:
    """The one longest unused is closed, and so is one that was removed from the disk."""
    for _ in range(3):
        build_index(own.home, bundle=resolve(own.home, None))
    for version in ("v000002", "v000003", "v000002", "v000004"):
        assert own.similar("cross-red", k=1, version=version).index_version == version
    assert own.snapshots.pinned.names() == ["v000002", "v000004"]
    Versions(own.home).remove(["v000004"])
    own.refresh()
    assert own.snapshots.pinned.names() == ["v000002"]
    with pytest.raises(UnknownVersionError, match="v000004"):
        own.similar("cross-red", version="v000004")


# -- model change


def test_after_upserts_by_http_alone_a_model_change_finds_every_product(
    own: Engine, open_web: Callable[..., FlaskClient]
) -> None:
    """Products that came as uploads are embedded by the new model beside the live one, and it
    serves as one unit."""
    web = open_web()
    shots = {f"new-{turn}": photo("dots", "green", turn=turn) for turn in range(21, 27)}
    for product_id, shot in shots.items():
        form = {"product": "{}", "images": (io.BytesIO(shot), "a.png")}
        assert (
            web.put(
                f"/v1/products/{product_id}", data=form, content_type="multipart/form-data"
            ).status_code
            == 200
        )
    other = pretrained(own.home, "efficientnet_lite1")
    report = build_index(own.home, bundle=other, activate=True)
    assert (report.entries, report.embedded, report.skipped) == (46, 46, [])
    assert own.similar("new-21", k=1).index_version == "v000001"  # still the old pair, whole
    own.refresh()
    for product_id, shot in shots.items():
        found = web.post(
            "/v1/search", data={"image": (io.BytesIO(shot), "a.png"), "k": "1"}
        ).get_json()
        assert found["results"][0]["product_id"] == product_id
        assert found["results"][0]["score"] == pytest.approx(1, abs=2e-3)
        assert (found["index_version"], found["model_version"]) == ("v000002", other.model_version)


# -- erasure


def verify_erased(home: Home, product_id: str, ticket: Path) -> int:
    """The command's exit code; a process of its own, as the service has the databases open."""
    command = [
        "index",
        "verify",
        "--erased",
        product_id,
        "--ticket",
        str(ticket),
        "--home",
        str(home.path),
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli", *command], capture_output=True, text=True
    )
    assert bool(json.loads(done.stdout)["found"]) == (done.returncode == 1), done.stderr
    return done.returncode


@pytest.mark.long
def test_the_service_erases_within_the_time_set(own_home: Path, tmp_path: Path) -> None:
    """A product deleted over HTTP is rewritten out of every version in the background; then nothing
    is found."""
    home = Home(own_home)
    build_index(home, bundle=resolve(home, None), activate=True)
    with Engine(Settings(home=own_home, poll_s=0.05, erase_within_s=20)) as engine:
        web = create_app(engine, engine.settings, check_answers=True).test_client()
        wait_for(lambda: engine.eraser._due is None)
        web.post("/v1/search", data={"image": (io.BytesIO(photo("cross", "red")), "a.png")})
        assert engine.embedder.remembered == 1
        known = web.delete("/v1/products/cross-red?ticket=true").get_json()["ticket"]
        assert engine.embedder.remembered == 0
        (tmp_path / "ticket.json").write_text(json.dumps(known))
        assert verify_erased(home, "cross-red", tmp_path / "ticket.json") == 1
        wait_for(lambda: engine.ready().index_version == "v000004", 90)
        wait_for(lambda: engine.eraser._due is None, 60)
        assert Versions(home).names() == ["v000003", "v000004"]
        assert verify_erased(home, "cross-red", tmp_path / "ticket.json") == 0
        assert len(engine.similar("cross-tan", k=1000).content.results) == 18
