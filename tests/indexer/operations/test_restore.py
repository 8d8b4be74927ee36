"""Tests of ``indexer.operations.restore`` on backups that somebody else made: each is refused in a
sentence, and nothing of it stays."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from indexer.catalog.store import open_catalog
from indexer.core import home_clock
from indexer.core.atomic_files import canonical_json
from indexer.core.errors import BadBackupError, BadHomeError, CatalensError
from indexer.core.home import Home
from indexer.core.home_clock import clock_fault, latest_time
from indexer.core.sqlite import connect
from indexer.duplicates.hash_store import SignatureStore
from indexer.operations import restore as restoring
from indexer.operations.backup import back_up
from indexer.operations.backup_files import read_list
from indexer.operations.made_backups import made_backups
from indexer.operations.restore import restore
from indexer.operations.verification import verify_home
from indexer.reviews.store import open_reviews
from tests.indexer.index_build.test_pipeline import add_photo, put
from tests.set_clock import SetClock


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A backup of a home with two products."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        for i in range(2):
            put(catalog, f"p{i}", add_photo(home, i))
    return back_up(home, tmp_path / "backups").path


def reseal(backup: Path, **changes: Any) -> None:
    """Write the list anew: with the checksums of its files as they are, and with changes."""
    listed = json.loads((backup / "BACKUP.json").read_text())
    del listed["seal"]
    for name, known in listed["files"].items():
        known["sha256"] = hashlib.sha256((backup / name).read_bytes()).hexdigest()
    listed |= changes
    seal = hashlib.sha256(canonical_json(listed)).hexdigest()
    (backup / "BACKUP.json").write_text(json.dumps({**listed, "seal": seal}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("at", None),
        ("sequence", "40"),
        ("sequence", -1),
        ("photo_bytes", None),
        ("photo_bytes", [1]),
        ("left_out", None),
        ("left_out", [{}]),
        ("files", {"home.json": {"sha256": 5, "size": 1}}),
        ("files", {"home.json": {"sha256": "x", "size": None}}),
        ("files", {"a\0b": {"sha256": "x", "size": 1}}),
        ("files", {"\x1b[31m": {"sha256": "x", "size": 1}}),
        ("files", {"a" * 300: {"sha256": "x", "size": 1}}),
    ],
)
def test_a_list_of_other_kinds_is_refused(
    backup: Path, tmp_path: Path, field: str, value: object
) -> None:
    """Anybody can seal a list: what it holds is looked at before it is counted with."""
    reseal(backup)
    assert restore(backup, tmp_path / "sound").products == 2
    reseal(backup, **{field: value})
    with pytest.raises(BadBackupError):
        restore(backup, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE photos SET content_hash = x'00ff' WHERE photo_id = 1",
        "UPDATE photos SET content_hash = '../../../outside' WHERE photo_id = 1",
        "CREATE VIEW shown AS WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x) "
        "SELECT i FROM x",
        "CREATE TRIGGER spy AFTER INSERT ON products BEGIN DELETE FROM photos; END",
        "CREATE TRIGGER unseal_row_by_tags AFTER INSERT ON tags BEGIN DELETE FROM products; END",
        "ALTER TABLE tags ADD COLUMN size AS (length(zeroblob(1000000000)))",
        "CREATE INDEX slow ON tags (printf('%1000000000d', pid))",
        "CREATE TABLE checked (a, CHECK (length(zeroblob(1000000000))))",
        "CREATE TABLE filled (a DEFAULT (zeroblob(1000000000)))",
        "CREATE VIRTUAL TABLE words USING fts5 (a)",
    ],
)
def test_a_catalog_that_catalens_did_not_make_is_refused(
    backup: Path, tmp_path: Path, statement: str
) -> None:
    """A hash that is none leads nowhere, and no statement of a stranger runs."""
    with closing(connect(backup / "catalog.sqlite3")) as sql:
        sql.execute(statement)
        sql.commit()
    reseal(backup)
    for partial in (False, True):
        with pytest.raises(CatalensError, match="somebody else"):
            restore(backup, tmp_path / "new", partial=partial)
    assert not list(tmp_path.glob(".new*"))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("ending", ["wal", "journal", "shm"])
def test_a_backup_holds_no_log_of_a_database(backup: Path, tmp_path: Path, ending: str) -> None:
    """SQLite would write it over the database whose checksum was right, after it was compared."""
    name = f"reviews.sqlite3-{ending}"
    (backup / name).write_bytes(b"log")
    listed = json.loads((backup / "BACKUP.json").read_text())["files"]
    reseal(
        backup, files={**listed, name: {"sha256": hashlib.sha256(b"log").hexdigest(), "size": 3}}
    )
    with pytest.raises(BadBackupError, match=f"names '{name}'"):
        restore(backup, tmp_path / "new", partial=True)


@pytest.mark.parametrize("name", ["BACKUP.json", "home.json"])
def test_deep_nesting_is_refused(backup: Path, tmp_path: Path, name: str) -> None:
    """Brackets by the hundred thousand are no traceback."""
    (backup / name).write_bytes(b"[" * 100_000)
    if name != "BACKUP.json":
        reseal(backup)
    with pytest.raises(CatalensError, match="nested too deep"):
        restore(backup, tmp_path / "new")


def test_a_marker_that_is_no_good_is_made_anew_or_named(backup: Path, tmp_path: Path) -> None:
    """All that it says stands in the other files; nothing is named that is gone by then."""
    whole = (backup / "home.json").read_bytes()
    for content in (whole.replace(b"1", b"7"), None):
        if content is None:
            (backup / "home.json").unlink()
        else:
            (backup / "home.json").write_bytes(content)
        new = tmp_path / f"new{content is None}"
        report = restore(backup, new)
        assert (report.left_out, report.products) == (["home.json"], 2)
        assert verify_home(new).intact
    (backup / "home.json").write_text("[]")
    reseal(backup)
    with pytest.raises(BadBackupError) as refused:
        restore(backup, tmp_path / "third")
    assert str(refused.value) == (
        f"{backup}/home.json is not readable: it holds no object; take another backup (catalens "
        "restore BACKUP)"
    )


@pytest.mark.usefixtures("backup")
def test_a_marker_made_anew_knows_of_keys_that_are_lost(tmp_path: Path) -> None:
    """Else a service of the home would ask nobody for a key: what is left out was there."""
    home = Home(tmp_path / "home")
    home.keys_file.write_text("{}")
    backup = back_up(home, tmp_path / "more").path
    for name in ("keys.json", "home.json"):
        (backup / name).write_text("damaged")
    report = restore(backup, tmp_path / "new", partial=True)
    assert sorted(report.left_out) == ["home.json", "keys.json"]
    assert Home(report.home).has_mark("keys")
    assert [damage.where for damage in verify_home(report.home).damages] == ["keys.json"]


@pytest.mark.parametrize("name", ["reviews.sqlite3", "signatures.sqlite3"])
def test_other_databases_hold_no_strangers_program(backup: Path, tmp_path: Path, name: str) -> None:
    """A trigger in the reviews is refused by name; a derived file with one is left out."""
    home = Home(tmp_path / "home")
    with closing(open_reviews(home)) as reviews:
        reviews.database.prepare()
    SignatureStore(home).close()
    made = back_up(home, tmp_path / "backups").path
    table = "reviews" if name == "reviews.sqlite3" else "signatures"
    for path in (made / name, home.path / name):
        with closing(connect(path)) as sql:
            sql.execute(f"CREATE TRIGGER spy AFTER INSERT ON {table} BEGIN DELETE FROM meta; END")
            sql.commit()
    reseal(made)
    if table == "reviews":
        with pytest.raises(BadBackupError, match=r"reviews\.sqlite3.* the trigger 'spy'"):
            restore(made, tmp_path / "new")
    else:
        assert restore(made, tmp_path / "new").left_out == [name]
    damages = [found for found in verify_home(home.path).damages if found.where == name]
    assert ["'spy'" in found.what for found in damages] == [True]


def test_a_restored_home_has_seen_the_time_of_its_backup(
    tmp_path: Path, backup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new machine's clock may be far ahead: it ends nothing, and the backup's own time is no
    jump."""
    restore(backup, tmp_path / "new")
    home = Home(tmp_path / "new")
    assert clock_fault(home) is None
    made = datetime.fromisoformat(read_list(backup).at).timestamp()
    clock = SetClock(made)
    monkeypatch.setattr(home_clock, "time", clock)
    assert latest_time(home) == made
    clock.now += 60 * 86_400
    assert "was in use last at" in str(clock_fault(home))


def test_the_new_home_knows_the_backups_of_its_catalog(tmp_path: Path, backup: Path) -> None:
    """The one that it came from and those beside it, newer ones too, since what is erased is still
    in them; none of another catalog, and none that cannot be read."""
    later = back_up(Home(tmp_path / "home"), backup.parent).path
    other = Home.create(tmp_path / "other")
    open_catalog(other).close()
    back_up(other, backup.parent)
    (backup.parent / "damaged").mkdir()
    (backup.parent / "damaged" / "BACKUP.json").write_text("{")
    restore(backup, tmp_path / "new")
    known = [made.path for made in made_backups(Home(tmp_path / "new"))]
    assert known == [str(backup), str(later)]


@pytest.mark.parametrize("why", ["mount", "rights"])
def test_an_empty_folder_that_cannot_be_replaced_is_filled(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """A mount point, or a folder in one of root's: the same folder holds the home, whole."""
    path = tmp_path / "volume"
    (path / "lost+found").mkdir(parents=True)
    (path / ".restored.1.0123abcd.tmp").mkdir()
    before = path.stat().st_ino
    access = os.access
    if why == "mount":
        monkeypatch.setattr(Path, "is_mount", lambda found: found == path)
    else:
        monkeypatch.setattr(
            os, "access", lambda found, mode: Path(found) != tmp_path and access(found, mode)
        )
    monkeypatch.setattr(Path, "rmdir", lambda _: pytest.fail("busy"))
    report = restore(backup, path)
    assert (report.home, report.products) == (path, 2)
    assert path.stat().st_ino == before
    assert not list(path.glob(".*"))
    assert verify_home(path).intact
    with pytest.raises(CatalensError, match="is there already"):
        restore(backup, path)


def test_a_folder_that_is_as_good_as_empty_is_filled(backup: Path, tmp_path: Path) -> None:
    """One with what a file system makes, one with what a killed restore left, one in a folder of
    all, and one that a link leads to, which stays a link: no copy is made in vain. It is its
    owner's alone then."""
    (tmp_path / "found" / "lost+found").mkdir(parents=True)
    (tmp_path / "killed" / ".restored.1.0123abcd.tmp" / "photos").mkdir(parents=True)
    (tmp_path / "all").mkdir()
    (tmp_path / "all").chmod(0o1777)
    (tmp_path / "all" / "mine").mkdir()
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    for name in ("found", "killed", "all/mine"):
        (tmp_path / name).chmod(0o755)
    for name in ("found", "killed", "link", "all/mine"):
        report = restore(backup, tmp_path / name)
        assert (report.home, report.products) == (tmp_path / name, 2)
        assert not list((tmp_path / name).glob(".*"))
        assert verify_home(tmp_path / name).intact
        assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert (tmp_path / "link").is_symlink()
    assert Home(tmp_path / "disk").path.is_dir()


@pytest.mark.parametrize("leads_to", ["nowhere", "home", "itself", "backup"])
def test_a_link_that_cannot_be_filled_is_refused_before_the_copy(
    backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leads_to: str
) -> None:
    """To nothing, as to a disk that is not mounted, to a home, to itself, or into a backup."""
    places = {"nowhere": tmp_path / "disk" / "shop", "home": tmp_path / "home"}
    places |= {"itself": tmp_path / "link", "backup": backup / "empty"}
    (backup / "empty").mkdir()
    (tmp_path / "link").symlink_to(places[leads_to])
    monkeypatch.setattr(restoring, "copy_hashed", lambda *_: pytest.fail("copied"))
    with pytest.raises(BadHomeError, match=r"where nothing is|is there already|in the backup"):
        restore(backup, tmp_path / "link")
    assert not (tmp_path / "disk").exists()


@pytest.mark.parametrize("partial", [False, True])
def test_a_backup_that_is_deleted_meanwhile_is_not_called_damaged(
    backup: Path, tmp_path: Path, partial: bool
) -> None:
    """As by ``backup --keep`` beside it: no home stands, and none without the photos either."""

    def delete(stage: str, done: int, _: int) -> None:
        if backup.exists() and (stage == "photos" or (not partial and done)):
            shutil.rmtree(backup)

    with pytest.raises(BadBackupError, match="was deleted while it was restored"):
        restore(backup, tmp_path / "new", partial=partial, progress=delete)
    assert not (tmp_path / "new").exists()
