"""``verify`` reads the whole home, names what mends each damage, and the repair does it."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import photo_file
from indexer.catalog.store import Catalog, open_catalog
from indexer.core import sqlite, sqlite_failures
from indexer.core.atomic_files import (
    read_sealed_json,
    read_sealed_texts,
    write_sealed_json,
    write_sealed_texts,
)
from indexer.core.errors import (
    BadHomeError,
    CatalogBehindError,
    DiskFullError,
    MissingReviewsError,
    ReadOnlyError,
)
from indexer.core.home import Active, Home
from indexer.feeds.importer import import_feed
from indexer.imaging.decode import decode_photo
from indexer.index.pushed import note_pushed, pushed_folders
from indexer.index.version import Versions
from indexer.operations import repair, state_files, verification
from indexer.operations.made_backups import MadeBackup, made_backups, mark_folder, note_backup
from indexer.operations.migrate import migrate
from indexer.operations.repair import repair_home
from indexer.operations.state_files import check_state
from indexer.operations.verification import verify_home
from indexer.reviews.store import Preview, open_reviews
from tests.indexer.index_build.test_pipeline import add_photo, build, put
from tools import cli


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    """Three photos in a folder."""
    folder = tmp_path / "feed"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (40, 40), (80 * number, 9, 9)).save(folder / f"p{number}.png")
    return folder


@pytest.fixture
def home(tmp_path: Path, feed: Path) -> Home:
    """A home with three products."""
    home = Home.create(tmp_path / "home")
    import_feed(home, feed)
    return home


def original(home: Home, product_id: str) -> Path:
    with open_catalog(home) as catalog:
        return photo_file(home.photos, catalog.get(product_id).photos[0])


def test_a_changed_original_is_set_aside_and_comes_again(home: Home, feed: Path) -> None:
    """It is found by its hash, the product is named, and after the repair an import brings it,
    though the feed did not change."""
    path = original(home, "p1")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    found = verify_home(home.path)
    assert [damage.where for damage in found.damages] == ["photos"]
    assert "photo of 'p1'" in found.damages[0].what
    assert "catalens verify --repair" in found.damages[0].mend
    quick = verify_home(home.path, read_photos=False)
    assert quick.intact
    assert any("content of originals" in line for line in quick.not_checked)
    assert repair_home(home.path) == [
        "1 damaged originals were set aside in damaged/: import them again"
    ]
    assert (home.damaged / path.name).is_file()
    import_feed(home, feed)
    assert path.read_bytes() == whole
    assert verify_home(home.path).intact
    with open_catalog(home) as catalog:
        store = PhotoStore(home)
        store.collect(catalog, catalog.delete("p1").orphaned)
    assert not (home.damaged / path.name).exists()


def test_a_damaged_copy_is_replaced_when_its_photo_comes(home: Home, feed: Path) -> None:
    """A PUT of the same bytes writes the file anew, where one of its name is another."""
    path = original(home, "p1")
    whole = path.read_bytes()
    path.write_bytes(b"x")
    PhotoStore(home).add(whole, decode_photo(whole))
    assert path.read_bytes() == whole


def test_lost_reviews_are_not_taken_for_none(home: Home) -> None:
    """People's decisions are asked for; only a repair begins anew, and says so."""
    with open_reviews(home) as reviews:
        reviews.open_review({}, [])
    home.reviews_file.unlink()
    with pytest.raises(MissingReviewsError, match=r"catalens restore FROM.*verify --repair"):
        open_reviews(home)
    assert [damage.where for damage in verify_home(home.path).damages] == ["reviews.sqlite3"]
    assert repair_home(home.path)[0].startswith("reviews begin anew")
    with open_reviews(home) as reviews:
        assert reviews.waiting("open", limit=1)[1] == 0
    assert verify_home(home.path).intact


def test_reviews_of_an_older_catalens_are_said_and_sealed(home: Home) -> None:
    """Their rows and tables have no checksum until ``migrate`` gives them one."""
    with open_reviews(home) as reviews:
        reviews.open_review({"title": "a"}, [Preview("0" * 64, b"jpeg")], name="a")
        with reviews.database.statements() as sql:
            sql.execute("DELETE FROM checksums")
    (said,) = [line for line in verify_home(home.path).not_checked if "the reviews" in line]
    assert re.search("rows of the reviews that an older Catalens wrote.*catalens migrate", said)
    assert any("the reviews were given checksums" in line for line in migrate(home).migrated)
    found = verify_home(home.path)
    assert found.intact
    assert not [line for line in found.not_checked if "the reviews" in line]


def test_a_changed_review_is_found(home: Home) -> None:
    """By a checksum that each write leaves; a repair does not begin anew for it."""
    with open_reviews(home) as reviews:
        for name in ("a", "b"):
            reviews.open_review({"title": name}, [Preview("0" * 64, b"jpeg")], name=name)
        reviews.decide("a", "approve", reason="fine")
        assert verify_home(home.path).intact
        with reviews.database.statements() as sql:
            query = "SELECT name FROM sqlite_master WHERE name LIKE 'unseal_%'"
            for (name,) in sql.execute(query).fetchall():
                sql.execute(f"DROP TRIGGER {name}")
            sql.execute("UPDATE previews SET jpeg = 'jqeg' WHERE review_id = 2")
            sql.execute("UPDATE reviews SET opened = 'today' WHERE review_id = 1")
            sql.execute("UPDATE tallies SET count = 9")
    damage, table = verify_home(home.path).damages
    assert damage.what == "2 rows (review) do not match their checksum"
    assert table.what == "the table tallies does not match its checksum"
    assert "catalens restore FROM" in damage.mend
    assert repair_home(home.path) == []


def test_reviews_decided_by_an_older_release_are_not_damaged(home: Home) -> None:
    """It leaves checksums alone: the file's own triggers take those of what it changes away."""
    with open_reviews(home) as reviews:
        for name in ("a", "b"):
            reviews.open_review({"title": name}, [Preview("0" * 64, b"jpeg")], name=name)
        with reviews.database.statements() as sql:
            sql.execute("UPDATE reviews SET state = 'approved' WHERE review_id = 1")
            sql.execute("DELETE FROM previews WHERE review_id = 2")
            sql.execute("INSERT INTO reviews (name, opened, state) VALUES ('c', '', 'open')")
    assert verify_home(home.path).intact


@pytest.mark.parametrize("content", [None, "", "{", '{"format": 9}', '{"format": 0}'])
def test_a_lost_marker_is_written_anew(home: Home, content: str | None) -> None:
    """A folder that holds a home is one, whatever its marker says; what it was marked with stays
    true."""
    with open_reviews(home) as reviews:
        reviews.open_review({}, [])
    marker = home.path / "home.json"
    marker.unlink() if content is None else marker.write_text(content)
    (damage,) = verify_home(home.path).damages
    assert (damage.where, "verify --repair" in damage.mend) == ("home.json", True)
    if content != '{"format": 9}':  # the release that wrote it reads it
        with pytest.raises(BadHomeError, match=f"catalens verify --repair --home {home.path}"):
            Home(home.path)
    assert repair_home(home.path) == ["home.json was written anew"]
    assert read_sealed_json(marker) == {"format": 1, "reviews": True}
    assert verify_home(home.path).intact


def test_a_folder_that_is_no_home_is_none(tmp_path: Path) -> None:
    """Nothing is made of it."""
    for work in (verify_home, repair_home):
        with pytest.raises(BadHomeError, match="no catalens home"):
            work(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_versions_of_a_lost_catalog_go_by_a_repair(tmp_path: Path) -> None:
    """After an older catalog was put back the versions built since are refused; the repair removes
    them and no photo."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        for number in range(3):
            put(catalog, f"p{number}", add_photo(home, number))
    build(home)
    with open_catalog(home) as catalog:
        catalog.database.checkpoint()
    shutil.copy(home.catalog_file, tmp_path / "old")
    with open_catalog(home) as catalog:
        put(catalog, "late", add_photo(home, 9))
    build(home)
    for path in home.path.glob("catalog.sqlite3*"):
        path.unlink()
    shutil.copy(tmp_path / "old", home.catalog_file)
    found = verify_home(home.path)
    assert any("holds changes up to 4" in damage.what for damage in found.damages)
    assert repair_home(home.path)[0] == "index version v000002 was removed"
    open_catalog(home).close()
    assert Versions(home).names() == ["v000001"]
    assert len(list(home.photos.glob("??/??/*"))) == 4


def test_a_repair_stops_at_a_catalog_that_is_not_of_these_photos(tmp_path: Path) -> None:
    """Where most photos are of another catalog nothing is taken away."""
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        for number in range(30):
            put(catalog, f"p{number}", add_photo(home, number))
    build(home)
    for path in home.path.glob("catalog.sqlite3*"):
        path.unlink()
    Catalog.create(home.catalog_file).close()
    for path in home.photos.glob("??/??/*"):
        os.utime(path, (1, 1))
    with pytest.raises(CatalogBehindError, match="not the catalog of these photos"):
        repair_home(home.path)
    assert Versions(home).names() == ["v000001"]


def test_photos_of_no_product_are_told(home: Home) -> None:
    """They are no damage, but nothing else of the home leads to them."""
    assert not any("no product" in said for said in verify_home(home.path).not_checked)
    stray = add_photo(home, 77)
    (path,) = home.photos.rglob(stray.content_hash)
    os.utime(path, (1, 1))
    found = verify_home(home.path)
    assert found.intact
    assert any(
        said.startswith("photos of no product below") and ": 1," in said
        for said in found.not_checked
    )


def test_what_is_deleted_during_a_check_is_no_damage(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A photo whose product another process erases is not missing; a copy that came again before
    it is set aside stays."""
    looked_at = verification.photo_damage
    again = original(home, "p1")
    whole = again.read_bytes()

    def erase_before(*given: Any, **options: Any) -> str | None:
        monkeypatch.undo()
        store = PhotoStore(home)
        with open_catalog(home) as catalog:
            for product in list(catalog.iterate()):
                if product.product_id != "p1":
                    store.collect(catalog, catalog.delete(product.product_id).orphaned)
        return looked_at(*given, **options)

    monkeypatch.setattr(verification, "photo_damage", erase_before)
    found = verify_home(home.path)
    assert (found.damages, len(list(home.photos.glob("??/??/*")))) == ([], 1)

    def send_again(*given: Any, **options: Any) -> str | None:
        monkeypatch.undo()
        said = looked_at(*given, **options)
        again.write_bytes(whole)
        return said

    again.unlink()
    monkeypatch.setattr(repair, "photo_damage", send_again)
    assert repair_home(home.path) == []
    assert again.read_bytes() == whole


def test_a_file_that_goes_during_a_check_is_no_damage(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one look finds and the next does not was on its way."""

    def remove_before(path: Path) -> dict[str, Any]:
        path.unlink()
        return read_sealed_json(path)

    write_sealed_json(home.path / "duplicates.json", {"rules": []})
    monkeypatch.setattr(state_files, "read_sealed_json", remove_before)
    assert verify_home(home.path).intact


def test_each_damage_is_told_once(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Also what two steps look at; the command's last line counts, and repeats nothing."""
    home.activate(Active("v000001", "m1"))
    home.indexes.mkdir(exist_ok=True)
    (home.indexes / "ACTIVATIONS").write_text("x")
    found = verify_home(home.path)
    assert [damage.where for damage in found.damages] == ["CURRENT", "indexes/ACTIVATIONS"]
    assert cli.run(["verify", "--home", str(home.path)]) == 1
    told = capsys.readouterr()
    assert told.out.count("damaged: indexes/ACTIVATIONS: is not readable") == 1
    assert "ACTIVATIONS" not in told.err
    assert "is damaged in 2 places: each is named above" in told.err


def test_lost_or_changed_keys_are_damage(home: Home) -> None:
    """Where the service would not start, or a key ended unseen, the home is not called intact."""
    home.mark("keys")
    (missing,) = verify_home(home.path, read_photos=False).damages
    assert (missing.where, missing.derived) == ("keys.json", False)
    assert "is missing" in missing.what
    assert "catalens keys create" in missing.mend
    write_sealed_json(home.keys_file, {"format": 1, "keys": []})
    assert not verify_home(home.path, read_photos=False).damages
    home.keys_file.write_text(home.keys_file.read_text().replace("1", "2", 1))
    (changed,) = verify_home(home.path, read_photos=False).damages
    assert "checksum" in changed.what
    assert "catalens keys create" in changed.mend


@pytest.mark.parametrize("why", ["room", "rights"])
def test_what_cannot_be_read_now_is_not_damaged(
    home: Home, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """A full disk leaves SQLite no room to read, a file of another user no right to: nothing is
    called damaged, and a repair sets aside and removes nothing."""
    with open_catalog(home) as catalog, open_reviews(home, catalog):
        pass
    home.mark("reviews")
    sqlite.Database(home.path / "keywords.sqlite3", sqlite.Schema(1)).prepare()
    connect, access = sqlite.connect, os.access

    def refuse(path: Path, **options: Any) -> sqlite.Connection:
        if path.name == "catalog.sqlite3":  # which a service has open
            return connect(path, **options)
        failed = sqlite.OperationalError("disk I/O error" if why == "room" else "unable to open")
        failed.sqlite_errorcode = 4874 if why == "room" else 14
        raise failed

    def may(path: Path | str, mode: int) -> bool:
        return Path(path).name == "catalog.sqlite3" and access(path, mode)

    before = sorted(path for path in home.path.rglob("*") if "locks" not in path.parts)
    kind, words = (DiskFullError, "make room") if why == "room" else (ReadOnlyError, "chown")
    with monkeypatch.context() as patch:
        patch.setattr(sqlite, "connect", refuse)
        if why == "room":
            patch.setattr(sqlite_failures, "has_room", lambda *_: False)
        else:
            patch.setattr(sqlite_failures.os, "access", may)
            # Of what came after the look at the whole home.
            for module in (verification, repair):
                patch.setattr(module, "require_home_readable", lambda _: None)
        for ask in (verify_home, repair_home):
            with pytest.raises(kind, match=words):
                ask(home.path)
        home.reviews_file.rename(home.path / "aside")
        home.unmark("reviews")
        with pytest.raises(kind, match=rf"(keywords|embeddings).*{words}"):
            repair_home(home.path)
        (home.path / "aside").rename(home.reviews_file)
    home.mark("reviews")
    after = sorted(path for path in home.path.rglob("*") if "locks" not in path.parts)
    assert set(before) <= set(after)
    assert not home.damaged.exists()
    assert not verify_home(home.path).damages


@pytest.mark.parametrize("name", ["home.json", "CURRENT", "indexes", "indexes/v000001/a"])
def test_what_another_user_keeps_to_himself_is_not_damaged(
    home: Home, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Left by a command that root ran: a repair would take away what serves."""
    home.activate(Active("v000001", "m1"))
    (home.indexes / "v000001").mkdir(parents=True)
    (home.indexes / "v000001" / "a").write_text("x")
    access = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, mode: (
            Path(path) not in (home.path / name, home.path / "lost+found") and access(path, mode)
        ),
    )
    before = {path: path.stat().st_mtime_ns for path in home.path.rglob("*") if path.is_file()}
    (home.path / "lost+found").mkdir()  # of a disk, whose root alone may read it
    for ask in (verify_home, repair_home):
        with pytest.raises(ReadOnlyError, match=rf"{name} may not be read by this user.*chown"):
            ask(home.path)
    after = {path: path.stat().st_mtime_ns for path in home.path.rglob("*") if path.is_file()}
    assert after == before


def test_whoever_may_not_read_a_state_is_not_sent_to_a_repair(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("indexer.core.home.read_sealed_json", refuse)
    monkeypatch.setattr("indexer.core.home._read_marker", refuse)
    for read in (home.active, lambda: home.has_mark("keys"), lambda: Home(home.path)):
        with pytest.raises(ReadOnlyError, match=r"may not be read by this user.*chown"):
            read()


def test_an_original_of_another_user_is_not_set_aside(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is whole, and its products would lose their photo."""
    path = original(home, "p1")
    real = verification.sha256_file

    def refuse(file: Path) -> str:
        if file == path:
            raise PermissionError(13, "Permission denied", str(file))
        return real(file)

    monkeypatch.setattr(verification, "sha256_file", refuse)
    access = os.access
    monkeypatch.setattr(
        repair.os, "access", lambda file, mode: Path(file) != path and access(file, mode)
    )
    with pytest.raises(ReadOnlyError, match="chown"):
        repair_home(home.path)
    assert path.is_file()


def test_no_flipped_bit_hides_where_data_lies(home: Home, tmp_path: Path) -> None:
    """Folders of pushed versions, backups, and the versions that compactions made are as they were
    written, or ``verify`` names the file; those of releases before are read."""
    elsewhere = tmp_path / "elsewhere"
    note_pushed(home, elsewhere / "depot")
    elsewhere.mkdir()
    mark_folder(elsewhere)
    (elsewhere / "backup").mkdir()
    (elsewhere / "backup" / "BACKUP.json").touch()
    note_backup(home, elsewhere / "backup", "2026-01-02T03:04:05.000000+00:00")
    home.indexes.mkdir(exist_ok=True)
    write_sealed_texts(home.indexes / "FOLDED", ["v000001"])

    def known() -> list[object]:
        folded = read_sealed_texts(home.indexes / "FOLDED")
        return [pushed_folders(home), made_backups(home), folded]

    before = known()
    for name in ("pushed.json", "backups.json", "indexes/FOLDED"):
        path = home.path / name
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 2]) + whole[place + 1 :])
            if not check_state(home).damages:
                assert known() == before
        path.write_bytes(whole)
    assert verify_home(home.path).intact
    (home.path / "pushed.json").write_text('["/a"]')
    (home.path / "backups.json").write_text('[{"path": "/no/where", "at": "2026"}]')
    assert pushed_folders(home) == [Path("/a")]
    assert made_backups(home) == [MadeBackup("/no/where", "2026")]


def test_a_counter_of_versions_that_went_back_is_named(home: Home) -> None:
    """A number is given once, also where the counter is lost or lower than what served."""
    versions = Versions(home)
    home.activate(Active("v000007", "m1"))
    (home.indexes / "v000005").mkdir(parents=True)
    for content in (None, "", "3", "\xff"):
        if content is not None:
            (home.indexes / "LAST").write_text(content)
            assert [damage.path.name for damage in check_state(home).damages] == ["LAST"]
        assert versions.last_given() == 7


def test_a_secret_that_is_none_is_named(home: Home) -> None:
    """A file of before has no checksum: what stands in it says whether it was cut."""
    for content in ("garbage", "ab" * 31, "ab" * 32 + "\n" + "cd" * 32, ""):
        (home.path / "alert-secret").write_text(content)
        (damage,) = check_state(home).damages
        assert damage.path.name == "alert-secret"
        assert "alerts secret --rotate" in str(damage.mend)
    (home.path / "alert-secret").write_text("ab" * 32 + "\n")
    assert not check_state(home).damages
