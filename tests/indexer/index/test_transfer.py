"""Versions from machine to machine: whole and verified, or not at all; and only where numbers mean
the same."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import sha256_file
from indexer.core.errors import (
    BadHomeError,
    BadModelError,
    BusyError,
    CatalogMismatchError,
    DamagedIndexError,
    NewerFormatError,
    OutdatedVersionError,
    UnknownVersionError,
)
from indexer.core.home import Home
from indexer.core.manifest import read_manifest
from indexer.index import transfer
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.live import LiveIndex
from indexer.index.transfer import pull, push
from indexer.index.version import Versions
from indexer.index_build.pipeline import BuildOptions, build_index
from indexer.model.bundle import Bundle, write_bundle
from indexer.model.decision_layer import Decision
from indexer.model.registry import by_version, register_model
from indexer.operations.garbage_collection import tidy
from tests.indexer.index_build.test_pipeline import add_photo, colour, put
from tests.indexer.model.test_bundle import make_network


class Embedder:
    """A photo's colour as a vector of the model's 40 numbers."""

    shrink_to = None
    workers = 0

    def embed(self, photos: object) -> np.ndarray:
        return np.stack([vector_of(photo.pixels.getpixel((0, 0))) for photo in photos])  # type: ignore[attr-defined]


def vector_of(rgb: tuple[int, int, int]) -> np.ndarray:
    vector = np.zeros(40, np.float32)
    vector[:4] = [*rgb, 60]
    return vector / np.linalg.norm(vector)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(
        tmp_path_factory.mktemp("m") / "m", make_network(), Decision(), metrics={}, training={}
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Home:
    """30 products, a registered model, an active version."""
    home = Home.create(tmp_path_factory.mktemp("transfer") / "home")
    with open_catalog(home) as catalog:
        for i in range(30):
            put(catalog, f"p{i}", add_photo(home, i))
    build(home, bundle)
    return home


@pytest.fixture
def home(template: Home, tmp_path: Path) -> Home:
    return Home(shutil.copytree(template.path, tmp_path / "live"))


def build(home: Home, bundle: Bundle, recall: float = 0.99) -> str:
    report = build_index(
        home,
        bundle=register_model(home, bundle.path),
        embedder=Embedder(),
        activate=True,
        options=BuildOptions(recall=recall),
    )
    return str(report.version)


def copy_of(home: Home, name: str) -> Home:
    """What a build machine works on."""
    shutil.copytree(home.path, home.path.parent / name)
    return Home(home.path.parent / name)


def write(home: Home, i: int) -> None:
    with open_catalog(home) as catalog:
        put(catalog, f"p{i}", add_photo(home, i))


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files to others"
)
def test_what_root_carries_into_the_folders_of_a_user_is_that_users(
    home: Home, bundle: Bundle, tmp_path: Path
) -> None:
    """Where folders for models and versions are first made, and where a damaged file is brought
    again: the service reads its model, and can add another."""
    user = 12345
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, user, user)
    other = Home(shutil.copytree(home.path, theirs / "home"))
    shutil.rmtree(other.path / "models")
    shutil.rmtree(other.indexes)
    for path in (other.path, *other.path.rglob("*")):
        os.chown(path, user, user)
    pushed = push(home, theirs / "depot")
    pull(theirs / "depot", other)
    assert (theirs / "home" / "models").is_dir()
    model = theirs / "depot" / "models" / pushed.model_version
    weights = max(model.iterdir(), key=lambda path: path.stat().st_size)
    weights.unlink()
    assert weights.name in " ".join(push(home, theirs / "depot").files_copied)
    assert [path for path in theirs.rglob("*") if path.stat().st_uid != user] == []


def test_a_build_machine_hands_its_version_over(home: Home, bundle: Bundle, tmp_path: Path) -> None:
    """Built on a copy, pushed, pulled, activated: it answers, and later writes of the live home are
    laid over it."""
    machine = copy_of(home, "machine")
    built = build(machine, bundle)
    _age(machine, built)
    write(home, 40)  # meanwhile
    shutil.rmtree(home.models)  # so that the model must come along
    pushed = push(machine, tmp_path / "depot")
    assert (pushed.version, pushed.model_version, pushed.already_there) == (
        built,
        bundle.model_version,
        False,
    )
    assert "vectors.npy" in pushed.files_copied
    moved = pull(tmp_path / "depot", home)
    assert (moved.version, moved.source_version) == ("v000002", "v000002")
    assert Versions(home).activate("v000002").model_version == bundle.model_version
    opened = Versions(home).open("v000002")
    with open_catalog(home) as catalog:
        pid = catalog.pid("p7")
        assert [change.pid for change in catalog.changes(opened.manifest.last_sequence)] == [
            catalog.pid("p40")
        ]
    assert LiveIndex(opened).search(vector_of(colour(7))[None], 1)[0].pids.tolist() == [pid]


def test_what_is_there_is_not_copied_again(home: Home, bundle: Bundle, tmp_path: Path) -> None:
    """A second push and a second pull copy nothing; a version with the same vectors shares their
    file."""
    depot, other = tmp_path / "depot", copy_of(home, "other")
    first = push(home, depot)
    assert first.copied_bytes > 0
    assert push(home, depot) == transfer.TransferReport(
        "v000001", "v000001", bundle.model_version, 0, [], True
    )
    assert pull(depot, other) == transfer.TransferReport(
        "v000001", "v000001", bundle.model_version, 0, [], True
    )
    build(
        home, bundle, recall=0.9
    )  # asked for otherwise: two builds of one second could be alike to the last byte
    assert push(home, depot).files_copied == []
    assert pull(depot, other).files_copied == []
    assert Versions(other).names() == ["v000001", "v000002"]


class Killed(BaseException):
    """What a kill looks like from inside."""


def test_a_killed_transfer_goes_on(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped inside of any file or before the rename, nothing is published; the next run copies
    only the rest."""
    depot = tmp_path / "depot"
    whole = sum(path.stat().st_size for path in Versions(home).folder.glob("v000001/*.npy"))
    whole += sum(
        path.stat().st_size for path in home.models.glob("*/*") if path.name != "manifest.json"
    )
    monkeypatch.setattr(transfer, "_CHUNK", 1 << 18)
    copied = runs = 0
    while True:
        left = 4

        def stop(name: str, done: int, total: int) -> None:
            nonlocal left, copied
            copied += 1
            left -= 1
            if not left:
                raise Killed

        try:
            last = push(home, depot, progress=stop)
            break
        except Killed:
            runs += 1
            assert not (depot / "indexes" / "v000001").exists()
    assert runs > 3
    assert last.copied_bytes < whole / 2
    monkeypatch.setattr(
        transfer, "publish_folder", lambda aside, final: (_ for _ in ()).throw(Killed())
    )
    other = copy_of(home, "other")
    shutil.rmtree(other.indexes)
    with pytest.raises(Killed):
        pull(depot, other)
    assert Versions(other).names() == []
    monkeypatch.undo()
    again = pull(depot, other)
    assert (again.version, again.files_copied) == (
        "v000002",
        [],
    )  # the first number was given out before the kill
    Versions(other).verify("v000002")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 8
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name",
    ["indexes/v000001/vectors.npy", "indexes/v000001/manifest.json", "models/*/heads.safetensors"],
)
def test_a_damaged_source_is_refused_and_named(
    home: Home, bundle: Bundle, tmp_path: Path, name: str
) -> None:
    """In the home before a push, in the folder before a pull: folder, version and file are named,
    nothing changes."""
    depot, other = tmp_path / "depot", copy_of(home, "other")
    shutil.rmtree(other.indexes), shutil.rmtree(other.models)
    push(home, depot)
    flip(next(depot.glob(name)))
    with pytest.raises((DamagedIndexError, BadModelError), match=rf"{depot}.*{Path(name).name}"):
        pull(depot, other)
    assert Versions(other).names() == []
    flip(next(home.path.glob(name)))
    with pytest.raises((DamagedIndexError, BadModelError), match=Path(name).name):
        push(home, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / "indexes").exists() or not list(
        (tmp_path / "elsewhere/indexes").glob("v*")
    )


def test_a_newer_format_is_refused_and_named(home: Home, tmp_path: Path) -> None:
    """Of the version, and of the model."""
    depot = tmp_path / "depot"
    push(home, depot)
    for path in (
        depot / "indexes/v000001/manifest.json",
        next(depot.glob("models/*/manifest.json")),
    ):
        kept = path.read_text()
        path.write_text(json.dumps({**json.loads(kept), "format": 9}))
        with pytest.raises(NewerFormatError, match=rf"{depot}.*format 9"):
            pull(depot, home)
        path.write_text(kept)
    assert pull(depot, home).version == "v000001"


def test_a_damaged_copy_is_mended_by_pushing_again(home: Home, tmp_path: Path) -> None:
    """The one file that is not what it should be is copied, no other."""
    depot = tmp_path / "depot"
    push(home, depot)
    flip(depot / "indexes/v000001/vectors.npy")
    assert push(home, depot).files_copied == ["vectors.npy"]
    assert push(home, depot).already_there


def test_a_taken_number_is_not_used_again(home: Home, bundle: Bundle, tmp_path: Path) -> None:
    """Two homes that each built a second version: the pulled one gets the next number; a push of it
    is refused."""
    machine, depot = copy_of(home, "machine"), tmp_path / "depot"
    build(machine, bundle)
    with open_catalog(machine) as catalog:
        assert catalog.last_sequence() == 30
    build(home, bundle)
    _age(machine, "v000002")
    push(machine, depot)
    moved = pull(depot, home)
    assert (moved.version, moved.source_version) == ("v000003", "v000002")
    assert pull(depot, home).version == "v000003"
    assert Versions(home).names() == ["v000001", "v000002", "v000003"]
    with pytest.raises(BadHomeError, match="another index version v000002"):
        push(home, depot, "v000002")
    shutil.rmtree(home.indexes / "v000003")
    assert pull(depot, home).version == "v000004"


def _age(home: Home, version: str) -> None:
    """Another time of making, as two machines have; within one second they would be the same
    version."""
    from dataclasses import replace

    manifest = Versions(home).manifest(version)
    aged = replace(manifest, created="2020-01-01T00:00:00+00:00")
    (home.indexes / version / "manifest.json").write_bytes(aged.to_bytes())


def test_a_version_of_another_catalog_is_refused(
    home: Home, bundle: Bundle, tmp_path: Path
) -> None:
    """Another catalog, none at all, one that went its own way, one that is behind: each is said."""
    depot, shop = tmp_path / "depot", Home.create(tmp_path / "shop")
    with pytest.raises(CatalogMismatchError, match="has no catalog"):
        push(home, depot), pull(depot, shop)
    write(shop, 1)
    with pytest.raises(CatalogMismatchError, match="other products here"):
        pull(depot, shop)
    fork, behind = copy_of(home, "fork"), copy_of(home, "behind")
    write(fork, 50), write(home, 51)
    build(home, bundle)
    push(home, depot)
    for other in (fork, behind):
        with pytest.raises(CatalogMismatchError, match="was built after writes"):
            pull(depot, other)
        assert Versions(other).names() == ["v000001"]


def test_a_version_below_the_compacted_log_is_refused(
    home: Home, bundle: Bundle, tmp_path: Path
) -> None:
    """The changes it lacks are gone: it could never be brought up to date."""
    depot = tmp_path / "depot"
    push(home, depot)
    for i in (60, 61, 62):
        write(home, i)
        build(home, bundle)
    assert tidy(home).changes == 32
    with pytest.raises(OutdatedVersionError, match="begins after 32"):
        pull(depot, home)


def test_pulled_vectors_need_no_embedding(home: Home, bundle: Bundle, tmp_path: Path) -> None:
    """What the other machine embedded stands in the home's store; the next build embeds nothing."""
    machine, depot = copy_of(home, "machine"), tmp_path / "depot"
    build(machine, bundle)
    push(machine, depot)
    shutil.rmtree(home.embeddings)
    pull(depot, home)
    with open_catalog(home) as catalog:
        ids = catalog.entries()[1][:, 1]
    store = EmbeddingStore(home.embeddings, bundle.embedding_id, 40)
    assert len(store.missing(ids)) == 0
    np.testing.assert_array_equal(store.get(ids[7:8])[0], vector_of(colour(7)).astype(np.float16))
    assert build_index(home, bundle=bundle, embedder=None).embedded == 0


def test_wrong_places_are_named(home: Home, tmp_path: Path) -> None:
    """A push into a home, a pull from an empty folder, an unknown version, two at once."""
    with pytest.raises(BadHomeError, match="is a home"):
        push(home, copy_of(home, "other").path)
    with pytest.raises(UnknownVersionError, match="holds no index versions"):
        pull(tmp_path, home)
    depot = tmp_path / "depot"
    push(home, depot)
    with pytest.raises(UnknownVersionError, match=r"v000009.*there are: v000001"):
        pull(depot, home, "v000009")
    with transfer.locked_folder(depot), pytest.raises(BusyError, match="another push or pull"):
        push(home, depot)


def resealed(depot: Path, **changes: object) -> None:
    """Let the depot's version say something else, sealed as anybody can."""
    folder = depot / "indexes" / "v000001"
    manifest = read_manifest(folder)
    (folder / "manifest.json").write_bytes(replace(manifest, **changes).to_bytes())  # type: ignore[arg-type]


def test_a_pulled_manifest_writes_nothing_outside(home: Home, tmp_path: Path) -> None:
    """Names that are paths, hidden or of no version are refused before a byte is copied, and so is
    an embedding id that would name a database elsewhere."""
    depot, other = tmp_path / "depot", copy_of(home, "other")
    shutil.rmtree(other.indexes)
    push(home, depot)
    outside = tmp_path / "outside"
    outside.write_text("mine")
    manifest = read_manifest(depot / "indexes" / "v000001")
    known = {"sha256": sha256_file(depot / "indexes/v000001/rows.npy"), "size": 608}
    for changes in (
        {"files": {**manifest.files, str(outside): known}},
        {"files": {**manifest.files, "../../../outside": known}},
        {"files": {**manifest.files, "authorized_keys": known}},
        {"embedding_id": "../../outside"},
    ):
        resealed(depot, **changes)
        with pytest.raises(DamagedIndexError, match="v000001"):
            pull(depot, other)
        (depot / "indexes" / "v000001" / "manifest.json").write_bytes(manifest.to_bytes())
    assert (outside.read_text(), Versions(other).names()) == ("mine", [])
    assert pull(depot, other).version == "v000001"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rows.npy", b""),
        ("rows.npy", "objects"),
        ("rows.npy", "unsorted"),
        ("rows.npy", "negative"),
        ("vectors.npy", "nan"),
        ("columns.arrow", b"no columns"),
        ("text.safetensors", b"\xff" * 8),
    ],
)
def test_what_cannot_be_read_is_not_pulled(
    home: Home, tmp_path: Path, name: str, data: bytes | str
) -> None:
    """Files that match their checksums and are none: refused before they stand in the home, with
    nothing of them left and no vector of them kept."""
    push(home, tmp_path / "depot")
    other = copy_of(home, "other")
    shutil.rmtree(other.indexes)
    shutil.rmtree(other.embeddings)
    path = tmp_path / "depot" / "indexes" / "v000001" / name
    if data == "nan":
        np.save(path, np.full((30, 40), np.nan, np.float16))
    elif data in ("unsorted", "negative"):
        rows = np.load(path)
        np.save(path, rows[::-1] if data == "unsorted" else np.stack([rows[:, 0], -rows[:, 1]], 1))
    elif data == "objects":
        np.save(path, np.full((30, 2), {}, object), allow_pickle=True)
    else:
        assert isinstance(data, bytes)
        path.write_bytes(data)
    files = read_manifest(path.parent).files
    files[name] = {"sha256": sha256_file(path), "size": path.stat().st_size}
    resealed(tmp_path / "depot", files=files)
    with pytest.raises(DamagedIndexError):
        pull(tmp_path / "depot", other)
    assert Versions(other).names() == []
    assert not list(other.indexes.glob(".incoming*"))
    assert not other.embeddings.exists()


def test_a_pull_mends_a_damaged_model(home: Home, tmp_path: Path, bundle: Bundle) -> None:
    """The good model that comes along replaces the one that lies there."""
    depot = tmp_path / "depot"
    push(home, depot)
    weights = home.models / bundle.model_version / "embedding.safetensors"
    weights.write_bytes(b"")
    pull(depot, home)
    assert by_version(home, bundle.model_version).checksums == bundle.checksums


@pytest.mark.parametrize("kind", ["folder", "link", "second name"])
def test_a_push_writes_nothing_where_links_lead(
    home: Home, bundle: Bundle, tmp_path: Path, kind: str
) -> None:
    """Who shares the folder has no file elsewhere removed or written by what is put in it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("precious")
    version = build(home, bundle)
    depot = tmp_path / "depot"
    aside = depot / "models" / f".incoming-{bundle.model_version}"
    if kind == "folder":
        aside.parent.mkdir(parents=True)
        aside.symlink_to(elsewhere)
    else:
        aside.mkdir(parents=True)
        for name in bundle.checksums:
            part = aside / f".{name}.part"
            if kind == "link":
                part.symlink_to(elsewhere / "precious")
            else:
                os.link(elsewhere / "precious", part)
    assert push(home, depot).version == version
    assert [path.name for path in elsewhere.iterdir()] == ["precious"]
    assert (elsewhere / "precious").read_text() == "precious"
