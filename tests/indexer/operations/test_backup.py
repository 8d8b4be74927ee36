"""Tests of ``indexer.operations.backup`` and ``restore``: what was acknowledged comes back, and
nothing damaged passes for it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import Delete, photo_file
from indexer.catalog.store import open_catalog
from indexer.core import sqlite
from indexer.core.errors import (
    BadBackupError,
    BadHomeError,
    BadRequestError,
    BusyError,
    DamagedFileError,
    DiskFullError,
    MissingCatalogError,
    NewerFormatError,
)
from indexer.core.home import Home
from indexer.core.home_clock import note_time
from indexer.core.sqlite import opened
from indexer.index.version import Versions
from indexer.operations import backup as backup_module
from indexer.operations.backup import BackupReport, back_up
from indexer.operations.backup_files import BackupFile, BackupList, list_backups, read_list
from indexer.operations.erasure import needs_erasing
from indexer.operations.jobs import Jobs
from indexer.operations.repair import repair_home
from indexer.operations.restore import restore
from indexer.reviews.store import open_reviews
from tests.indexer.conftest import copy_home
from tests.indexer.index_build.test_pipeline import FakeEmbedder, add_photo, build, live, put
from tools import cli

ROOT = Path(__file__).parents[3]
PRODUCTS = 12
# make prove-backup: 32 writers beside an import, for a minute.
WRITERS = int(os.environ.get("CATALENS_LIVE_BACKUP_WRITERS", "4"))
SECONDS = float(os.environ.get("CATALENS_LIVE_BACKUP_SECONDS", "1.5"))

# make prove-kill asks for more.
KILLS = int(os.environ.get("CATALENS_KILLS", "1"))
SLOWED = """
import time
from pathlib import Path
from indexer.core.home import Home
from indexer.operations import backup_files
from indexer.operations import backup as making, restore as restoring
copy = backup_files.copy_hashed
def slowed(*arguments):
    time.sleep(0.005)
    return copy(*arguments)
making.copy_hashed = restoring.copy_hashed = slowed
back_up, restore = making.back_up, restoring.restore
print("ready", flush=True)
"""
WRITING = """
import hashlib, json, sys, threading, time
from pathlib import Path
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import Delete, NewPhoto, ProductInput, Put
from indexer.catalog.store import open_catalog
from indexer.core.home import Home
home, until = Home(sys.argv[1]), time.time() + float(sys.argv[3])
store, catalog, acknowledged = PhotoStore(home), open_catalog(home), []

def write(number):
    turn = 0
    while time.time() < until:
        data = f"photo {number} {turn} ".encode() * 200
        name = hashlib.sha256(data).hexdigest()
        photo = store.add(data, NewPhoto(name, "PNG", len(data), 4, 4, "copy", None))
        key = f"w{number}-{turn}"
        catalog.apply([Put(ProductInput(key, f"title {turn}", None, (), {}, (name,)), (photo,))])
        gone = ""
        if turn % 5 == 4:
            gone = f"w{number}-{turn - 1}"
            catalog.apply([Delete(gone)])
        acknowledged.append((time.time(), key, name, gone))
        turn += 1

threads = [threading.Thread(target=write, args=(number,)) for number in range(int(sys.argv[2]))]
print("ready", flush=True)
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps(acknowledged))
"""
IMPORTING = """
import json, sys, time
from pathlib import Path
from PIL import Image
from indexer.core.home import Home
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.importer import import_feed
home, folder, until = Home(sys.argv[1]), Path(sys.argv[2]), time.time() + float(sys.argv[3])
acknowledged, turn = [], 0
print("ready", flush=True)
while time.time() < until:
    data = folder / str(turn)
    data.mkdir(parents=True)
    rows = ["product_id,image"]
    for row in range(20):
        Image.new("RGB", (8, 8), (turn % 256, row, 7)).save(data / f"{row}.png")
        rows.append(f"i{turn}-{row},{row}.png")
    (data / "feed.csv").write_text("\\n".join(rows))
    assert import_feed(home, data, ImportOptions()).added == 20
    acknowledged += [(time.time(), f"i{turn}-{row}", "", "") for row in range(20)]
    turn += 1
print(json.dumps(acknowledged))
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Products with photos, two versions of which one serves, and reviews."""
    home = Home.create(tmp_path_factory.mktemp("backup") / "home")
    with open_catalog(home) as catalog:
        for i in range(PRODUCTS):
            put(catalog, f"p{i}", add_photo(home, i))
    activate(home)
    with open_catalog(home) as catalog:
        put(catalog, "late", add_photo(home, 100))
    activate(home)
    open_reviews(home).close()
    (home.path / "glossary.csv").write_text("term,words\nHemd,shirt\n")
    (home.thumbnails / "ab").mkdir(parents=True)
    (home.thumbnails / "ab" / "thumbnail").write_text("made on demand")
    (home.models / "m1").mkdir(parents=True)
    (home.models / "m1" / "model.json").write_text("{}")
    return home


@pytest.fixture
def home(template: Home, tmp_path: Path) -> Home:
    return copy_home(template, tmp_path)


def activate(home: Home) -> None:
    """Build a version, and serve it."""
    version = build(home).version
    assert version is not None
    Versions(home).activate(version, model_embedding_id=lambda _: "e1")


def flip(path: Path) -> None:
    """Damage one bit in the middle of a file."""
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte ^ 1]))


def made(report: BackupReport) -> BackupList:
    return read_list(report.path)


def test_a_restored_home_is_the_home_that_was_backed_up(home: Home, tmp_path: Path) -> None:
    """The drill: the home is lost; products, photos, versions, what serves and its undo come back,
    nothing is embedded again, and the first erasure looks at everything."""
    assert note_time(home) is None
    report = back_up(home, tmp_path / "backups")
    assert (report.photos, report.left_out, report.removed) == (PRODUCTS + 1, [], [])
    shutil.move(home.path, tmp_path / "lost")
    lost = Home(tmp_path / "lost")
    done = restore(tmp_path / "backups", home.path)
    assert (done.products, done.photos, done.left_out) == (PRODUCTS + 1, PRODUCTS + 1, [])
    assert (done.index_version, done.model_version) == ("v000002", "m1")
    assert done.at == report.at
    back = Home(home.path)
    with open_catalog(lost) as before, open_catalog(back) as after:
        ids = before.product_ids()
        assert after.product_ids() == ids
        assert [after.get(one) for one in sorted(ids)] == [before.get(one) for one in sorted(ids)]
        assert after.last_sequence() == before.last_sequence() == report.sequence
        assert needs_erasing(back, after)
        store = PhotoStore(back)
        for row in after.photos_by_id(range(1, PRODUCTS + 2)).values():
            assert hashlib.sha256(store.read(row)).hexdigest() == row.content_hash
    assert [past.version for past in Versions(back).history()] == ["v000001", "v000002"]
    assert Versions(back).verify("v000002").counts["products"] == PRODUCTS + 1
    embedder = FakeEmbedder()
    assert build(back, embedder).reused == PRODUCTS + 1
    assert embedder.seen == []
    assert (back.path / "glossary.csv").read_text() == "term,words\nHemd,shirt\n"
    assert not back.thumbnails.exists()
    assert (lost.path / "CLOCK").exists()
    assert {path.name for path in back.path.parent.iterdir() if path.name.startswith(".")} == set()
    query = live(lost, "v000002").base.stored[:1]
    assert np.array_equal(live(back, "v000002").base.stored[:1], query)


def test_a_job_under_way_is_told_failed_where_it_is_restored(home: Home, tmp_path: Path) -> None:
    """Its upload is in no backup; one that ended says what it said, and a queued build waits for
    nobody."""
    jobs = Jobs(home)
    sent = jobs.add("import", {}, upload=lambda path: path.touch())
    jobs.set(sent.job_id, state="running", started=1.0)
    build = jobs.add("build", {})
    ended = jobs.add("import", {})
    jobs.set(ended.job_id, state="done", result={"added": 3})
    back_up(home, tmp_path / "backups")
    restored = restore(tmp_path / "backups", tmp_path / "new")
    assert restored.failed_jobs == 2
    found = {job.job_id: job for job in Jobs(Home(tmp_path / "new")).list()}
    assert len(found) == 3
    for job_id in (sent.job_id, build.job_id):
        problem = found[job_id].problem
        assert (found[job_id].state, problem and problem.code) == ("failed", "interrupted")
        assert problem is not None
        assert "start it again" in problem.detail
    assert (found[ended.job_id].state, found[ended.job_id].result) == ("done", {"added": 3})
    assert not list((tmp_path / "new").rglob("feed"))
    assert jobs.get(sent.job_id).state == "running", "the home itself goes on"


def test_what_did_not_change_is_shared_with_the_backup_before(home: Home, tmp_path: Path) -> None:
    """A second backup copies databases and what is new; --keep ends the oldest; each restores."""
    backups = tmp_path / "backups"
    first = back_up(home, backups)
    with open_catalog(home) as catalog:
        put(catalog, "new", add_photo(home, 101))
    second = back_up(home, backups)
    assert (first.photos, second.photos) == (PRODUCTS + 1, PRODUCTS + 2)
    databases = sum(
        known.size for name, known in made(second).files.items() if name.endswith(".sqlite3")
    )
    assert databases < second.copied_bytes < databases + 1000 < first.copied_bytes
    one = next((first.path / "photos").glob("??/??/*"))
    assert one.stat().st_nlink == 2
    assert (first.path / "indexes/v000001/manifest.json").stat().st_nlink == 2
    third = back_up(home, backups, keep=2)
    assert third.removed == [first.path.name]
    assert list_backups(backups) == [second.path, third.path]
    assert restore(second.path, tmp_path / "second").products == PRODUCTS + 2
    assert restore(backups, tmp_path / "newest").backup == third.path


def test_backups_of_two_shops_in_one_folder_are_kept_apart(home: Home, tmp_path: Path) -> None:
    """--keep counts and ends those of its own catalog; which one is restored is asked for."""
    backups, other = tmp_path / "backups", Home.create(tmp_path / "other")
    with open_catalog(other) as catalog:
        put(catalog, "one", add_photo(other, 500))
    first = back_up(home, backups)
    theirs = back_up(other, backups)
    second = back_up(home, backups, keep=1)
    assert second.removed == [first.path.name]
    assert list_backups(backups) == [theirs.path, second.path]
    assert second.copied_bytes < first.copied_bytes, "shared with its own one before"
    with pytest.raises(BadBackupError, match="backups of several catalogs: name one of them"):
        restore(backups, tmp_path / "new")
    assert restore(theirs.path, tmp_path / "new").products == 1


def test_a_backup_under_another_name_is_as_old_as_it_says(home: Home, tmp_path: Path) -> None:
    """The newest is restored and kept, not the last by the alphabet."""
    backups = tmp_path / "backups"
    first = back_up(home, backups)
    first.path.rename(backups / "monthly")
    second = back_up(home, backups)
    assert list_backups(backups) == [backups / "monthly", second.path]
    assert restore(backups, tmp_path / "new").backup == second.path
    assert back_up(home, backups, keep=2).removed == ["monthly"]


def test_links_take_no_room_and_nothing_that_changes_is_linked(home: Home, tmp_path: Path) -> None:
    """With --link photos and versions are other names of the home's files; databases are copies."""
    report = back_up(home, tmp_path / "backups", link=True)
    photo = next(home.photos.glob("??/??/*"))
    assert photo.samefile(report.path / photo.relative_to(home.path))
    assert (home.indexes / "v000001/rows.npy").samefile(report.path / "indexes/v000001/rows.npy")
    for name in ("catalog.sqlite3", "reviews.sqlite3", "home.json", "CURRENT", "glossary.csv"):
        assert (report.path / name).stat().st_nlink == 1
    assert report.copied_bytes < report.bytes
    shutil.rmtree(home.path)
    assert restore(tmp_path / "backups", home.path).left_out == []


@pytest.mark.parametrize(
    ("how", "pattern", "kind"),
    [
        ("flipped", "catalog.sqlite3", "needed"),
        ("missing", "home.json", "derived"),
        ("flipped", "BACKUP.json", "list"),
        ("missing", "BACKUP.json", "list"),
        ("flipped", "CURRENT", "part"),
        ("flipped", "reviews.sqlite3", "part"),
        ("missing", "glossary.csv", "part"),
        ("flipped", "photos/??/??/*", "part"),
        ("missing", "photos/??/??/*", "part"),
        ("cut", "indexes/v000002/rows.npy", "part"),
        ("cut", "embeddings/*.sqlite3", "derived"),
    ],
)
def test_nothing_damaged_is_restored(
    home: Home, tmp_path: Path, how: str, pattern: str, kind: str
) -> None:
    """Each file of a backup is checked: what can be made again is left out and named, all else is
    refused by name, or left out where that was asked for; nothing is there after a refusal."""
    report = back_up(home, tmp_path / "backups")
    victim = sorted(report.path.glob(pattern))[0]
    if how == "flipped":
        flip(victim)
    elif how == "cut":
        os.truncate(victim, victim.stat().st_size // 2)
    else:
        victim.unlink()
    name = victim.relative_to(report.path).as_posix()
    new = tmp_path / "new"
    if kind == "derived":
        assert restore(report.path, new).left_out == [name]
        return
    reason = {"list": "BACKUP.json|no backup at", "needed": "catalog"}.get(kind, name)
    with pytest.raises(BadBackupError, match=reason):
        restore(report.path, new)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".new", "new"))] == []
    if kind != "part":
        with pytest.raises(BadBackupError):
            restore(report.path, new, partial=True)
        return
    assert restore(report.path, new, partial=True).left_out == [name]


def test_a_list_cannot_lead_out_of_the_home(home: Home, tmp_path: Path) -> None:
    """Names of a list are refused where they are none below a home, and so is a newer list."""
    report = back_up(home, tmp_path / "backups")
    listed = made(report)
    for name in ("../outside", "/etc/passwd", "a/../../b", ""):
        listed.files[name] = listed.files["home.json"]
        (report.path / "BACKUP.json").write_bytes(listed.to_bytes())
        with pytest.raises(BadBackupError, match="outside of a home"):
            restore(report.path, tmp_path / "new")
        del listed.files[name]
    stored = json.loads(listed.to_bytes())
    (report.path / "BACKUP.json").write_text(json.dumps({**stored, "format": 2}))
    with pytest.raises(NewerFormatError, match="upgrade"):
        restore(report.path, tmp_path / "new")


@pytest.mark.parametrize("named", ["../../../../../victim", "x" * 64, ""])
def test_a_catalog_cannot_lead_out_of_the_home(home: Home, tmp_path: Path, named: str) -> None:
    """A backup by somebody else whose catalog calls a photo ``../``: refused by its name, and what
    lies there is neither copied nor deleted."""
    report = back_up(home, tmp_path / "backups")
    (tmp_path / "victim").write_text("mine")
    listed = made(report)
    with sqlite.library.connect(report.path / "catalog.sqlite3") as sql:
        sql.execute("UPDATE photos SET content_hash = ? WHERE photo_id = 2", (named,))
    digest = hashlib.sha256((report.path / "catalog.sqlite3").read_bytes()).hexdigest()
    known = listed.files["catalog.sqlite3"]
    listed.files["catalog.sqlite3"] = replace(known, sha256=digest)
    (report.path / "BACKUP.json").write_bytes(listed.to_bytes())
    with pytest.raises(DamagedFileError, match="no SHA-256"):
        restore(report.path, tmp_path / "new" / "er", partial=True)
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "new" / "er").exists()


def test_backups_and_restored_homes_are_their_owner_s_alone(home: Home, tmp_path: Path) -> None:
    """They hold keys, photos and the secret that signs messages: nobody else may look into them,
    and a private file stays private."""
    before = os.umask(0o022)
    try:
        (home.path / "alert-secret").write_text("secret")
        (home.path / "alert-secret").chmod(0o600)
        report = back_up(home, tmp_path / "backups")
        done = restore(report.path, tmp_path / "new")
    finally:
        os.umask(before)
    for folder in (report.path, done.home):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "alert-secret").stat().st_mode & 0o777 == 0o600


def test_what_the_home_has_damaged_is_no_good_backup(home: Home, tmp_path: Path) -> None:
    """A damaged catalog is refused, a damaged derived file left out; a damaged original comes from
    the backup before, or is named; a home whose photos or catalog are away is refused."""
    backups = tmp_path / "backups"
    back_up(home, backups)
    photos = sorted(home.photos.glob("??/??/*"))
    flip(photos[0])
    (embeddings,) = home.embeddings.glob("*.sqlite3")
    embeddings.write_bytes(b"no database " * 999)
    report = back_up(home, backups)
    assert report.left_out == [f"embeddings/{embeddings.name}"]
    name = photos[0].name
    assert hashlib.sha256(photo_file(report.path / "photos", name).read_bytes()).hexdigest() == name
    alone = back_up(home, tmp_path / "alone")
    assert alone.left_out == [f"embeddings/{embeddings.name}", f"photos/{name}"]
    assert restore(alone.path, tmp_path / "new").left_out == alone.left_out
    shutil.rmtree(home.photos)
    backup_module._FEW_MISSING, few = 5, backup_module._FEW_MISSING
    try:
        with pytest.raises(DamagedFileError, match="is a disk not mounted"):
            back_up(home, tmp_path / "other")
    finally:
        backup_module._FEW_MISSING = few
    with home.catalog_file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * 8192)
    with pytest.raises(
        DamagedFileError, match=r"catalog\.sqlite3 is damaged: .* no backup was made"
    ):
        back_up(home, backups)
    for path in home.path.glob("catalog.sqlite3*"):
        path.unlink()
    with pytest.raises(MissingCatalogError):
        back_up(home, backups)
    assert len(list_backups(backups)) == 2


def test_what_goes_while_it_is_copied_is_in_no_backup(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product that is deleted after its catalog was copied, and a version that takes over
    meanwhile: the home is looked at again."""
    stored_photos, calls = backup_module.stored_photos, []

    def deleting(sql: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            with open_catalog(home) as catalog:
                catalog.apply([Delete("p3")])
                doomed = sorted(catalog.change_log.orphans())
                assert PhotoStore(home).collect(catalog, doomed)
        return stored_photos(sql)  # type: ignore[arg-type]

    monkeypatch.setattr(backup_module, "stored_photos", deleting)
    report = back_up(home, tmp_path / "backups")
    assert (len(calls), report.photos, report.left_out) == (2, PRODUCTS, [])
    assert len(list(report.path.glob("photos/??/??/*"))) == PRODUCTS
    done = restore(report.path, tmp_path / "new")
    assert done.products == PRODUCTS

    activations, take = [], backup_module._Backup._take

    def activating(self: object, path: Path, *rest: object) -> None:
        if path.name == "CURRENT" and not activations:
            activations.append(1)
            activate(home)
        take(self, path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(backup_module._Backup, "_take", activating)
    report = back_up(home, tmp_path / "backups")
    done = restore(report.path, tmp_path / "newer")
    assert done.index_version == "v000003"
    Versions(Home(tmp_path / "newer")).verify("v000003")


def test_places_that_are_no_place_for_a_backup_are_refused(home: Home, tmp_path: Path) -> None:
    """In the home, around it, a folder of something else, one backup; a home that is there; twice
    at once; too little room. What a killed run left goes."""
    backups = tmp_path / "backups"
    for wrong in (home.path, home.path / "backups", home.path.parent):
        with pytest.raises(BadRequestError, match="lie in each other"):
            back_up(home, wrong)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("x")
    with pytest.raises(BadRequestError, match=r"'letter\.txt', which is no backup"):
        back_up(home, tmp_path / "other")
    report = back_up(home, backups)
    with pytest.raises(BadRequestError, match="is one backup"):
        back_up(home, report.path)
    with FileLock(backups / ".backup.lock"), pytest.raises(BusyError):
        back_up(home, backups)
    with pytest.raises(BadHomeError, match="is there already"):
        restore(backups, home.path)
    with pytest.raises(BadBackupError, match="there is no backup"):
        restore(tmp_path / "nowhere", tmp_path / "new")
    full = namedtuple("full", "free")(2**20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: full)
        with pytest.raises(DiskFullError, match="needs"):
            back_up(home, backups)
        with pytest.raises(DiskFullError, match="needs"):
            restore(backups, tmp_path / "new")
    left = backups / ".backup.1.0123abcd.tmp"
    left.mkdir()
    back_up(home, backups)
    assert not left.exists()


def test_a_killed_backup_or_restore_leaves_nothing(home: Home, tmp_path: Path) -> None:
    """SIGKILL at any moment: the backup before is as it was, the next one is whole, and of a
    restore there is a whole home or none."""
    backups, new = tmp_path / "backups", tmp_path / "new"
    before = back_up(home, backups)
    chance = random.Random(KILLS)
    for _ in range(KILLS):
        for code in (
            f"back_up(Home({str(home.path)!r}), Path({str(backups)!r}))",
            f"restore(Path({str(before.path)!r}), Path({str(new)!r}))",
        ):
            worker = subprocess.Popen(
                [sys.executable, "-c", f"{SLOWED}\n{code}"],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert worker.stdout is not None
            worker.stdout.readline()
            time.sleep(chance.uniform(0, 0.15))
            worker.kill()
            worker.wait()
        if new.exists():
            with open_catalog(Home(new)) as catalog:
                assert len(catalog) == PRODUCTS + 1
            shutil.rmtree(new)
    after = back_up(home, backups)
    assert {path.name for path in backups.iterdir()} == {
        ".backup.id",
        ".backup.lock",
        *(path.name for path in list_backups(backups)),
    }
    assert (
        restore(after.path, new).left_out == restore(before.path, tmp_path / "old").left_out == []
    )
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_every_acknowledged_write_before_its_stamp_is_restored(home: Home, tmp_path: Path) -> None:
    """While threads of one process write and delete and another process imports, a backup is
    made: all that was acknowledged before its time is in the restored home, photos too."""
    writing = [sys.executable, "-c", WRITING, str(home.path), str(WRITERS), str(SECONDS)]
    importing = [sys.executable, "-c", IMPORTING, str(home.path), str(tmp_path / "f"), str(SECONDS)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for command in (writing, importing)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    time.sleep(SECONDS * 0.4)
    report = back_up(home, tmp_path / "backups")
    acknowledged = []
    for process in processes:
        acknowledged += json.loads(process.communicate(timeout=SECONDS + 60)[0])
    at = datetime.fromisoformat(report.at).timestamp()
    before = [entry for entry in acknowledged if entry[0] < at]
    gone = {entry[3] for entry in acknowledged}
    assert len(before) > WRITERS
    assert len(before) < len(acknowledged)
    done = restore(tmp_path / "backups", tmp_path / "new")
    assert done.left_out == []
    new = Home(tmp_path / "new")
    with open_catalog(new) as catalog:
        ids = catalog.product_ids()
        lost = [key for _, key, _, _ in before if key not in ids and key not in gone]
        undeleted = [key for *_, key in before if key and key in ids]
        assert (lost, undeleted) == ([], [])
        store = PhotoStore(new)
        for row in catalog.photos_by_id(range(1, catalog.photo_count() + 1000)).values():
            assert hashlib.sha256(store.read(row)).hexdigest() == row.content_hash
        for _, key, name, _ in before:
            if name and key in ids:
                assert catalog.get(key).photos == (name,)
    with opened(new.catalog_file) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_commands_answer_with_one_document(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``backup TO`` and ``restore FROM``, as scripts read them, and for people."""
    backups, new = str(tmp_path / "backups"), str(tmp_path / "new")
    assert cli.run(["backup", backups, "--home", str(home.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["photos"], found["left_out"]) == (PRODUCTS + 1, [])
    assert cli.run(["restore", backups, "--home", new, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["home"], done["backup"], done["products"]) == (new, found["path"], PRODUCTS + 1)
    assert cli.run(["backup", backups, "--home", new, "--keep", "1"]) == 0
    assert f"deleted: {Path(found['path']).name}" in capsys.readouterr().out
    assert cli.run(["restore", backups, "--home", new]) == 1
    assert "is there already" in capsys.readouterr().err


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_looking_at_a_backup_changes_nothing_in_it(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Checked as a home it stays as it was listed, and every other command is refused, a repair of
    it too; what says how files lay on their disk is in no backup. It can be restored after that."""
    report = back_up(home, tmp_path / "backups")
    assert not list(report.path.rglob("VERIFIED"))
    before = contents(report.path)
    for words in (["verify"], ["index", "verify"], ["doctor"]):
        cli.run([*words, "--home", str(report.path)])
    assert contents(report.path) == before
    for words in (
        ["verify", "--repair"],
        ["migrate"],
        ["index", "erase", "p0"],
        ["index", "gc"],
        ["import", str(tmp_path)],
        ["keys", "list"],
        ["sync", "add", "erp", "https://shop.example/feed.csv", "--every", "1h"],
        ["similar", "--product", "p0"],
        ["undo", "list"],
    ):
        capsys.readouterr()
        assert cli.run([*words, "--home", str(report.path)]) == 1
        assert "is a backup" in capsys.readouterr().err
    with pytest.raises(BadRequestError, match="is a backup"):
        repair_home(report.path)
    assert contents(report.path) == before
    restore(report.path, tmp_path / "new")


def test_no_home_is_made_in_a_backup_or_among_backups(home: Home, tmp_path: Path) -> None:
    """Neither by a restore nor anew: the backup could be restored no more, and the folder of
    backups would take no other. Nothing stays there."""
    backups = tmp_path / "backups"
    report = back_up(home, backups)
    (empty := report.path / "empty").mkdir()
    for place in (backups / "new", backups / "new" / "home", report.path / "new", empty):
        for make in (Home.create, partial(restore, backups)):
            with pytest.raises(BadHomeError, match=r"lies? in the backup|among the backups"):
                make(place)
    empty.rmdir()
    back_up(home, backups)
    restore(report.path, tmp_path / "new")


def test_a_stamp_of_an_older_backup_is_not_restored(home: Home, tmp_path: Path) -> None:
    """A release before listed them, and its ``verify`` changed them: they are passed over."""
    report = back_up(home, tmp_path / "backups")
    (report.path / "indexes/v000001/VERIFIED").write_text("changed since")
    listed = made(report)
    listed.files["indexes/v000001/VERIFIED"] = BackupFile("0" * 64, 1)
    (report.path / "BACKUP.json").write_bytes(listed.to_bytes())
    assert restore(report.path, tmp_path / "new").left_out == []
    Versions(Home(tmp_path / "new")).verify("v000001")


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("pattern", ["photos/??/??/*", "indexes/v000002/rows.npy", "glossary.csv"])
def test_a_damaged_file_does_not_go_from_backup_to_backup(
    home: Home, tmp_path: Path, pattern: str, link: bool
) -> None:
    """One flipped bit in the newest backup: the next one has the home's bytes, so that it restores
    when ``--keep`` has ended the other."""
    first = back_up(home, tmp_path / "backups")
    flip(sorted(first.path.glob(pattern))[0])
    second = back_up(home, tmp_path / "backups", keep=1, link=link)
    assert second.removed == [first.path.name]
    assert restore(tmp_path / "backups", tmp_path / "new").left_out == []


def test_the_last_sound_copy_of_a_photo_is_not_ended(home: Home, tmp_path: Path) -> None:
    """It was lost at home, and is damaged in the newest backup: the next one has it from the
    backup before, which ``--keep`` then ends."""
    backups = tmp_path / "backups"
    back_up(home, backups)
    photo = sorted(home.photos.glob("??/??/*"))[0].relative_to(home.path)
    copies = list_backups(backups)
    (copies[0] / photo).rename(tmp_path / "aside")
    second = back_up(home, backups)
    shutil.move(tmp_path / "aside", copies[0] / photo)
    flip(second.path / photo)
    (home.path / photo).unlink()
    third = back_up(home, backups, keep=1)
    assert (third.left_out, len(third.removed)) == ([], 2)
    assert restore(backups, tmp_path / "new").left_out == []


def test_a_clock_that_went_back_ends_no_new_backup(home: Home, tmp_path: Path) -> None:
    """The one just made is the newest by its name, and the one that is kept and restored."""
    folder = tmp_path / "backups"
    back_up(home, folder).path.rename(folder / "20991231T000000.000000Z")
    with open_catalog(home) as catalog:
        put(catalog, "later", add_photo(home, 200))
    report = back_up(home, folder, keep=1)
    assert report.removed == ["20991231T000000.000000Z"]
    assert list_backups(folder) == [report.path]
    assert restore(folder, tmp_path / "new").products == PRODUCTS + 2
