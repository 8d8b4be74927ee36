"""Erasure: a deleted product leaves no byte behind, in whatever version, database or folder;
everything else stays."""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.catalog.filters import parse_filter
from indexer.catalog.photo_keys import PhotoKeys
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import NewPhoto, Patch, ProductInput, Put
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.actor import doing
from indexer.core.atomic_files import read_sealed_json, write_sealed_json, written_aside
from indexer.core.errors import BadDataError, BusyError, NoMemoryError
from indexer.core.home import Active, Home
from indexer.duplicates.hash_store import SignatureStore
from indexer.fetch.state import FetchState, URLState
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.live import LiveIndex
from indexer.index.version import Versions
from indexer.index_build import publish
from indexer.index_build.publish import IndexOptions, VersionContent, publish_version
from indexer.operations import erasure, free_text, garbage_collection
from indexer.operations.audit_findings import read_findings, state_line
from indexer.operations.erasure_audit import find_traces, read_ticket, ticket
from indexer.operations.garbage_collection import collect_photos, stray_photos, sweep
from indexer.operations.state_files import DERIVED, check_state
from tests.indexer.conftest import copy_home, move_to_other_disk
from tests.indexer.index_build.test_pipeline import (
    DIM,
    FakeBundle,
    add_photo,
    build,
    colour,
    vector_of,
)
from tools import cli

GONE = "shirt-1"


def put(catalog: Catalog, product_id: str, *photos: NewPhoto) -> None:
    hashes = tuple(photo.content_hash for photo in photos)
    product = ProductInput(
        product_id, f"title of {product_id}", ("Wearable",), (), {"size": 3}, hashes
    )
    catalog.apply([Put(product, photos)])


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """200 products; three versions, the second serving, the first kept for rollback, the third not
    yet activated.

    ``shirt-1`` has a photo of its own and one that it shares with ``shared``; ``shirt-10`` begins
    with its id.
    """
    home = Home.create(tmp_path_factory.mktemp("erasure") / "home")
    with open_catalog(home) as catalog:
        own, common = add_photo(home, 210), add_photo(home, 211)
        for i in range(200):
            put(catalog, f"shirt-1{i}" if i else "shirt-10", add_photo(home, i))
            if i == 150:
                put(catalog, GONE, own, common)
                put(catalog, "shared", common)
    for bundle in ({}, {}, {"embedding_id": "e2", "model_version": "m2"}):
        build(home, bundle=bundle)
        if not bundle:
            activate(home, Versions(home).names()[-1])
    with open_catalog(home) as catalog:
        PhotoStore(home).thumbnail(catalog.photo(own.content_hash), 160)  # type: ignore[arg-type]
        catalog.apply([Patch("shirt-12", {"title": "new"})])
    return home


@pytest.fixture
def home(template: Home, tmp_path: Path) -> Home:
    return copy_home(template, tmp_path)


def activate(home: Home, version: str) -> None:
    Versions(home).activate(version, model_embedding_id=lambda model: model.replace("m", "e"))


def delete(home: Home, product_id: str = GONE) -> dict[str, object]:
    """Delete as any process may; returns the ticket."""
    with open_catalog(home) as catalog:
        found = ticket(home, catalog, product_id)
        PhotoStore(home).collect(catalog, catalog.delete(product_id).orphaned)
    return found


def traces(
    home: Home, known: dict[str, object] | None = None, **more: object
) -> list[tuple[str, str]]:
    with open_catalog(home) as catalog:
        found = find_traces(home, catalog, GONE, ticket=known, **more)  # type: ignore[arg-type]
    return [(entry["where"], entry["what"]) for entry in found.found]


def test_nothing_of_an_erased_product_is_left(home: Home) -> None:
    """Before: id, hash and vectors are found where they lie. After: nothing, by ticket, by photo
    and by id alone."""
    photo = home.path.parent / "photo.png"
    with open_catalog(home) as catalog:
        row = catalog.photo(catalog.get(GONE).photos[0])
        assert row is not None
        photo.write_bytes(PhotoStore(home).read(row))
    server = open_catalog(
        home
    )  # as a service has it open all the time, so that the log is not folded in
    assert len(server) == 202
    known = delete(home)
    before = traces(home, known)
    assert {what for _, what in before} >= {
        "vector",
        "2 rows of deleted products or photos",
        "1 vectors of deleted photos",
    }
    assert {where for where, what in before if what == "vector"} >= {
        "indexes/v000001/vectors.npy",
        "indexes/v000003/vectors.npy",
        "embeddings/e1.sqlite3",
        "embeddings/e2.sqlite3",
    }
    assert any(where.startswith("catalog.sqlite3") and what == "id" for where, what in before)
    done = erasure.erase(home)
    assert done.rewritten == {"v000001": "v000004", "v000002": "v000005", "v000003": "v000006"}
    assert (done.rows, done.vectors, done.failed, done.strays) == (6, 2, {}, 0)
    assert traces(home, known) == []
    assert traces(home, known, photos=[photo]) == []
    assert traces(home) == []
    server.close()


@pytest.mark.parametrize("kind", ["vectors", "signatures"])
def test_what_is_stored_while_it_is_erased_goes(
    home: Home, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A build or the service asks whether a photo is there and stores what it made of it: an
    erasure that begins in between waits for that, and finds it."""
    with open_catalog(home) as catalog, open_catalog(home) as other:
        own = catalog.get(GONE).photo_ids[0]
        if kind == "vectors":
            store = EmbeddingStore(home.embeddings, "e1", DIM, catalog=catalog)
            values, forget = store.get(np.array([own])).astype(np.float32), erasure._forget_vectors
        else:
            store = SignatureStore(home, catalog)
            values, forget = np.zeros((1, 32, 32, 3), np.uint8), erasure._forget_signatures
        store.delete(np.array([own]))
        keep = PhotoKeys.keep

        def late(self: PhotoKeys, *args: Any) -> Any:
            kept = keep(self, *args)
            other.delete(GONE)
            worker.start()
            time.sleep(0.5)
            return kept

        worker = threading.Thread(target=lambda: forget(home, other))
        monkeypatch.setattr(PhotoKeys, "keep", late)
        store.put(np.array([own]), values)
        worker.join()
        assert own not in store.ids()
        store.close()


def test_addresses_of_its_photos_go(home: Home) -> None:
    """The URL that a photo came from goes with its product; those of others stay."""
    urls = {name: f"http://a/{name}.jpg" for name in (GONE, "shared")}
    with open_catalog(home) as catalog, FetchState(home.fetch_file) as state:
        for name, url in urls.items():
            state.record(URLState(url, catalog.get(name).photos[0]))
    delete(home)
    assert ("fetch.sqlite3", "addresses of 1 photos") in traces(home)
    erasure.erase(home)
    assert traces(home) == []
    with FetchState(home.fetch_file) as state:
        assert list(state.find(urls.values())) == [urls["shared"]]


def test_what_imports_remember_goes(home: Home) -> None:
    """The names of photos' files that an import keeps for its next run go with the product."""
    known = delete(home)
    home.feeds.mkdir()
    (home.feeds / "0123456789abcdef.photos").write_text(f'[1,"ab",true,"/feed/{GONE}.jpg",1,2]')
    assert traces(home, known) != []
    erasure.erase(home)
    assert traces(home, known) == []


def test_what_stays_is_found_as_before(home: Home) -> None:
    """Every other product and the shared photo are found with the same scores, in every rewritten
    version."""
    delete(home)
    query = vector_of(colour(211))[None]
    before = {
        name: LiveIndex(Versions(home).open(name)).search(query, 202)[0]
        for name in Versions(home).names()
    }
    done = erasure.erase(home)
    with open_catalog(home) as catalog:
        gone, shared = 152, catalog.pid("shared")
        assert catalog.get("shared").photos
    for old, new in done.rewritten.items():
        opened = Versions(home).open(new)
        after = LiveIndex(opened).search(query, 202)[0]
        kept = before[old].pids != gone
        assert after.pids.tolist() == before[old].pids[kept].tolist()
        np.testing.assert_array_equal(after.scores, before[old].scores[kept])
        assert after.pids[0] == shared
        assert opened.manifest.counts == {"entries": 201, "products": 201}
        assert opened.manifest.last_sequence == 202
        assert opened.manifest.root == old


def test_what_serves_and_the_way_back_follow(home: Home) -> None:
    """The active pair and the one before it are the rewrites; rolling back and forth works; no old
    version is left."""
    delete(home)
    erasure.erase(home)
    versions = Versions(home)
    assert home.active() == Active("v000005", "m1")
    assert versions.previous() == Active("v000004", "m1")
    assert versions.names() == ["v000004", "v000005", "v000006"]
    assert versions.rollback(model_embedding_id=lambda model: "e1") == "v000004"
    assert versions.rollback(model_embedding_id=lambda model: "e1") == "v000005"
    assert (
        versions.gc() == []
    )  # the third is still newer than what serves, though its number is no later build


def test_a_rewrite_answers_unknown_kinds_as_what_it_takes_the_place_of(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions from before builds fitted a rule get none by an erasure: they would answer an
    unknown kind without categories from then on. One that has a rule has its own again."""
    fitted = {"threshold": 2.5, "products": 200}
    monkeypatch.setattr(publish, "refit_unknown", lambda *_, **__: fitted)
    build(home)
    monkeypatch.setattr(
        erasure,
        "_bundle",
        lambda _, version: FakeBundle(version.replace("m", "e"), version),
    )
    delete(home)
    done = erasure.erase(home)
    versions = Versions(home)
    found = {name: versions.open(successor).unknown for name, successor in done.rewritten.items()}
    assert found == {"v000001": None, "v000002": None, "v000003": None, "v000004": fitted}


def test_nothing_collects_what_an_erasure_is_making(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second erasure and ``index gc`` wait, or say that they cannot: the rewrites of the first
    are in nobody's history yet. Then the way back leads to a version that is there."""
    delete(home)
    original = Versions.supersede
    refused = []

    def between(versions: Versions, successors: dict[str, str]) -> None:
        for work in (
            lambda: garbage_collection.tidy(home),
            lambda: erasure.erase(home, wait_s=0.0),
        ):
            with pytest.raises(BusyError) as raised:
                work()
            refused.append(raised.value)
        original(versions, successors)

    monkeypatch.setattr(Versions, "supersede", between)
    erasure.erase(home)
    assert len(refused) == 2
    assert Versions(home).rollback(model_embedding_id=lambda model: "e1") == "v000004"


def test_without_deletions_nothing_is_rewritten(home: Home) -> None:
    """Versions keep their names and bytes, and the service is told that there is nothing to do."""
    with open_catalog(home) as catalog:
        assert erasure.needs_erasing(home, catalog)  # a title was replaced
        done = erasure.erase(home)
        assert (done.rewritten, done.rows, done.vectors, done.photos) == ({}, 0, 0, 0)
        assert not erasure.needs_erasing(home, catalog)
        delete(home)
        assert erasure.needs_erasing(home, catalog)
        erasure.erase(home)
        assert not erasure.needs_erasing(home, catalog)


class Killed(BaseException):
    """What a kill looks like from inside."""


@pytest.mark.parametrize(
    "step",
    ["publish_version", "supersede", "remove", "_forget_vectors", "collect_photos", "_scrub"],
)
def test_a_killed_erasure_is_finished_by_the_next(
    home: Home, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Stopped at any step a whole pair serves; the next run ends with one rewrite for each version
    and nothing left."""
    known = delete(home)
    calls = 0

    def killed(original: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: object, **options: object) -> object:
            nonlocal calls
            calls += 1
            if step == "publish_version" and calls < 3:
                return original(*arguments, **options)
            raise Killed

        return wrapper

    with monkeypatch.context() as patch:
        of = Versions if step in ("supersede", "remove") else erasure
        patch.setattr(of, step, killed(getattr(of, step)))
        with pytest.raises(Killed):
            erasure.erase(home)
    serving = home.active()
    assert serving is not None
    Versions(home).verify(serving.index_version)
    assert Versions(home).previous() is not None
    erasure.erase(home)
    assert traces(home, known) == []
    roots = {name: Versions(home).manifest(name).root for name in Versions(home).names()}
    serving, previous = home.active(), Versions(home).previous()
    assert sorted(roots.values()) == ["v000001", "v000002", "v000003"]
    assert serving is not None
    assert previous is not None
    assert (roots[serving.index_version], roots[previous.index_version]) == ("v000002", "v000001")


def test_between_the_renames_of_a_replacement_the_pair_and_the_past_are_whole(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before or after the flip of CURRENT: what serves exists, and so does what served
    before it."""
    delete(home)
    for name in ("v000001", "v000002"):
        with open_catalog(home) as catalog:
            erasure._cleaned(home, catalog, name, "cpu")
    successors = {"v000001": "v000004", "v000002": "v000005"}
    original, left = Versions._write_history, 0
    for stop, serving in ((1, "v000002"), (2, "v000002"), (3, "v000005")):
        left = stop

        def step() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        def note(self: Versions, entries: object) -> None:
            step()
            original(self, entries)  # type: ignore[arg-type]
            step()

        with monkeypatch.context() as patch:
            patch.setattr(Versions, "_write_history", note)
            with pytest.raises(Killed):
                Versions(home).supersede(successors)
        assert home.active() == Active(serving, "m1")
        previous = Versions(home).previous()
        assert previous is not None
        assert (home.indexes / previous.index_version).is_dir()
    Versions(home).supersede(successors)
    assert (home.active(), Versions(home).previous()) == (
        Active("v000005", "m1"),
        Active("v000004", "m1"),
    )


def test_a_replaced_photo_is_erased_too(home: Home) -> None:
    """A photo that its product gave up is no part of any version afterwards; the product stays."""
    with open_catalog(home) as catalog:
        before = catalog.get("shirt-15").photo_ids[0]
        put(catalog, "shirt-15", add_photo(home, 220))
        assert erasure.needs_erasing(home, catalog)
    done = erasure.erase(home)
    assert done.rows == 3
    for name in Versions(home).names():
        assert before not in Versions(home).open(name).rows[:, 1]
    build(home)
    with open_catalog(home) as catalog:
        pid = catalog.pid("shirt-15")
    hits = LiveIndex(Versions(home).open("v000007")).search(vector_of(colour(220))[None], 1)[0]
    assert hits.pids.tolist() == [pid]


def test_a_damaged_version_is_named_and_the_rest_goes_on(home: Home) -> None:
    """One version that cannot be read keeps no other from being rewritten; it is reported."""
    delete(home)
    with (home.indexes / "v000003" / "vectors.npy").open("r+b") as stream:
        stream.seek(200)
        stream.write(b"\xff")
    done = erasure.erase(home)
    assert list(done.rewritten) == ["v000001", "v000002"]
    assert "vectors.npy" in done.failed["v000003"]


def test_a_version_too_large_for_a_worker_is_named_and_the_rest_goes_on(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Photos, vectors and texts are erased all the same, and the log of the service says why."""

    def refuse(what: str, need: int) -> None:
        raise NoMemoryError(f"{what} takes {need}")

    delete(home)
    monkeypatch.setattr(erasure, "expect_memory", refuse)
    for name in ("end_with_parent", "limit_worker"):
        monkeypatch.setattr(erasure, name, lambda: None)
    monkeypatch.setattr(erasure.os, "nice", lambda _: None)
    assert erasure.main([str(home.path)]) == erasure.INCOMPLETE
    last = capsys.readouterr().err.strip().rpartition("\n")[2]
    assert "still holds what was erased: the rewrite of index version" in last
    monkeypatch.undo()
    done = erasure.erase(home)
    assert (done.rows > 0, done.vectors, done.failed) == (True, 0, {}), "vectors went before"


def test_leftovers_of_killed_processes_are_swept(home: Home) -> None:
    """Half-written files and folders go once their process is gone; those of a living one, and
    young ones, stay."""
    dead = 2**22 + 17  # above the system's highest process number
    old = time.time() - 3600
    doomed = [
        home.photos / "ab" / "cd" / f".{'a' * 64}.{dead}.0123abcd.tmp",
        home.path / f".CURRENT.{dead}.0123abcd.tmp",
    ]
    kept = [
        home.path / f".CURRENT.{os.getpid()}.0123abcd.tmp",
        home.path / f".home.json.{dead}.aaaaaaaa.tmp",
    ]
    for path in (*doomed, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    folder = home.models / f".m123.{dead}.tmp"
    folder.mkdir(parents=True)
    (folder / "part").write_text("x")
    for path in (*doomed, kept[0], folder):
        os.utime(path, (old, old))
    assert sweep(home) == 3
    assert [path.exists() for path in (*doomed, folder, *kept)] == [False, False, False, True, True]


def test_a_half_built_version_is_erased_unless_it_is_being_built(home: Home) -> None:
    """It holds vectors of products that may be deleted, and nobody may build again for months."""
    half = home.indexes / ".building-v000009"
    shutil.copytree(home.indexes / Versions(home).names()[0], half)
    with home.lock("publish"):
        sweep(home, after_s=0.0)
        assert half.is_dir()
    erasure.erase(home)
    assert not half.exists()


def test_photos_no_product_has_are_told_and_left_alone(home: Home) -> None:
    """No deletion of it was recorded, so a photo without a product stays; it is told once no write
    can be at it.

    What says that nothing is left of an erased product notes it, and does not take it for one.
    """
    stray = add_photo(home, 230)
    path = next(home.photos.rglob(stray.content_hash))
    with open_catalog(home) as catalog:
        assert stray_photos(home, catalog) == 0
        os.utime(path, (1, 1))
        assert stray_photos(home, catalog) == 1
        assert collect_photos(home, catalog) == 0
    known = delete(home)
    assert erasure.erase(home).strays == 1
    assert path.exists()
    with open_catalog(home) as catalog:
        found = find_traces(home, catalog, GONE, ticket=known)
    assert found.found == []
    assert any(stray.content_hash in note for note in found.notes)


def test_many_photos_without_a_product_stop_no_erasure_of_a_known_catalog(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version names the catalog that it was built from: this is the home's, so what it recorded
    goes, and the rest is told."""
    monkeypatch.setattr("indexer.operations.garbage_collection._MOST_STRAYS", 0.1)
    strays = [add_photo(home, number) for number in range(215, 255)]
    for path in home.photos.glob("??/??/*"):
        os.utime(path, (1, 1))
    with open_catalog(home) as catalog:
        (own,) = catalog.delete(GONE).orphaned
    assert erasure.erase(home).strays == len(strays)
    store = PhotoStore(home)
    assert not store.has_copy(own)
    assert all(store.has_copy(stray.content_hash) for stray in strays)


def test_a_photo_whose_removal_was_killed_goes_with_the_next_erasure(home: Home) -> None:
    """The commit that takes a photo from its last product records it, so that any later process may
    delete it."""
    with open_catalog(home) as catalog:
        known = ticket(home, catalog, GONE)
        (own,) = catalog.delete(GONE).orphaned  # and no process comes to delete its file
        assert catalog.change_log.orphans() == {own}
        catalog.apply([Patch("shirt-12", {"title": "newer"})])
        catalog.change_log.compact(catalog.last_sequence())
    assert list(home.photos.rglob(own))
    assert erasure.erase(home).photos == 1
    assert traces(home, known) == []
    with open_catalog(home) as catalog:
        assert catalog.change_log.orphans() == set()
        assert not erasure.needs_erasing(home, catalog)


@pytest.mark.parametrize(
    ("product_id", "needs"), [("7", "short"), ("Wearable", "also a text of other products")]
)
def test_an_id_that_proves_nothing_is_said(home: Home, product_id: str, needs: str) -> None:
    """A short id is looked for as a whole value; one that others' texts hold is not looked for;
    both are said."""
    server = open_catalog(home)
    with open_catalog(home) as catalog:
        assert len(server) == 202
        put(catalog, product_id, add_photo(home, 240))
        assert ("catalog.sqlite3", "the product itself: it was not deleted") in [
            (e["where"], e["what"]) for e in find_traces(home, catalog, product_id).found
        ]
    known = delete(home, product_id)
    with open_catalog(home) as catalog:
        found = find_traces(home, catalog, product_id, ticket=known)
    assert any(needs in note for note in found.notes)
    assert any(entry["what"] == "vector" for entry in found.found) is False  # it was never embedded
    if needs == "short":
        assert {"where": "catalog.sqlite3-wal", "what": "id"} in found.found
    erasure.erase(home)
    with open_catalog(home) as catalog:
        assert find_traces(home, catalog, product_id, ticket=known).found == []
    server.close()


def test_a_trace_anywhere_is_found(home: Home) -> None:
    """The id in a log, a URL or a file's name, the hash in hex or raw, a vector as floats, the
    photo under any name."""
    known = delete(home)
    erasure.erase(home)
    with open_catalog(home) as catalog:
        own = next(p for p in known["photos"] if catalog.photo(p["content_hash"]) is None)  # type: ignore[attr-defined]
    digest, half = (
        own["content_hash"],
        np.frombuffer(
            base64.b64decode(known["vectors"]["e1"][str(own["photo_id"])]),
            np.float16,  # type: ignore[index]
        ),
    )
    planted = {
        "service.log": b"DELETE /v1/products/shirt-1 200",
        "cache.bin": bytes.fromhex(digest),
        "note.txt": digest.encode(),
        "dump.f32": b"xxx" + half.astype(np.float32).tobytes(),
        "shirt-1.json": b"{}",
    }
    for name, data in planted.items():
        (home.path / name).write_bytes(data)
    assert dict(traces(home, known)) == {
        "service.log": "id",
        "cache.bin": "content hash",
        "note.txt": "content hash",
        "dump.f32": "vector",
        "shirt-1.json": "id, in the file's name",
    }


def test_tickets_are_checked(home: Home, tmp_path: Path) -> None:
    """A ticket of another product, a newer one and no ticket at all are refused, the file named."""
    with open_catalog(home) as catalog:
        good = ticket(home, catalog, GONE)
    path = tmp_path / "ticket.json"
    path.write_text(json.dumps(good))
    assert read_ticket(path, GONE) == good
    for text, said in (
        (json.dumps(good), "not of 'other'"),
        (json.dumps({**good, "product_id": "other", "format": 2}), "format 2"),
        ("{}", "no erasure ticket"),
        ("[1", "no erasure ticket"),
    ):
        path.write_text(text)
        with pytest.raises(BadDataError, match=said):
            read_ticket(path, "other")


def test_ticket_says_what_the_product_was(home: Home) -> None:
    """Both photos, with their vectors under both embeddings as float16."""
    with open_catalog(home) as catalog:
        found = ticket(home, catalog, GONE)
        product = catalog.get(GONE)
    assert [photo["content_hash"] for photo in found["photos"]] == sorted(
        product.photos, key=[p["content_hash"] for p in found["photos"]].index
    )
    assert set(found["vectors"]) == {"e1", "e2"}
    assert all(set(of) == {str(i) for i in product.photo_ids} for of in found["vectors"].values())


def test_a_version_that_serves_filters_after_its_folder_is_gone(home: Home) -> None:
    """A service that never filtered answers from what it opened, as it would have before the
    erasure."""
    serving = LiveIndex(Versions(home).open("v000002"))
    other = LiveIndex(Versions(home).open("v000002"))
    with open_catalog(home) as catalog:
        where = parse_filter({"must": [{"field": "size", "eq": 3}]}, catalog.types(), pid_of=int)
    expected = other.search(vector_of(colour(7))[None], 10, where=where)[0]
    delete(home)
    erasure.erase(home)
    assert "v000002" not in Versions(home).names()
    found = serving.search(vector_of(colour(7))[None], 10, where=where)[0]
    assert len(found) == 10
    assert found.pids.tolist() == expected.pids.tolist()


def test_too_few_rows_for_the_lists_of_a_recipe_are_rewritten_in_another(home: Home) -> None:
    """170 lists of 203 rows; 160 rows are left: the rewrite is there, exact, and nothing failed."""
    opened = Versions(home).open("v000002")
    rows, vectors = np.array(opened.rows), np.array(opened.stored)
    with open_catalog(home) as catalog:
        content = VersionContent(rows, vectors, 202, "e1", "m1", {})
        publish_version(home, catalog, None, content, IndexOptions(recall=0.1, recipe="IVF170,SQ8"))
        assert Versions(home).manifest("v000004").recipe == "IVF170,SQ8"
        for number in range(100, 143):
            PhotoStore(home).collect(catalog, catalog.delete(f"shirt-1{number}").orphaned)
    done = erasure.erase(home)
    assert done.failed == {}
    manifest = Versions(home).manifest(done.rewritten["v000004"])
    assert (manifest.recipe, manifest.counts["entries"]) == ("Flat", 160)


def test_the_same_command_takes_up_an_erasure_that_was_killed(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A kill after the deletion: the command that is given again finishes it, and again it says so;
    an id that never was is refused as ever."""
    with open_catalog(home) as catalog:
        known = ticket(home, catalog, GONE)
    words = ["index", "erase", GONE, "--home", str(home.path)]

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(erasure, "publish_version", killed)
        with pytest.raises(Killed):
            cli.run(words)
    assert traces(home, known) != []
    for _ in range(2):
        assert cli.run(words) == 0
        assert "is deleted already: its erasure goes on" in capsys.readouterr().err
        assert traces(home, known) == []
    assert cli.run(["index", "erase", "never", "--home", str(home.path)]) == 1
    assert "there is no product 'never'" in capsys.readouterr().err


def test_an_erasure_that_is_not_complete_fails(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a version cannot be read the command says so in its status, and remembers the rest."""
    with (home.indexes / "v000003" / "vectors.npy").open("r+b") as stream:
        stream.seek(200)
        stream.write(b"\xff")
    assert cli.run(["index", "erase", GONE, "--home", str(home.path)]) == 1
    assert "not erased everywhere: v000003: " in capsys.readouterr().err
    with open_catalog(home) as catalog:
        assert erasure.needs_erasing(home, catalog)


def test_histories_and_copies_of_feeds_do_not_name_it(home: Home) -> None:
    """What runs of feeds reported is covered where it names the product; the copy of a feed, which
    is fetched again, goes."""
    (home.path / "sync").mkdir()
    runs = home.path / "sync" / "daily.runs.jsonl"
    lines = [{"started": 1.0, "reason": f"row of {GONE}"}, {"started": 2.0, "reason": "shirt-10"}]
    runs.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"half')
    copy = home.path / "sync" / "daily.feed.csv"
    copy.write_text(f"id\n{GONE}\n")
    source = home.path / "sync" / "daily.json"
    source.write_text('{"name": "daily"}')
    known = delete(home)
    erasure.erase(home)
    assert traces(home, known) == []
    assert [json.loads(line)["reason"] for line in runs.read_text().splitlines()] == [
        "row of [erased]",
        "shirt-10",
    ]
    assert (copy.exists(), source.exists()) == (False, True)


def test_folders_that_are_links_to_another_disk_are_erased_and_searched(
    home: Home, tmp_path: Path
) -> None:
    """Those at the home's top, which stay links; the memory of imports too."""
    for name, file in (("sync", "daily.feed.csv"), ("feeds", "sent-0123456789abcdef.photos")):
        (home.path / name).mkdir(exist_ok=True)
        (home.path / name / file).write_text(f"id\n{GONE}\n")
    names = ("photos", "thumbnails", "sync", "feeds", "indexes", "damaged")
    home.damaged.mkdir()
    for name in names:
        move_to_other_disk(home, tmp_path, name)
    with written_aside(home.photos / "half") as half:
        half.write_text(GONE)
        shutil.copy(half, home.photos / ".half.4711.0123abcd.tmp")
    os.utime(home.photos / ".half.4711.0123abcd.tmp", (1.0, 1.0))
    known = delete(home)
    assert {where.split("/")[0] for where, _ in traces(home, known)} >= {"photos", "sync", "feeds"}
    (home.photos / "half").unlink()
    assert erasure.erase(home).failed == {}
    assert traces(home, known) == []
    assert all((home.path / name).is_symlink() for name in names)
    assert [*home.feeds.iterdir()] == []


def test_what_no_import_wrote_stays_where_a_link_leads(home: Home, tmp_path: Path) -> None:
    """A folder that other things lie in: they are named, and only the memory of imports goes."""
    home.feeds.mkdir()
    ours = [".0123456789abcdef.npz.4711.0123abcd.tmp", "0123456789abcdef.npz", "sent-" + 16 * "0"]
    for name in (*ours[:2], f"{ours[2]}.photos", "taxes.npz"):
        (home.feeds / name).write_text("text")
    (home.feeds / "wedding").mkdir()
    (home.feeds / "wedding" / "0123456789abcdef.npz").write_text("text")
    move_to_other_disk(home, tmp_path, "feeds")
    delete(home)
    said = erasure.erase(home).left
    assert said is not None
    assert "2 entries of" in said
    assert "first: taxes.npz" in said
    assert sorted(path.name for path in home.feeds.iterdir()) == ["taxes.npz", "wedding"]
    assert (home.feeds / "wedding" / "0123456789abcdef.npz").exists()


def test_a_replaced_text_is_reason_to_write_the_catalog_anew(home: Home) -> None:
    """Titles, tags, attributes and addresses that were patched or put away may lie in freed pages;
    numbers may not, and what imports remember stays for the next run."""
    erasure.erase(home)
    home.feeds.mkdir(exist_ok=True)
    with open_catalog(home) as catalog:
        for number, (changes, needs) in enumerate(
            (
                ({"attributes": {"size": 4}}, False),
                ({"fields": {"price": 5.0}}, False),
                ({"tags": ["new"]}, True),
                ({"tags": ["new", "newer"]}, True),
                ({"title": "another"}, True),
                ({"attributes": {"maker": "Anna"}}, False),
                ({"attributes": {"maker": None}}, True),
            )
        ):
            catalog.patch("shirt-15", changes)
            assert erasure.needs_erasing(home, catalog) is needs, (number, changes)
            if needs:
                erasure.erase(home)
                assert not erasure.needs_erasing(home, catalog)
    assert home.feeds.is_dir()


def test_findings_of_audits_go_with_their_product(home: Home) -> None:
    """Its lines, superseded ones, and lines of others that name it; the rest stays."""
    with open_catalog(home) as catalog:
        gone, other, third = (catalog.pid(name) for name in (GONE, "shirt-15", "shirt-16"))
    lines = [
        [gone, "1 v", [], []],
        [other, "1 v", [["tag-missing", other, "x", 0.9, f"as on {GONE}"]], []],
        [third, "1 v", [["photo", third, "blurred", 0.9, "old"]], []],
        [third, "2 v", [["photo", third, "blurred", 0.9, "like shirt-10"]], []],
    ]
    path = home.path / "audit" / "default.jsonl"
    path.parent.mkdir()
    with open_catalog(home) as catalog:
        state = state_line(catalog.change_log)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + f"{state}\n[1, ")
    known = delete(home)
    done = erasure.erase(home)
    assert done.texts == 2
    *left, _ = path.read_text().splitlines()
    assert [json.loads(line) for line in left] == [lines[3]]
    assert traces(home, known) == []


def test_a_file_of_findings_does_not_grow_for_ever(home: Home) -> None:
    path = home.path / "audit" / "default.jsonl"
    path.parent.mkdir()
    lines = [json.dumps([1, f"1 v{n}", [], []]) for n in range(1010)]
    with open_catalog(home) as catalog:
        path.write_text("\n".join([*lines, state_line(catalog.change_log)]))
        assert read_findings(path, catalog.change_log) == {1: [1, "1 v1009", [], []]}
    assert len(path.read_text().splitlines()) == 2


def test_findings_of_another_state_of_the_catalog_are_none(home: Home, tmp_path: Path) -> None:
    """A catalog that was put back gives numbers of products and of changes again: what was found
    beside the other state goes, and so does what no state is known of, or a later change than the
    last known one."""
    path = home.path / "audit" / "default.jsonl"
    path.parent.mkdir()
    with open_catalog(home) as catalog:
        last = catalog.last_sequence()
        lines = [[1, f"{last} v", [], []], [2, f"{last + 1} v", [], []]]
        text = "\n".join([*map(json.dumps, lines), state_line(catalog.change_log)])
        path.write_text(text)
        assert read_findings(path, catalog.change_log) == {1: lines[0]}
        catalog.database.copy_to(tmp_path / "old")
        catalog.patch("shirt-15", {"title": "one"})
        path.write_text("\n".join([text, state_line(catalog.change_log)]))
        assert len(read_findings(path, catalog.change_log)) == 2
    for file in home.path.glob("catalog.sqlite3*"):
        file.unlink()
    shutil.copy(tmp_path / "old", home.catalog_file)
    with open_catalog(home) as catalog:
        catalog.patch("shirt-15", {"title": "another"})
        assert read_findings(path, catalog.change_log) == {}
        assert not path.exists()
        path.write_text(json.dumps(lines[0]))
        assert read_findings(path, catalog.change_log) == {}


def test_what_can_be_undone_names_it_no_more(home: Home) -> None:
    """Its own former values go with the delete, those of others that name it with the erasure;
    others' other values stay, and so do notes of actions but for its name."""
    with open_catalog(home) as catalog:
        with doing("batch", f"as {GONE}"):
            for product_id, title in (
                (GONE, "Anna's own shirt"),
                ("shirt-15", f"goes with {GONE}"),
            ):
                catalog.patch(product_id, {"title": title})
        catalog.patch(GONE, {"title": "plain"})
        catalog.patch("shirt-15", {"title": "plain", "tags": ["x"]})
        catalog.patch("shirt-15", {"tags": ["y"]})
    known = delete(home)
    assert traces(home, known) != []
    erasure.erase(home)
    assert traces(home, known) == []
    held = home.catalog_file.read_bytes()
    assert b"Anna's own" not in held
    with open_catalog(home) as catalog, catalog.database.read() as sql:
        kept = [json.loads(row[0]) for row in sql.execute("SELECT parts FROM kept")]
        notes = {row[0] for row in sql.execute("SELECT note FROM actions")}
    assert any("tags" in parts for parts in kept)
    assert "as [erased]" in notes


@pytest.mark.parametrize("name", ["alerts.json", "start/state.json"])
def test_sealed_files_are_covered_and_sealed_again(home: Home, name: str) -> None:
    """Each can be read after it, with all else that it says; one that is damaged goes."""
    path = home.path / name
    path.parent.mkdir(exist_ok=True)
    write_sealed_json(path, {"a": {"told": [f"row of {GONE}"]}, "b": 1}, private=True)
    known = delete(home)
    erasure.erase(home)
    assert traces(home, known) == []
    assert read_sealed_json(path) == {"a": {"told": ["row of [erased]"]}, "b": 1}
    assert path.stat().st_mode & 0o077 == 0
    assert check_state(home).damages == []
    path.write_text(path.read_text().replace("1", "2"))
    delete(home, "shirt-15")
    erasure.erase(home)
    assert not path.exists()


def test_texts_left_in_any_file_of_free_text_are_found(home: Home) -> None:
    """By its ticket, in each file that an erasure covers; what others say too proves nothing."""
    with open_catalog(home) as catalog:
        catalog.patch(GONE, {"title": "Anna's own shirt", "tags": ["own-tag"]})
        catalog.patch(GONE, {"title": "plain"})
    known = delete(home)
    erasure.erase(home)
    planted = {
        "start/state.json": json.dumps({"told": "of own-tag"}),
        "sync/daily.runs.jsonl": '{"a": "row"}\n{"a": "as Anna\'s own shirt"}\n',
        "start/rest.log": "own-tag, again own-tag\nplain words\n",
        "audit/default.jsonl": '[1, "1 v", [["x", "plain"]], []]\n',
    }
    for name, text in planted.items():
        (home.path / name).parent.mkdir(exist_ok=True)
        (home.path / name).write_text(text)
    with open_catalog(home) as catalog:
        with doing("batch", "like own-tag"):
            catalog.patch("shirt-15", {"title": "plain"})
        catalog.patch("shirt-15", {"title": "as Anna's own shirt"})
        catalog.patch("shirt-15", {"title": "plain"})
    assert dict(traces(home, known)) == {
        "catalog.sqlite3": "its title, tags or values in 2 entries",
        "start/state.json": "its title, tags or values in 1 entry",
        "sync/daily.runs.jsonl": "its title, tags or values in 1 entry",
        "start/rest.log": "its title, tags or values in 1 entry",
    }


def test_names_of_attributes_that_only_it_had_go(home: Home) -> None:
    """Earlier ones too, and from what types an undo keeps; not one that others have, and not one
    whose type a person gave."""
    names = {"of Anna": "x", "before Anna": 1}
    with open_catalog(home) as catalog:
        catalog.set_types({"given": "number"}, given=["given"])
        catalog.patch(GONE, {"attributes": {**names, "given": 2, "common": 3}})
        catalog.patch("shirt-15", {"attributes": {"common": 3}})
        catalog.patch(GONE, {"attributes": {"before Anna": None}})
    delete(home)
    erasure.erase(home)
    held = home.catalog_file.read_bytes()
    assert [name for name in names if name.encode() in held] == []
    with open_catalog(home) as catalog:
        assert set(catalog.types()) == {"size", "given", "common"}


def test_every_document_that_an_erasure_covers_is_sealed() -> None:
    """A new one that it would rewrite without a seal would be called damaged."""
    assert set(free_text._DOCUMENTS) <= set(DERIVED)
    rest = (*free_text._HISTORIES, *free_text._LOGS)
    assert all(not name.endswith(".json") for name in rest)


def test_what_a_start_leaves_names_it_no_more(home: Home) -> None:
    """The feed of its training goes whatever is pending, and its log is covered where it lies."""
    folder = home.path / "start"
    folder.mkdir()
    feed, log = folder / "train.jsonl", folder / "rest.log"
    feed.write_text(json.dumps({"product_id": GONE}))
    log.write_text(f"row 1: {GONE} left out\nshirt-10 stays\n")
    with log.open("a") as output:
        known = delete(home)
        assert {where for where, _ in traces(home, known)} >= {"start/train.jsonl"}
        erasure.erase(home)
        output.write("more\n")
    assert traces(home, known) == []
    assert log.read_text() == "row 1: [erased] left out\nshirt-10 stays\nmore\n"
    feed.write_text(json.dumps({"product_id": GONE}))
    erasure.erase(home)
    assert not feed.exists()
