"""Versions on disk: published whole or not at all, damage refused by name, switched together with
their model."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from indexer.core import atomic_files
from indexer.core.actor import acting
from indexer.core.errors import (
    BadHomeError,
    BadVectorsError,
    BusyError,
    ChangedError,
    DamagedIndexError,
    IndexMismatchError,
    NewerFormatError,
    ReplacedFileError,
    UnknownModelError,
    UnknownVersionError,
)
from indexer.core.home import Active, Home
from indexer.index import version as module
from indexer.index.faiss_index import FaissIndex
from indexer.index.version import Manifest, Versions, read_manifest
from indexer.index.version_files import NewVersion
from tests.indexer.index.conftest import brute_force, clustered, queries_near

DIM = 16
FLAT, IVF = "Flat", "IVF8,SQ8"


def embedding_of(model_version: str) -> str:
    """A registry of two models: m1 and m2 give embeddings e1 and e2."""
    if model_version not in ("m1", "m2"):
        raise UnknownModelError(f"no model {model_version!r}")
    return model_version.replace("m", "e")


def publish(
    home: Home, n: int = 400, *, recipe: str = FLAT, model: str = "m1", embedding: str = "e1"
) -> str:
    vectors = clustered(n, DIM)
    rows = np.stack([np.arange(n) // 2 + 1, np.arange(n) + 1000], axis=1)
    index = FaissIndex.build(recipe, vectors)
    return Versions(home).publish(
        NewVersion(
            index=index,
            vectors=vectors,
            rows=rows,
            embedding_id=embedding,
            model_version=model,
            last_sequence=n,
            recipe=recipe,
            params={"nprobe": {"10": 8, "100": 8}, "rerank": 4} if recipe == IVF else {},
            recall={"asked": 0.99, "at_10": 1.0},
        )
    )


def activate(home: Home, version: str) -> Active:
    return Versions(home).activate(version, model_embedding_id=embedding_of)


@pytest.mark.parametrize("recipe", [FLAT, IVF])
def test_published_version_answers_as_built(home: Home, recipe: str) -> None:
    """What is opened is what was published: vectors, row table, answers and
    the manifest's facts."""
    version = publish(home, recipe=recipe)
    opened = Versions(home).open(version)
    vectors = clustered(400, DIM)
    np.testing.assert_array_equal(opened.stored, vectors)
    assert opened.rows[5].tolist() == [3, 1005]
    for query in queries_near(vectors, 5):
        hits = opened.index.search(query[None], 10)[0]
        assert np.allclose(
            hits.scores, [score for _, score in brute_force(vectors, query, 10)], atol=1e-6
        )
    found = opened.manifest
    assert (found.version, found.embedding_id, found.model_version, found.dim) == (
        "v000001",
        "e1",
        "m1",
        DIM,
    )
    assert (found.recipe, found.metric, found.last_sequence) == (recipe, "inner_product", 400)
    assert found.counts == {"entries": 400, "products": 200}
    assert found.recall == {"asked": 0.99, "at_10": 1.0}


def test_flat_stores_vectors_once(home: Home) -> None:
    """An exact version has no second copy of its vectors, an approximate one an
    index beside them."""
    versions = Versions(home)
    assert set(versions.manifest(publish(home)).files) == {"vectors.npy", "rows.npy"}
    assert set(versions.manifest(publish(home, recipe=IVF)).files) == {
        "vectors.npy",
        "rows.npy",
        "index.faiss",
    }


def test_empty_version_can_be_published_and_opened(home: Home) -> None:
    """A catalog without products has an index too."""
    empty = np.empty((0, DIM), dtype=np.float16)
    version = Versions(home).publish(NewVersion(
        index=FaissIndex.build("Flat", empty), vectors=empty, rows=np.empty((0, 2), dtype=np.int64),
        embedding_id="e1", model_version="m1", last_sequence=0,
    ))  # fmt: skip
    opened = Versions(home).open(version)
    assert len(opened.index.search(queries_near(clustered(9, DIM), 1), 3)[0]) == 0


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["vectors.npy", "rows.npy", "index.faiss", "manifest.json"])
def test_one_flipped_byte_is_refused_and_named(home: Home, name: str, where: float) -> None:
    """Any byte of any file: open, verify and activate name file and version, and the previous
    version still serves."""
    good, bad = publish(home, recipe=IVF), publish(home, recipe=IVF)
    activate(home, good)
    path = home.indexes / bad / name
    flip(path, int(where * (path.stat().st_size - 1)))
    versions = Versions(home)
    for refused in (versions.open, versions.verify, lambda version: activate(home, version)):
        with pytest.raises(DamagedIndexError, match=rf"{bad}.*{name}"):
            refused(bad)
    assert home.active() == Active(good, "m1")
    assert len(versions.open(good).index) == 400


@pytest.mark.parametrize("name", ["vectors.npy", "rows.npy", "index.faiss", "manifest.json"])
def test_missing_and_shortened_files_are_named(home: Home, name: str) -> None:
    """A file that is gone or cut short is damage like any other."""
    cut, gone = publish(home, recipe=IVF), publish(home, recipe=IVF)
    path = home.indexes / cut / name
    path.write_bytes(path.read_bytes()[:-20])
    (home.indexes / gone / name).unlink()
    for version in (cut, gone):
        with pytest.raises(DamagedIndexError, match=rf"{version}.*{name}"):
            Versions(home).open(version)


def test_checksums_are_read_at_open_only_when_the_stamp_changed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published files open without reading them through; touched, copied or unstamped ones are
    checked in full."""
    version = publish(home)
    read: list[str] = []
    original = module.sha256_file
    monkeypatch.setattr(
        module, "sha256_file", lambda path: read.append(path.name) or original(path)
    )
    versions = Versions(home)
    versions.open(version)
    assert read == []
    os.utime(home.indexes / version / "rows.npy", ns=(1, 1))
    versions.open(version)
    assert sorted(read) == ["rows.npy", "vectors.npy"]
    versions.open(version)
    assert len(read) == 2  # the new stamp was noted
    (home.indexes / version / "VERIFIED").write_text("{ not json")
    versions.open(version)
    assert len(read) == 4


def test_newer_format_is_refused(home: Home) -> None:
    """A version written by a newer Catalens is not guessed at; list leaves it out."""
    version = publish(home)
    path = home.indexes / version / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(NewerFormatError, match=f"{version} has format 2"):
        Versions(home).open(version)
    assert Versions(home).list() == []
    assert Versions(home).names() == [version]


def test_manifest_of_another_version_is_refused(home: Home) -> None:
    """A folder renamed by hand does not pass for another version."""
    version = publish(home)
    shutil.copytree(home.indexes / version, home.indexes / "v000007")
    with pytest.raises(DamagedIndexError, match="v000007"):
        Versions(home).open("v000007")


def test_manifest_keeps_its_own_checksum() -> None:
    """Every field of a manifest is sealed and comes back as written."""
    manifest = Manifest(
        1, "v1", "e", "m", 2, "inner_product", "Flat", {"ü": 1}, {"entries": 0}, 3, {}, {}, "now"
    )
    stored = json.loads(manifest.to_bytes())
    assert stored.pop("seal")
    assert Manifest(**stored) == manifest


class Crash(BaseException):
    """What a kill looks like from inside: no handler for Exception sees it."""


def test_crash_while_publishing_leaves_a_serving_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at any rename or flush on the way to a new serving version, the old or the new one
    serves, whole.

    What a crash left is cleared by the next publish, which takes a number nobody has seen.
    """
    steps = 0
    while crash_at_step(Home.create(tmp_path / f"{steps}"), monkeypatch, steps):
        steps += 1
    assert steps > 20


def crash_at_step(home: Home, monkeypatch: pytest.MonkeyPatch, step: int) -> bool:
    """Publish and activate, stopped at the ``step``-th rename or flush; False when
    it came through."""
    old = publish(home)
    activate(home, old)
    left = step

    def counted(original: Callable[..., None]) -> Callable[..., None]:
        def wrapper(*arguments: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Crash
            original(*arguments)

        return wrapper

    crashed = False
    with monkeypatch.context() as patch:
        patch.setattr(
            module.shutil, "rmtree", lambda *a, **k: None
        )  # a killed process does not tidy up
        for name in ("rename", "replace", "fsync"):
            patch.setattr(atomic_files.os, name, counted(getattr(os, name)))
        try:
            activate(home, publish(home, 600))
        except Crash:
            crashed = True
    versions = Versions(home)
    serving = home.active()
    assert serving is not None
    assert crashed or serving.index_version != old
    assert len(versions.open(serving.index_version).index) == (
        400 if serving.index_version == old else 600
    )
    for manifest in versions.list():
        versions.verify(manifest.version)
    seen = {
        *versions.names(),
        *(path.name.removeprefix(".building-") for path in home.indexes.glob(".building-*")),
    }
    fresh = publish(home)
    assert fresh not in seen
    assert not list(home.indexes.glob(".building-*"))
    assert activate(home, fresh).index_version == fresh
    return crashed


def test_numbers_are_never_used_twice(home: Home) -> None:
    """Not after a removal, nor when the counter's file is lost while later versions stand or are
    active."""
    first, second = publish(home), publish(home)
    assert (first, second) == ("v000001", "v000002")
    shutil.rmtree(home.indexes / second)
    third = publish(home)
    assert third == "v000003"
    (home.indexes / "LAST").write_text("garbage")
    assert publish(home) == "v000004"
    activate(home, publish(home))
    shutil.rmtree(home.indexes)  # even then the active pair remembers
    assert publish(home) == "v000006"


def test_rollback_returns_and_returns_again(home: Home) -> None:
    """Rollback switches index and model as one pair; twice is where one began."""
    first, second = publish(home), publish(home, model="m2", embedding="e2")
    versions = Versions(home)
    with pytest.raises(UnknownVersionError, match="nothing to roll back to"):
        versions.rollback(model_embedding_id=embedding_of)
    activate(home, first)
    with pytest.raises(UnknownVersionError, match="nothing to roll back to"):
        versions.rollback(model_embedding_id=embedding_of)
    activate(home, second)
    activate(home, second)  # again: no new past
    assert versions.previous() == Active(first, "m1")
    assert versions.rollback(model_embedding_id=embedding_of) == first
    assert home.active() == Active(first, "m1")
    assert versions.rollback(model_embedding_id=embedding_of) == second
    assert home.active() == Active(second, "m2")


def test_the_history_tells_who_and_since_when(home: Home) -> None:
    """A compaction takes the name over, being the same state; entries of an older release have
    none."""
    first, second, third = publish(home), publish(home), publish(home)
    activate(home, first)
    stored = home.indexes / "ACTIVATIONS"
    entries = [
        {key: entry[key] for key in ("index_version", "model_version")}
        for entry in json.loads(stored.read_text())
    ]
    stored.write_text(json.dumps(entries))
    with acting("Anna"):
        activate(home, second)
    since = Versions(home).history()[-1].at
    with acting("machine"):
        Versions(home).activate(third, instead_of=second, model_embedding_id=embedding_of)
    told = [(past.version, past.by, past.at) for past in Versions(home).history()]
    assert told == [(first, "", ""), (third, "Anna", since)]
    assert since > "2020"


def test_two_rollbacks_at_once_undo_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target is read under the lock, and who saw another version active is told so."""
    first, second = publish(home), publish(home)
    activate(home, first)
    activate(home, second)
    versions = Versions(home)
    verify = Versions.verify
    other: list[str] = []

    def slowly(self: Versions, version: str) -> Manifest:
        if not other:
            other.append("begun")
            thread = threading.Thread(target=roll_back)
            thread.start()
            threads.append(thread)
            thread.join(0.2)
        return verify(self, version)

    def roll_back() -> None:
        try:
            Versions(home).rollback(instead_of=second, model_embedding_id=embedding_of)
        except ChangedError as error:
            other.append(str(error))

    threads: list[threading.Thread] = []
    monkeypatch.setattr(Versions, "verify", slowly)
    assert versions.rollback(instead_of=second, model_embedding_id=embedding_of) == first
    threads[0].join()
    assert home.active() == Active(first, "m1")
    assert "v000002 is no longer active" in other[1]


def test_activation_noted_but_not_done_is_no_past(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between noting an activation and making it leaves the rollback target as it was."""
    first, second, third = publish(home), publish(home), publish(home)
    activate(home, first)
    activate(home, second)
    with monkeypatch.context() as patch:
        patch.setattr(Home, "activate", lambda *_: (_ for _ in ()).throw(Crash()))
        with pytest.raises(Crash):
            activate(home, third)
    assert home.active() == Active(second, "m1")
    assert Versions(home).previous() == Active(first, "m1")


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"index_version": 3, "model_version": {}}'])
def test_a_damaged_current_file_is_mended_by_activating(home: Home, content: str) -> None:
    """What serves cannot be told from nonsense: that is said with what to do, and doing it works;
    so does rollback."""
    publish(home), publish(home)
    activate(home, "v000001"), activate(home, "v000002")
    home.current_file.write_text(content)
    with pytest.raises(BadHomeError, match=r"CURRENT.*catalens index activate"):
        home.active()
    assert Versions(home).rollback(model_embedding_id=embedding_of) == "v000001"
    home.current_file.write_text(content)
    assert activate(home, "v000002") == home.active() == Active("v000002", "m1")


@pytest.mark.parametrize("content", [None, "", "{ not json", "[{}]", "flipped"])
def test_a_lost_record_of_activations_leaves_the_way_back(home: Home, content: str | None) -> None:
    """``CURRENT`` repeats it, so that a damaged record does not end in "nothing to roll back to";
    a changed byte in it names no other version."""
    names = [publish(home) for _ in range(3)]
    for name in names[1:]:
        activate(home, name)
    record = home.indexes / "ACTIVATIONS"
    if content is None:
        record.unlink()
    else:
        flipped = record.read_text().replace(names[1], names[0])
        record.write_text(flipped if content == "flipped" else content)
    assert Versions(home).rollback(model_embedding_id=embedding_of) == names[1]
    assert Versions(home).rollback(model_embedding_id=embedding_of) == names[2]


def test_a_changed_byte_in_current_names_no_other_version(home: Home) -> None:
    """v000001 and v000003 differ in one bit; the other is never served for it."""
    for _ in range(3):
        publish(home)
    activate(home, "v000001")
    home.current_file.write_text(home.current_file.read_text().replace("v000001", "v000003"))
    with pytest.raises(BadHomeError, match=r"CURRENT.*catalens index activate"):
        home.active()


def test_the_way_back_passes_over_what_is_gone(home: Home) -> None:
    """A version that somebody removed from the disk is no version to go back to."""
    names = [publish(home) for _ in range(3)]
    for name in names:
        activate(home, name)
    shutil.rmtree(home.indexes / names[1])
    assert Versions(home).rollback(model_embedding_id=embedding_of) == names[0]


def test_mismatched_model_is_refused_with_both_ids(home: Home) -> None:
    """An index goes live only with a model that gives its embedding; both ids are
    in the message."""
    good, foreign = publish(home), publish(home, model="m1", embedding="e9")
    activate(home, good)
    with pytest.raises(IndexMismatchError, match=r"e9.*e1"):
        activate(home, foreign)
    with pytest.raises(UnknownModelError):
        activate(home, publish(home, model="m7", embedding="e7"))
    assert home.active() == Active(good, "m1")


def test_unknown_versions_are_named(home: Home) -> None:
    """A version that is not there, or no version's name at all."""
    publish(home)
    for name in ("v000009", "../v000001", "", "latest"):
        with pytest.raises(UnknownVersionError, match=r"there are: v000001"):
            Versions(home).open(name)


def test_gc_keeps_what_serves_served_before_and_is_newer(home: Home) -> None:
    """Only versions that nobody would go back to or forward to are removed."""
    versions = Versions(home)
    names = [publish(home) for _ in range(5)]
    assert versions.gc() == []  # nothing serves yet
    for name in (names[1], names[2], names[3]):
        activate(home, name)
    assert versions.gc() == [names[0], names[1]]
    assert versions.names() == names[2:]
    assert versions.rollback(model_embedding_id=embedding_of) == names[2]


def test_publish_checks_what_it_is_given(home: Home) -> None:
    """Rows that are not sorted by product, of another number, or vectors that are not unit: nothing
    is written."""
    vectors = clustered(10, DIM)
    index = FaissIndex.build("Flat", vectors)
    rows = np.stack([np.arange(10), np.arange(10)], axis=1)
    given = {"index": index, "embedding_id": "e1", "model_version": "m1", "last_sequence": 0}
    for wrong_vectors, wrong_rows in (
        (vectors, rows[::-1]),
        (vectors, rows[:9]),
        (vectors * 2, rows),
        (vectors[:9], rows),
    ):
        with pytest.raises(BadVectorsError):
            Versions(home).publish(NewVersion(vectors=wrong_vectors, rows=wrong_rows, **given))  # type: ignore[arg-type]
    assert Versions(home).names() == []


def test_two_publishers_take_turns(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher that cannot get the lock is refused in plain words, not raced."""
    original = Home.lock
    monkeypatch.setattr(
        Home, "lock", lambda self, name, *, wait_s=0.0: original(self, name, wait_s=0.01)
    )
    with home.lock("publish"), pytest.raises(BusyError, match="publish"):
        publish(home)


def test_read_manifest_names_the_folder(tmp_path: Path) -> None:
    """A manifest that is no object is damage, not a crash."""
    folder = tmp_path / "v000001"
    folder.mkdir()
    for text in ("[]", "null", "{}", "\x00"):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(DamagedIndexError, match=r"v000001.*manifest\.json"):
            read_manifest(folder)


def test_versions_of_a_home_in_the_place_of_this_one_are_not_read(
    home: Home, tmp_path: Path
) -> None:
    """Neither listed nor opened: who put it there is unknown."""
    versions = Versions(home)
    other = Home.create(tmp_path / "other")
    (other.indexes / "v000001").mkdir(parents=True)
    home.path.rename(tmp_path / "aside")
    other.path.rename(home.path)
    for look in (versions.names, versions.list, lambda: versions.open("v000001")):
        with pytest.raises(ReplacedFileError):
            look()
