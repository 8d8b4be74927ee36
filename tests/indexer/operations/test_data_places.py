"""Where data lies: no file of a home is left out, and each place of a product is named."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import open_catalog
from indexer.core.atomic_files import remove_folder
from indexer.core.errors import UnknownProductError
from indexer.core.home import Home
from indexer.fetch.state import FetchState, URLState
from indexer.index.pushed import note_pushed, pushed_folders
from indexer.model.feature_store import FeatureCache
from indexer.operations import erasure
from indexer.operations.backup import back_up
from indexer.operations.backup_files import LIST
from indexer.operations.data_places import UNKNOWN, find_places, place_of
from indexer.operations.jobs import Jobs
from indexer.operations.made_backups import made_backups, mark_folder, note_backup
from indexer.operations.product_places import ProductPlace, _photos, find_product
from indexer.reviews.store import Preview, open_reviews
from tests.indexer.conftest import copy_home, move_to_other_disk
from tests.indexer.index_build.test_pipeline import build, template
from tools import cli

__all__ = ["template"]


@pytest.fixture
def home(template: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with a version, reviews, addresses, a job, and a cache beside it."""
    home = copy_home(template, tmp_path)
    monkeypatch.setenv("CATALENS_CACHE", str(tmp_path / "cache"))
    build(home, activate=False)
    note_pushed(home, tmp_path / "depot")
    Jobs(home).add("build", {})
    with open_catalog(home) as catalog, open_reviews(home) as reviews:
        photo = catalog.photo(catalog.get("p3").photos[0])
        assert photo is not None
        PhotoStore(home).thumbnail(photo, 160)
        name = reviews.open_review({}, [Preview(photo.content_hash, b"jpeg")])
        reviews.decide(name, "approve", reason="as p3, or p4")
        reviews.add_feedback([{"accepted": [], "pid": catalog.pid("p3")}])
        with FetchState(home.fetch_file) as state:
            state.record(URLState("http://a/3.jpg", photo.content_hash))
        with closing(FeatureCache(tmp_path / "cache", "f" + "0" * 32)) as cache:
            cache.put([(photo.content_hash, "f" * 64, np.zeros(4, np.float16))])
    return home


def test_folders_that_are_links_to_another_disk_are_listed(home: Home, tmp_path: Path) -> None:
    """Those at the home's top; what lies deeper is not followed."""
    with open_catalog(home) as catalog:
        before = {place.place: (place.files, place.bytes) for place in find_places(home, catalog)}
        for name in ("photos", "thumbnails", "jobs"):
            move_to_other_disk(home, tmp_path, name)
        (home.photos / "deeper").symlink_to(home.indexes)
        after = {place.place: (place.files, place.bytes) for place in find_places(home, catalog)}
    assert after == before
    assert before["photos"][0]


def test_no_file_of_a_home_is_left_out(home: Home) -> None:
    """Files and bytes of the places are those of the folder; what lies outside is named, and so is
    a file that nobody knows."""
    with open_catalog(home) as catalog:
        found = {place.place: place for place in find_places(home, catalog)}
        assert UNKNOWN not in found
        inside = [place for place in found.values() if place.path.startswith(str(home.path))]
        files = [path for path in home.path.rglob("*") if path.is_file()]
        assert sum(place.files or 0 for place in inside) == len(files)
        assert sum(place.bytes or 0 for place in inside) == sum(p.stat().st_size for p in files)
        assert found["pushed versions"].path == str(home.path.parent / "depot")
        assert found["feature cache"].files == 1
        assert {"logs", "other backups", "photos", "reviews"} <= set(found)
        assert all(place.ends and place.holds for place in found.values())
        (home.path / "notes.txt").write_text("p3")
        (strange,) = [p for p in find_places(home, catalog) if p.place == UNKNOWN]
        assert (strange.path, strange.files) == (str(home.path / "notes.txt"), 1)


def test_every_place_of_a_product_is_named(home: Home) -> None:
    with open_catalog(home) as catalog:
        found = find_product(home, catalog, "p3")
        content_hash = catalog.get("p3").photos[0]
        with pytest.raises(UnknownProductError):
            find_product(home, catalog, "never")
    counts = {(place.place, place.what): place.entries for place in found}
    assert counts == {
        ("catalog", "the product"): 1,
        ("catalog", "changes"): 1,
        ("photos", "an original photo"): 1,
        ("thumbnails", "160 px"): 1,
        ("embeddings", "vectors"): 1,
        ("keywords", "its words"): 1,
        ("index versions", "rows with their vectors"): 1,
        ("addresses of photos", "addresses"): 1,
        ("reviews", "entries about it"): 1,
        ("reviews", "entries about others that name it"): 1,
        ("reviews", "small photos"): 1,
        ("feature cache", "features of photos"): 1,
    }
    assert str(home.path / "thumbnails" / content_hash[:2] / f"{content_hash}-160.jpg") in [
        place.path for place in found
    ]


def test_a_model_with_a_class_of_its_photo_is_a_place(home: Home) -> None:
    with open_catalog(home) as catalog:
        photo = catalog.get("p3").photos[0]
        for name, hashes in (("m7", [photo, "ab" * 32]), ("m8", ["ab" * 32])):
            (home.models / name).mkdir(parents=True)
            entry = {"id": 1, "category": None, "photos": hashes}
            (home.models / name / "decision.json").write_text(json.dumps({"few_shot": [entry]}))
        found = [place for place in find_product(home, catalog, "p3") if place.place == "models"]
    assert [(place.path, place.what, place.entries) for place in found] == [
        (str(home.models / "m7"), "classes made from its photos", 1)
    ]


def test_a_copy_of_a_referenced_photo_is_a_place(home: Home) -> None:
    """Which an import that ended halfway left; and what a repair set aside."""
    with open_catalog(home) as catalog:
        photo = catalog.photo(catalog.get("p3").photos[0])
        assert photo is not None
        (home.damaged / photo.content_hash).parent.mkdir()
        (home.damaged / photo.content_hash).touch()
        referenced = replace(photo, storage="reference", path="/away/a.jpg")
        found = [place.place for place in _photos(home, [referenced])]
    assert found == ["referenced photos", "photos", "set aside", "thumbnails"]


def test_backups_that_are_there_are_named(
    home: Home,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each until it goes: those whose disk is away are only out of sight. An erasure names them."""
    kept, disk = tmp_path / "kept", tmp_path / "disk"
    back_up(home, kept)
    (first,) = made_backups(home)
    for path in (kept / "later", disk / "one"):
        path.mkdir(parents=True)
        (path / LIST).write_text("{}")
        note_backup(home, path, "9999-01-01T00:00:00.000000+00:00")
    with open_catalog(home) as catalog:
        found = {p.path: p for p in find_places(home, catalog) if p.place == "backups"}
        assert set(found) == {str(kept), str(disk)}
        assert found[str(kept)].holds.startswith(
            f"2 backups of {first.at[:19]}Z to 9999-01-01T00:00:00Z, each all of the home as it was"
        )
        (told,) = (p for p in find_product(home, catalog, "p3") if p.path == str(kept))
        assert (told.place, told.entries) == ("backups", None)
    remove_folder(Path(first.path))
    remove_folder(disk)
    assert [made.path for made in made_backups(home)] == [str(kept / "later"), str(disk / "one")]
    monkeypatch.setattr(erasure, "erase", lambda *_, **__: erasure.Erased(rows=1))
    assert cli.run(["index", "erase", "--home", str(home.path)]) == 0
    assert f"may still be in the backup {disk / 'one'}" in capsys.readouterr().err


def noted(home: Home, path: Path) -> None:
    """Have a backup that holds nothing be there, and be known."""
    path.mkdir(parents=True)
    (path / LIST).write_text("{}")
    assert note_backup(home, path, f"2026-01-01T00:00:00.{path.name}+00:00") == ""


def known_backups(home: Home) -> list[str]:
    return [Path(made.path).name for made in made_backups(home)]


def test_a_backup_out_of_sight_is_not_forgotten(tmp_path: Path) -> None:
    """Where its disk is away, an empty mount point or another disk stands in its place: it stays
    named, whatever backups are made there or elsewhere meanwhile, until its own folder is seen
    without it."""
    home = Home.create(tmp_path / "home")
    mount, away = tmp_path / "mount", tmp_path / "away"
    mount.mkdir()
    mark_folder(mount)
    noted(home, mount / "1")
    noted(home, mount / "2")
    mount.rename(away)
    mount.mkdir()
    assert known_backups(home) == ["1", "2"]
    mark_folder(mount)
    noted(home, mount / "3")
    remove_folder(away / "1")
    assert known_backups(home) == ["1", "2", "3"]
    remove_folder(mount)
    away.rename(mount)
    noted(home, tmp_path / "elsewhere" / "4")
    # The third lies below the mount point, out of sight now.
    assert known_backups(home) == ["2", "3", "4"]


def test_backups_that_a_release_before_noted(tmp_path: Path) -> None:
    """Without the id of their folder: gone where another one is seen there, and not where none is;
    the next backup in the folder notes its id with those that are there."""
    home, folder = Home.create(tmp_path / "home"), tmp_path / "mount"
    noted(home, folder / "1")
    noted(home, folder / "2")
    assert '"folder"' not in (home.path / "backups.json").read_text()
    remove_folder(folder / "1")
    assert known_backups(home) == ["2"]
    mark_folder(folder)
    noted(home, folder / "3")
    assert (home.path / "backups.json").read_text().count('"folder"') == 2
    folder.rename(tmp_path / "away")
    folder.mkdir()
    assert known_backups(home) == ["2", "3"]


def test_a_file_that_no_store_knows_is_found_by_the_id(home: Home) -> None:
    """Its id in any other file of the home is a place too."""
    with open_catalog(home) as catalog:
        catalog.patch("p3", {"title": "x"})
        (home.path / "notes.txt").write_text('{"like": "p3"}')
        found = find_product(home, catalog, "p3")
    assert ProductPlace(UNKNOWN, str(home.path / "notes.txt"), "its id", None) in found


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("catalog.sqlite3-wal", "catalog"),
        (".home.json.12.0123abcd.tmp", "leftovers"),
        ("indexes/LAST", "index versions"),
        ("other/catalog.sqlite3", UNKNOWN),
    ],
)
def test_a_file_belongs_to_one_place(path: str, place: str) -> None:
    assert place_of(Path(path)) == place


def test_a_folder_that_is_no_utf_8_is_remembered_and_named(
    home: Home, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the path that it is, and printed with its bytes escaped."""
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    assert cli.run(["backup", str(odd), "--home", str(home.path)]) == 0
    note_pushed(home, odd / "depot")
    assert "caf\\xe9" in capfd.readouterr().out
    assert [Path(made.path).parent for made in made_backups(home)] == [odd]
    assert odd / "depot" in pushed_folders(home)
    assert cli.run(["where", "--home", str(home.path)]) == 0
    assert "caf\\xe9" in capfd.readouterr().out
    assert cli.run(["where", "--home", str(home.path), "--json"]) == 0
    places = json.loads(capfd.readouterr().out)
    assert str(odd) in json.dumps(places, ensure_ascii=False)


def test_a_backup_that_the_home_cannot_note_is_told(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is made, and whoever made it knows that no erasure will name it."""
    (home.path / "backups.json").write_text("[")
    made = back_up(home, tmp_path / "kept")
    assert "backups.json cannot be read" in made.not_noted
    assert "delete it" in made.not_noted
    assert cli.run(["backup", str(tmp_path / "kept"), "--home", str(home.path)]) == 0
    assert "erasures will not name it" in capsys.readouterr().out
    assert (home.path / "backups.json").read_text() == "["
