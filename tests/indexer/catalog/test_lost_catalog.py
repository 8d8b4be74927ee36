"""A catalog that is not there is never taken for one that is empty: nothing goes because it does
not name it."""

from __future__ import annotations

import io
import json
import os
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.catalog import presence, store
from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.schema import APPLICATION_ID, FORMAT, TABLES
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import (
    BadHomeError,
    BadProductError,
    BusyError,
    CatalogBehindError,
    MissingCatalogError,
)
from indexer.core.home import Active, Home
from indexer.core.sqlite import connect
from indexer.feeds.import_options import ImportOptions
from indexer.feeds.importer import import_feed
from indexer.index.embedding_store import EmbeddingStore
from indexer.index.version import Versions
from indexer.index_build.pipeline import build_index
from indexer.operations import erasure, garbage_collection
from indexer.operations.migrate import migrate
from service.engine import Engine
from service.settings import Settings
from tests.indexer.conftest import copy_home
from tests.indexer.index_build.test_pipeline import (
    FakeBundle,
    FakeEmbedder,
    add_photo,
    build,
    colour,
    put,
)
from tools import cli
from tools.doctor import _home

PRODUCTS = 60


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """60 products, a photo each, two versions of which the second serves; the photos are older than
    any write."""
    home = Home.create(tmp_path_factory.mktemp("lost") / "home")
    with open_catalog(home) as catalog:
        for i in range(PRODUCTS):
            put(catalog, f"p{i}", add_photo(home, i))
    for _ in range(2):
        Versions(home).activate(str(build(home).version), model_embedding_id=lambda model: "e1")
    for path in garbage_collection.photo_files(home):
        os.utime(path, (1, 1))
    return home


@pytest.fixture
def home(template: Home, tmp_path: Path) -> Home:
    return copy_home(template, tmp_path)


def photo_bytes(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), colour(number)).save(buffer, "PNG")
    return buffer.getvalue()


def lose(home: Home) -> None:
    for path in home.path.glob("catalog.sqlite3*"):
        path.unlink()


def empty(home: Home) -> None:
    """Somebody puts a fresh catalog in the place of the lost one; then a product comes and goes."""
    lose(home)
    Catalog.create(home.catalog_file, photos=home.photos).close()
    with Catalog.open(home.catalog_file, photos=home.photos) as catalog:
        put(catalog, "new", add_photo(home, 200))
        PhotoStore(home).collect(catalog, catalog.delete("new").orphaned)


def held(home: Home) -> tuple[int, int, list[int]]:
    """How many originals, embeddings, and products of each version there are."""
    vectors = EmbeddingStore(home.embeddings, "e1", 6)
    versions = Versions(home)
    counts = [len(np.unique(versions.open(name).rows[:, 0])) for name in versions.names()]
    return len(list(garbage_collection.photo_files(home))), len(vectors), counts


WHOLE = (PRODUCTS, PRODUCTS, [PRODUCTS, PRODUCTS])


def feed(home: Home) -> Path:
    """A folder to import."""
    folder = home.path.parent / "feed"
    folder.mkdir()
    shutil.copy(next(garbage_collection.photo_files(home)), folder / "1.png")
    return folder


@pytest.mark.parametrize("left", [None, b"", b"\0" * 512])
def test_each_way_in_refuses_a_home_whose_catalog_is_missing(
    home: Home, left: bytes | None
) -> None:
    """Serving, importing, dry runs, building, erasing, collecting, migrating: named, and nothing is
    made or lost.

    So it is with a file that holds nothing.
    """
    lose(home)
    if left is not None:
        home.catalog_file.write_bytes(left)
    data = feed(home)
    for work in (
        lambda: Engine(Settings(home=home.path)),
        lambda: import_feed(home, data),
        lambda: import_feed(home, data, ImportOptions(dry_run=True)),
        lambda: build_index(home, bundle=FakeBundle(), embedder=FakeEmbedder()),  # type: ignore[arg-type]
        lambda: erasure.erase(home),
        lambda: garbage_collection.tidy(home),
        lambda: migrate(home),
    ):
        with pytest.raises(
            MissingCatalogError,
            match=r"catalog\.sqlite3 (is missing|holds nothing), but the home holds",
        ):
            work()
    assert (home.catalog_file.read_bytes() if home.catalog_file.exists() else None) == left
    assert held(home) == WHOLE


def test_the_commands_say_it(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and one line that names the file and what to do; ``doctor`` counts it as a
    problem."""
    lose(home)
    place = ["--home", str(home.path)]
    for command in (
        ["import", str(feed(home))],
        ["index", "erase"],
        ["index", "gc"],
        ["serve"],
        ["schema"],
    ):
        assert cli.run([*command, *place]) == 1
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"{home.catalog_file} is missing" in said
        assert "put the catalog back from a backup" in said
    problems: list[str] = []
    _home(home.path, problems)
    assert any("catalog.sqlite3 is missing" in problem for problem in problems)
    assert not home.catalog_file.exists()
    assert held(home) == WHOLE


@pytest.mark.parametrize(
    "kept", ["photos", "embeddings", "indexes", "CURRENT", "signatures.sqlite3"]
)
def test_any_one_thing_that_comes_from_a_catalog_is_enough(home: Home, kept: str) -> None:
    """What is left alone in a home asks for its catalog too."""
    home.signatures_file.touch()
    for path in home.path.iterdir():
        if path.name not in (kept, "home.json"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(MissingCatalogError):
        open_catalog(home)


def test_a_home_without_anything_of_a_catalog_gets_one(home: Home) -> None:
    """Models, locks, jobs, a glossary and empty folders are no reason to refuse."""
    for path in home.path.iterdir():
        if path.name != "home.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("models/m1", "jobs/1", "locks", "photos/ab/cd", "embeddings", "indexes"):
        (home.path / name).mkdir(parents=True)
    (home.path / "glossary.csv").write_text("term,meaning\n")
    with open_catalog(home) as catalog:
        assert len(catalog) == 0


def test_a_catalog_that_is_all_in_its_log_is_no_missing_one(tmp_path: Path) -> None:
    """Killed before SQLite folded its log in once, a catalog is a page and a log; what it holds is
    found there."""
    home = Home.create(tmp_path / "home")
    home.catalog_file.touch()
    with closing(connect(home.catalog_file, isolation_level=None)) as made:
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("PRAGMA wal_autocheckpoint = 0")
        made.executescript(TABLES)
        made.execute("INSERT INTO attribute_types (name, type) VALUES ('size', 'number')")
        made.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        made.execute(f"PRAGMA user_version = {FORMAT}")
        add_photo(home, 1)
        assert home.catalog_file.stat().st_size <= 4096
        with open_catalog(home) as catalog:
            assert catalog.types() == {"size": "number"}


def test_a_catalog_behind_its_versions_is_refused(home: Home, tmp_path: Path) -> None:
    """An old backup ends before what a version holds; both numbers are said. With the newest one
    all is well again."""
    with open_catalog(home) as catalog:
        catalog.database.checkpoint()
    shutil.copy(home.catalog_file, tmp_path / "old")
    with open_catalog(home) as catalog:
        put(catalog, "late", add_photo(home, 100))
        catalog.database.checkpoint()
    build(home)
    shutil.copy(home.catalog_file, tmp_path / "newest")
    lose(home)
    shutil.copy(tmp_path / "old", home.catalog_file)
    with pytest.raises(
        CatalogBehindError, match=r"ends with change 60, but index version v000003 .* up to 61"
    ):
        open_catalog(home)
    with pytest.raises(CatalogBehindError):
        erasure.erase(home)
    assert held(home) == (PRODUCTS + 1, PRODUCTS + 1, [PRODUCTS, PRODUCTS, PRODUCTS + 1])
    shutil.copy(tmp_path / "newest", home.catalog_file)
    with open_catalog(home) as catalog:
        assert len(catalog) == PRODUCTS + 1


def test_another_catalog_is_refused_however_far_it_went(home: Home) -> None:
    """A catalog made anew has another identity; after the way out that the message names, it
    serves."""
    lose(home)
    with Catalog.create(home.catalog_file, photos=home.photos) as catalog:
        for i in range(PRODUCTS + 5):
            put(catalog, f"other{i}", add_photo(home, i))
    with pytest.raises(
        CatalogBehindError, match="is not the catalog that index version v000001 was built from"
    ) as refused:
        open_catalog(home)
    assert "catalens verify --repair" in str(refused.value)
    for name in ("CURRENT", "indexes"):
        (home.path / name).rename(home.path.parent / name)
    assert build(home).products == PRODUCTS + 5


def test_an_empty_catalog_in_its_place_erases_nothing(home: Home) -> None:
    """PUT, DELETE and erase over a fresh catalog: refused by identity, and nothing is lost."""
    empty(home)
    with pytest.raises(CatalogBehindError):
        erasure.erase(home)
    assert held(home) == WHOLE


def test_too_many_photos_without_a_product_stop_an_erasure(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no version tells the catalog from another, the photos do; a home without versions is
    guarded by them."""
    empty(home)
    shutil.rmtree(home.indexes)
    home.current_file.unlink()
    with pytest.raises(
        CatalogBehindError,
        match=r"of 60 photos in .* names 0, and no deletion of the others was recorded",
    ):
        erasure.erase(home)
    assert len(list(garbage_collection.photo_files(home))) == PRODUCTS
    monkeypatch.setattr(garbage_collection, "_MOST_STRAYS", 1.0)
    assert erasure.erase(home).strays == PRODUCTS
    assert len(list(garbage_collection.photo_files(home))) == PRODUCTS


def test_what_was_never_given_a_number_is_not_deleted(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both guards off, an erasure over an empty catalog takes no original, no embedding and no
    row."""
    lose(home)
    monkeypatch.setattr(store, "check_lineage", lambda home, catalog: None)
    monkeypatch.setattr(presence, "_derived", lambda home: [])
    monkeypatch.setattr(garbage_collection, "_MOST_STRAYS", 1.0)
    done = erasure.erase(home)
    assert (done.rewritten, done.rows, done.vectors, done.photos, done.strays) == (
        {},
        0,
        0,
        0,
        PRODUCTS,
    )
    assert held(home) == WHOLE


def test_a_refused_import_takes_no_photo_that_was_there_before(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of products that the catalog refuses, the photos that this import copied go; what lay there
    already stays."""
    kept = add_photo(home, 150)  # an original that no product has
    data = home.path.parent / "feed"
    data.mkdir()
    for number in (150, 151):
        (data / f"{number}.png").write_bytes(photo_bytes(number))
    refuse = BadProductError("no")
    monkeypatch.setattr(Catalog, "apply", lambda self, writes, **options: [refuse for _ in writes])
    assert len(import_feed(home, data).skipped) == 2
    assert len(list(garbage_collection.photo_files(home))) == PRODUCTS + 1
    assert PhotoStore(home).has_copy(kept.content_hash)


@pytest.mark.parametrize("failure", [BusyError("locked"), RecursionError(), KeyboardInterrupt()])
def test_an_import_that_ends_early_leaves_no_photo_without_a_product(
    home: Home, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    """Whatever ended it: what was committed before has its photos, what was not leaves none."""
    data = home.path.parent / "feed"
    data.mkdir()
    for number in (150, 151):
        (data / f"{number}.png").write_bytes(photo_bytes(number))

    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(Catalog, "apply", fail)
    with pytest.raises(type(failure)):
        import_feed(home, data)
    assert len(list(garbage_collection.photo_files(home))) == PRODUCTS


def test_nothing_is_superseded_while_it_is_not_known_what_serves(home: Home) -> None:
    """Without CURRENT, or both records of activations, or the active version's folder, no version
    is removed."""
    build(home)
    names = Versions(home).names()
    record, current = home.indexes / "ACTIVATIONS", home.current_file
    # As an older Catalens wrote it, which repeats no record and has no checksum of it.
    home.activate(Active("v000002", "m1"))
    stored, later = json.loads(current.read_text()), ("before", "seal")
    current.write_text(json.dumps({name: stored[name] for name in stored if name not in later}))
    for path in (record, current, home.indexes / "v000002"):
        path.rename(home.path.parent / "away")
        assert garbage_collection.tidy(home).removed == []
        (home.path.parent / "away").rename(path)
    assert Versions(home).names() == names


@pytest.mark.parametrize("files", [0, 200])
def test_a_folder_is_no_catalog(tmp_path: Path, files: int) -> None:
    """A folder of any size in the catalog's place is named as one."""
    home = Home.create(tmp_path / "home")
    home.catalog_file.mkdir()
    for number in range(files):
        (home.catalog_file / f"{number:0100}").touch()
    with pytest.raises(BadHomeError, match="is a folder, no catalog"):
        open_catalog(home)
    with pytest.raises(BadHomeError, match="is a folder, no catalog"):
        presence.has_catalog(home)
