"""Switching versions and following other processes, without a restart."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from indexer.build import build_index
from indexer.catalog.store import open_catalog
from indexer.errors import DamagedIndex, IndexMismatch
from indexer.files import write_json
from indexer.home import Active, Home
from indexer.index.version import Versions
from indexer.model.registry import pretrained, resolve
from service.engine import Engine, Source
from service.settings import Settings
from service.writes import Draft
from tests.service.conftest import photo
from tests.service.test_questions import assert_problem


def wait_for(true: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, "did not happen"
        time.sleep(0.02)


def test_a_new_version_is_picked_up_without_a_restart(own_home: Path) -> None:
    """Questions never fail while it switches, and each names one of the two versions with the same results."""
    home = Home(own_home)
    with Engine(Settings(home=own_home, poll_s=0.05)) as engine:
        seen, failures, stop = [], [], threading.Event()

        def ask() -> None:
            while not stop.is_set():
                try:
                    answer = engine.similar("cross-red", k=3)
                    seen.append((answer["index_version"], tuple(r["product_id"] for r in answer["results"])))
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
    """A model without categories takes over with its index: classify then says so, search still works."""
    assert own.classify(Source(product_id="cross-red"))["categories"][0]["label"] == "cross"
    bare = pretrained(own.home)
    build_index(own.home, bundle=bare, activate=True)
    own.refresh()
    answer = own.similar("cross-red", k=1)
    assert (answer["model_version"], answer["index_version"]) == (bare.model_version, "v000002")
    with pytest.raises(Exception, match="no categories"):
        own.classify(Source(product_id="cross-red"))


def test_other_processes_writes_are_followed(own_home: Path) -> None:
    """A product that another process stores, without an embedding, is found soon after; its deletion too."""
    shot = photo("dots", "green", turn=21)
    with Engine(Settings(home=own_home, poll_s=0.05)) as engine, open_catalog(engine.home) as other:
        row = other.get("cross-red")
        writer = Engine(Settings(home=own_home), watch=False)
        sequence = writer.put("elsewhere", Draft(photos=(shot,)))["sequence"]
        found = engine.search(Source(image=shot), k=1, min_sequence=sequence)["results"][0]
        assert found["product_id"] == "elsewhere"
        other.delete(row.product_id)
        sequence = other.last_sequence()
        left = engine.search(Source(image=shot), k=1000, min_sequence=sequence)["results"]
        assert len(left) == 20
        writer.close()


def test_photos_never_embedded_are_embedded_on_the_way(own: Engine) -> None:
    """An import beside a running service needs no rebuild to be found."""
    from indexer.catalog.photos import PhotoStore
    from indexer.catalog.records import ProductInput
    from indexer.images import decode

    shots = [photo("dots", "green", turn=turn) for turn in range(21, 32)]
    store = PhotoStore(own.home)
    with open_catalog(own.home) as other:
        for number, shot in enumerate(shots):
            new = store.add(shot, decode(shot))
            product = ProductInput(f"import-{number}", None, None, (), {}, (new.content_hash,))
            other.put(product, photos=[new])
        sequence = other.last_sequence()
    own.refresh()
    assert own.ready().live.sequence == sequence == 31
    for number, shot in enumerate(shots):
        assert own.search(Source(image=shot), k=1)["results"][0]["product_id"] == f"import-{number}"


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
    own.home.activate(Active("v000002", own.ready().model_version))
    own.refresh()
    assert own.similar("cross-red", k=1)["index_version"] == "v000001"
    with pytest.raises(DamagedIndex, match=r"vectors\.npy"):
        Engine(Settings(home=own.home.path), watch=False)


def test_a_foreign_model_is_refused_naming_both(own: Engine) -> None:
    """An index built by another model does not serve with this one; both embedding ids are named."""
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
    with pytest.raises(IndexMismatch) as refused:
        Engine(Settings(home=own.home.path), watch=False)
    assert "e" + "0" * 32 in str(refused.value)
    assert built.embedding_id in str(refused.value)


def test_versions_are_listed_and_activated_over_http(own: Engine, open_web: Callable[..., FlaskClient]) -> None:
    """The list says which serves; activation takes effect before it answers; an unknown one is 404."""
    web = open_web()
    build_index(own.home, bundle=resolve(own.home, None))
    listed = web.get("/v1/indexes").get_json()["indexes"]
    assert [(row["version"], row["active"]) for row in listed] == [("v000001", True), ("v000002", False)]
    assert web.post("/v1/indexes/v000002:activate").get_json()["activated"] == "v000002"
    assert web.get("/readyz").get_json()["index_version"] == "v000002"
    problem = assert_problem(web.post("/v1/indexes/v000009:activate"), 404, "unknown-version")
    assert str(own.home.path) not in problem["detail"]  # where files lie on the server is nobody's business


def test_an_unreadable_current_file_does_not_stop_the_service(own: Engine) -> None:
    """Nonsense in CURRENT is logged once; what served goes on and still follows other processes' writes."""
    events: list[str] = []

    class Log:
        def error(self, event: str, **_: object) -> None:
            events.append(event)

        info = warning = lambda self, event, **_: None

    own._serving._log = Log()
    write_json(own.home.current_file, ["nonsense"])
    with open_catalog(own.home) as catalog:
        catalog.delete("cross-green")
    for _ in range(3):
        own.refresh()
    found = own.similar("cross-red", k=20)
    assert found["index_version"] == "v000001"
    assert "cross-green" not in {result["product_id"] for result in found["results"]}
    assert events == ["activated version cannot be served; the old one goes on"]
