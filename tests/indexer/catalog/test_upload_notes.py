"""Photos' files that a killed process wrote for products that never came are removed, and no
others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import NewPhoto
from indexer.catalog.store import Catalog, open_catalog
from indexer.catalog.upload_notes import (
    UploadNotes,
    are_uploads_left,
    collect_uploads,
    noted_uploads,
)
from indexer.core.errors import DiskFullError
from indexer.core.home import Home
from indexer.operations.erasure import erase, needs_erasing
from indexer.operations.garbage_collection import sweep
from tests.indexer.index_build.test_pipeline import add_photo, build, put


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        put(catalog, "old", add_photo(home, 1))
    return home


@pytest.fixture
def catalog(home: Home) -> Iterator[Catalog]:
    with open_catalog(home) as opened:
        yield opened


def photo(home: Home, number: int) -> NewPhoto:
    """What a photo will be, without its file."""
    found = add_photo(home, number)
    PhotoStore(home).remove(found.content_hash)
    return found


def kill_between(home: Home, *numbers: int, written: int | None = None) -> list[NewPhoto]:
    """A process that is killed after it wrote these photos' files, and the product of one."""
    photos = [photo(home, number) for number in numbers]
    if (child := os.fork()) == 0:
        hashes = [one.content_hash for one in photos]
        with open_catalog(home) as opened, noted_uploads(home, opened, hashes):
            for number in numbers:
                add_photo(home, number)
            if written is not None:
                put(opened, "new", photos[numbers.index(written)])
            os._exit(9)
    assert os.waitpid(child, 0)[1] == 9 << 8
    return photos


def notes(home: Home) -> list[Path]:
    return list(home.photos.glob(".uploads.*"))


def make_old(home: Home) -> None:
    for path in notes(home):
        os.utime(path, (1, 1))


def test_a_write_that_ends_leaves_no_note(home: Home, catalog: Catalog) -> None:
    """Also one that failed, where nothing is left to clear; without a photo there is none."""
    new = photo(home, 2)
    with noted_uploads(home, catalog, [new.content_hash]) as pending:
        make_old(home)
        assert len(notes(home)) == 1
        assert not are_uploads_left(home, catalog), "its process is at it"
        assert collect_uploads(home, catalog) == []
        pending.clear()
    assert notes(home) == []
    with noted_uploads(home, catalog, []):
        assert notes(home) == []
    with pytest.raises(KeyError), noted_uploads(home, catalog, [new.content_hash]):
        raise KeyError
    assert len(notes(home)) == 1


def test_what_a_killed_write_left_goes(home: Home, catalog: Catalog) -> None:
    """Only what it noted and no product has: a photo that was committed stays, and one that was
    there before."""
    kept = add_photo(home, 9)
    left, written = kill_between(home, 2, 3, written=3)
    store = PhotoStore(home)
    assert collect_uploads(home, catalog) == [], "it may be at it where the disk knows no locks"
    make_old(home)
    assert sweep(home, after_s=0.0) == 0
    assert are_uploads_left(home, catalog)
    assert collect_uploads(home, catalog) == [left.content_hash]
    assert not store.has_copy(left.content_hash)
    assert store.has_copy(written.content_hash)
    assert store.has_copy(kept.content_hash)
    assert notes(home) == []


def test_what_another_notes_as_well_is_not_taken(home: Home, catalog: Catalog) -> None:
    """It found the file there and wrote none: the product may come with its next batch."""
    left, other = kill_between(home, 2, 3)
    make_old(home)
    kept = UploadNotes(home, catalog)
    assert kept.is_left(left.content_hash)
    kept.add([left.content_hash])
    assert collect_uploads(home, catalog) == [other.content_hash]
    kept.close()
    make_old(home)
    assert collect_uploads(home, catalog) == [left.content_hash]


def test_an_erasure_takes_them_without_a_deletion(home: Home) -> None:
    """The service looks for them; nobody has to delete a product first."""
    build(home)
    (left,) = kill_between(home, 2)
    with open_catalog(home) as catalog:
        assert not needs_erasing(home, catalog)
        make_old(home)
        assert needs_erasing(home, catalog)
        assert erase(home).strays == 0
        assert not needs_erasing(home, catalog)
    assert not PhotoStore(home).has_copy(left.content_hash)


def test_another_catalog_takes_none(home: Home, tmp_path: Path) -> None:
    """Its product may be in the catalog that was noted, for which the note stays until that is
    back; an older copy of it is another too. For a torn note nothing is done."""
    copy = tmp_path / "older.sqlite3"
    with open_catalog(home) as catalog:
        catalog.database.copy_to(copy)
        catalog.patch("old", {"title": "newer"})
    (left,) = kill_between(home, 2)
    own = home.catalog_file.rename(tmp_path / "own.sqlite3")
    with Catalog.create(home.catalog_file, photos=home.photos) as other:
        put(other, "old", add_photo(home, 1))
        torn = home.photos / ".uploads.1.0a0a0a0a.tmp"
        torn.write_text('{"catalog": [')
        make_old(home)
        assert are_uploads_left(home, other)
        assert collect_uploads(home, other) == []
        assert not torn.exists()
        assert not are_uploads_left(home, other), "nothing that it could ever take"
    copy.replace(home.catalog_file)
    with open_catalog(home) as older:
        assert collect_uploads(home, older) == []
    assert PhotoStore(home).has_copy(left.content_hash)
    own.replace(home.catalog_file)
    with open_catalog(home) as catalog:
        assert are_uploads_left(home, catalog)
        assert collect_uploads(home, catalog) == [left.content_hash]
    assert notes(home) == []


def test_a_note_that_nothing_can_prove_any_more_goes(home: Home, catalog: Catalog) -> None:
    """Its state was compacted away: the catalog that was noted can take nothing for it, ever."""
    (left,) = kill_between(home, 2)
    catalog.patch("old", {"title": "newer"})
    with catalog.database.transaction() as sql:
        sql.execute("DELETE FROM stamps WHERE sequence < (SELECT max(sequence) FROM stamps)")
    make_old(home)
    assert collect_uploads(home, catalog) == []
    assert PhotoStore(home).has_copy(left.content_hash)
    assert notes(home) == []


def test_a_full_disk_is_told_before_anything_is_written(
    home: Home, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every other file that cannot be written."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DiskFullError), noted_uploads(home, catalog, ["0" * 64]):
        pass
    assert notes(home) == []


def test_notes_of_an_import_follow_it(home: Home, catalog: Catalog) -> None:
    """However many come one by one there are few notes; what is settled is no longer named, and
    what is not when they are closed is collected, but not what has a product by then."""
    left, adopted = add_photo(home, 2), add_photo(home, 3)
    kept = UploadNotes(home, catalog)
    for number in range(100):
        kept.add([f"{number:064}"])
    kept.add([left.content_hash, adopted.content_hash])
    assert len(kept.pending) == 102
    assert len(notes(home)) == 2
    kept.settle(f"{number:064}" for number in range(100))
    assert kept.pending == {left.content_hash, adopted.content_hash}
    make_old(home)
    assert len(notes(home)) == 1
    assert collect_uploads(home, catalog) == [], "its process is at it"
    kept.close()
    put(catalog, "new", adopted)
    assert collect_uploads(home, catalog) == [left.content_hash]
    assert notes(home) == []


def test_a_catalog_that_was_never_written_to_knows_its_note(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    with open_catalog(home) as catalog:
        left = add_photo(home, 2)
        kept = UploadNotes(home, catalog)
        kept.add([left.content_hash])
        kept.close()
        make_old(home)
        assert collect_uploads(home, catalog) == [left.content_hash]
