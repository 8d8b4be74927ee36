"""What nobody needs is removed, and only that: versions, the log behind them, embeddings, old
decision layers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.catalog.records import Patch
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.atomic_files import folder_aside, written_aside
from indexer.core.errors import BusyError, DiskFullError, OutdatedVersionError, ReadOnlyError
from indexer.core.home import Home
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.version import Versions
from indexer.model.bundle import write_bundle, write_revision
from indexer.model.decision_layer import Decision
from indexer.model.registry import register_model
from indexer.operations import garbage_collection
from indexer.operations.garbage_collection import sweep, tidy
from tests.indexer.conftest import copy_home
from tests.indexer.index_build.test_pipeline import FakeEmbedder, add_photo, build, put
from tests.indexer.model.test_bundle import make_network


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Ten products; versions of models m1, m1, m2 and m2, the last one serving; a write between
    each."""
    home = Home.create(tmp_path_factory.mktemp("collection") / "home")
    with open_catalog(home) as catalog:
        for i in range(10):
            put(catalog, f"p{i}", add_photo(home, i))
        for number, model in enumerate((1, 1, 2, 2)):
            catalog.apply([Patch("p1", {"title": f"title {number}"})])
            version = build(
                home, bundle={"embedding_id": f"e{model}", "model_version": f"m{model}"}
            ).version
            Versions(home).activate(str(version), model_embedding_id=lambda m: m.replace("m", "e"))
    return home


@pytest.fixture
def home(template: Home, tmp_path: Path) -> Home:
    return copy_home(template, tmp_path)


def test_a_full_disk_is_freed_before_anything_is_written(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite needs room even to read: what goes without it goes first. Where that was not enough,
    what to delete by hand is said."""
    left = home.photos / ".photo.999999.tmp"
    left.write_bytes(b"half")
    os.utime(left, (1, 1))
    enough = True

    def open_full(home: Home) -> Catalog:
        if left.exists() or not enough:
            raise DiskFullError("its disk is full")
        return open_catalog(home)

    monkeypatch.setattr(garbage_collection, "open_catalog", open_full)
    done = tidy(home)
    assert (done.removed, done.leftovers) == (["v000001", "v000002"], 1)
    assert done.changes > 0
    enough = False
    with pytest.raises(DiskFullError, match=f"delete something.*{home.thumbnails}"):
        tidy(home)


def test_what_another_container_writes_is_left_alone(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its processes have numbers that say nothing here, so what it writes is told by a lock."""
    monkeypatch.setattr(garbage_collection, "_runs", lambda process: False)
    path = home.photos / "ab" / "cd" / "photo"
    path.parent.mkdir(parents=True)
    home.models.mkdir(exist_ok=True)
    with written_aside(path) as file, folder_aside(home.models / "m1") as folder:
        file.write_text("half")
        for aside in (file, folder):
            age(aside)
        assert sweep(home, after_s=0.0) == 0
        assert (file.read_text(), folder.is_dir()) == ("half", True)
        left = file.with_name(f".photo.{2**22 + 17}.0123abcd.tmp")
        left.write_text("of a killed process")
        age(left)
        assert sweep(home, after_s=0.0) == 1
    assert path.read_text() == "half"


def age(path: Path) -> None:
    os.utime(path, (1, 1))


def test_log_and_embeddings_are_compacted_below_the_oldest_version(home: Home) -> None:
    """The two oldest versions go, with the changes and the embeddings that only they needed;
    products stay."""
    for path in home.embeddings.glob("e1.*"):
        age(path)
    done = tidy(home)
    assert (done.removed, done.changes, done.embeddings) == (["v000001", "v000002"], 13, ["e1"])
    assert not list(home.embeddings.glob("e1*"))
    assert len(EmbeddingStore(home.embeddings, "e2", 6)) == 10
    with open_catalog(home) as catalog:
        assert [change.sequence for change in catalog.changes(13)] == [14]
        with pytest.raises(OutdatedVersionError, match="changes up to 13 were compacted"):
            catalog.changes(12)
        assert catalog.get("p1").title == "title 3"
        assert (len(catalog), catalog.last_sequence()) == (10, 14)
    assert tidy(home).changes == 0
    assert build(home, bundle={"embedding_id": "e2", "model_version": "m2"}).reused == 10


def test_embeddings_of_a_model_that_is_being_built_stay(home: Home) -> None:
    """A store that was written after the oldest version was published belongs to a build that goes
    on or will."""
    os.utime(home.embeddings / "e1.sqlite3")
    assert tidy(home).embeddings == []
    assert len(EmbeddingStore(home.embeddings, "e1", 6)) == 10


def test_nothing_is_compacted_while_a_version_cannot_be_read(home: Home) -> None:
    """What it needs is not known."""
    (home.indexes / "v000003" / "manifest.json").write_text("{")
    done = tidy(home)
    assert (done.changes, done.embeddings) == (0, [])


def test_superseded_decision_layers_go(tmp_path: Path) -> None:
    """Of one origin, only the revision that serves and what training wrote stay."""
    home = Home.create(tmp_path / "home")
    first = register_model(
        home, write_bundle(tmp_path / "m", make_network(), Decision(), metrics={}, training={}).path
    )
    second = write_revision(
        first, Decision(temperature=2.0, origin=first.model_version, revision=1), home.models
    )
    third = write_revision(
        first, Decision(temperature=3.0, origin=first.model_version, revision=2), home.models
    )

    class Embedder(FakeEmbedder):
        def embed(self, photos):  # type: ignore[no-untyped-def]
            import numpy as np

            return np.eye(40, dtype=np.float32)[: len(photos)]

    from indexer.index_build.pipeline import build_index

    with open_catalog(home) as catalog:
        put(catalog, "p1", add_photo(home, 1))
    build_index(home, bundle=first, embedder=Embedder(), activate=True)
    versions = Versions(home)
    for bundle in (second, third):
        active = home.active()
        assert active is not None
        versions.switch_model(bundle.model_version, instead_of=active)
    assert tidy(home).models == [second.model_version]
    assert {path.name for path in home.models.iterdir()} == {
        first.model_version,
        third.model_version,
    }


READ_ONLY = """
import sys
from indexer.core.errors import BusyError, ReadOnlyError
from indexer.core.home import Home
from indexer.index_build.pipeline import build_index
from indexer.catalog.store import open_catalog
from indexer.catalog.records import Patch
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.live import LiveIndex
from indexer.index.version import Versions
from tests.indexer.index_build.test_pipeline import FakeBundle, FakeEmbedder, colour, vector_of
home = Home(sys.argv[1])
with open_catalog(home) as catalog:
    assert catalog.get("p1").title == "title 3"
    assert len(catalog.changes(13)) == 1
    for work in (lambda: catalog.apply([Patch("p1", {"title": "no"})]),
                 lambda: Versions(home).activate("v000003"),
                 lambda: build_index(home, bundle=FakeBundle("e2", "m2"), embedder=FakeEmbedder())):
        try:
            work()
            raise AssertionError("written to a read-only home")
        except ReadOnlyError as error:
            assert "read-only" in str(error)
store = EmbeddingStore(home.embeddings, "e2", 6)
assert len(store) == 10
store.put([99], vector_of(colour(99))[None])
assert store.missing([99, 100]).tolist() == [100]
assert abs(float(store.get([99])[0] @ vector_of(colour(99))) - 1) < 1e-3
opened = Versions(home).open("v000004")
assert LiveIndex(opened).search(vector_of(colour(3))[None], 1)[0].pids.tolist() == [4]
print("answered")
"""


def test_a_read_only_home_is_read_and_refuses_writes(home: Home, tmp_path: Path) -> None:
    """On a disk mounted read-only: catalog, embeddings and versions open; each write says that it
    is read-only."""
    mount = tmp_path / "mounted"
    mount.mkdir()
    script = (
        f'mount --bind "{home.path}" "{mount}" && mount -o remount,bind,ro "{mount}" && exec "$@"'
    )
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    try:
        able = subprocess.run([*command, "true"], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if able.returncode:
        pytest.skip(f"no mounts here: {able.stderr.strip()}")
    done = subprocess.run(
        [*command, sys.executable, "-c", READ_ONLY, str(mount)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert (done.returncode, done.stdout.strip().splitlines()[-1:]) == (0, ["answered"]), (
        done.stderr
    )


def test_writes_waiting_in_a_log_are_not_left_out_silently(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only copy of a home that was in use says what to do instead of showing
    an old state."""
    (home.path / "catalog.sqlite3-wal").write_bytes(b"x" * 64)
    monkeypatch.setattr("indexer.core.sqlite.is_read_only", lambda path: True)
    with pytest.raises(ReadOnlyError, match="catalens migrate"), open_catalog(home) as catalog:
        len(catalog)


FULL = """
import resource, signal, sys
from indexer.core.home import Home
from tests.indexer.index_build.test_pipeline import build
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
home = Home(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
from indexer.core.errors import CatalensError
try:
    build(home, bundle={"embedding_id": "e2", "model_version": "m2"})
except (CatalensError, OSError) as error:
    print(error)
"""


def test_a_full_disk_leaves_the_earlier_versions(home: Home) -> None:
    """No byte more than 100 for any file: the build says which file, and what served before still
    does, whole."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(home.path), "100"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 0, done.stderr
    assert "home" in done.stdout
    versions = Versions(home)
    assert versions.names() == ["v000001", "v000002", "v000003", "v000004"]
    versions.verify("v000004")
    assert build(home, bundle={"embedding_id": "e2", "model_version": "m2"}).version is not None


def test_a_second_builder_is_refused_while_the_first_works(home: Home) -> None:
    with home.lock("build"), pytest.raises(BusyError, match="another process is doing 'build'"):
        build(home)
