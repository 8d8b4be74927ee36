"""Promise: a home that forgets photos keeps their vectors and thumbnails, and loses none."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.catalog import photo_store
from indexer.catalog.photo_store import PhotoStore, kept_thumbnail
from indexer.catalog.records import NewPhoto, PhotoRow, ProductInput
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import (
    BadBackupError,
    BadImageError,
    DiskFullError,
    UnknownPhotoError,
)
from indexer.core.home import Home
from indexer.duplicates.hash_store import SignatureStore
from indexer.fetch.settings import FetchSettings
from indexer.imaging.decode import decode_photo
from indexer.index.embedding_store import EmbeddingStore
from indexer.index_build.pipeline import build_index
from indexer.operations import garbage_collection
from indexer.operations.backup import back_up
from indexer.operations.forget_photos import PhotoForgetter
from indexer.operations.garbage_collection import tidy
from indexer.operations.home_fetcher import home_fetcher
from indexer.operations.restore import restore
from indexer.operations.verification import verify_home
from tests.indexer.index_build.test_pipeline import DIM, FakeBundle, FakeEmbedder
from tools.bench.harness.photo_server import PhotoServer, photo_bytes, running


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


@pytest.fixture
def server() -> Iterator[PhotoServer]:
    with running() as found:
        yield found


def forgetter_of(home: Home, embedder: Any = None) -> PhotoForgetter:
    return PhotoForgetter(home, FakeBundle(), embedder=embedder or FakeEmbedder())  # type: ignore[arg-type]


def put(home: Home, photos: dict[str, NewPhoto], server: PhotoServer | None = None) -> None:
    """One product for each photo, named by its path, with the address on ``server``."""
    with open_catalog(home) as catalog:
        for path, photo in photos.items():
            url = {photo.content_hash: f"http://{server.endpoint}{path}"} if server else {}
            product = ProductInput(path, None, None, (), {}, (photo.content_hash,), sources=url)
            catalog.put(product, photos=[photo])


def kept(forgetter: PhotoForgetter, *numbers: int, pixels: int = 500) -> dict[str, NewPhoto]:
    found = {}
    for number in numbers:
        path = f"/photo/{number}.jpg"
        data = photo_bytes(path, pixels)
        found[path] = forgetter.keep(data, decode_photo(data))
    return found


def files(home: Home) -> int:
    return sum(path.is_file() for path in home.photos.rglob("*"))


def stored(home: Home, catalog: Catalog) -> tuple[np.ndarray, np.ndarray]:
    """Ids of photos with a vector, and with a signature."""
    store = EmbeddingStore(home.embeddings, "e1", DIM)
    signatures = SignatureStore(home)
    found = store.ids(), signatures.ids()
    store.close()
    signatures.close()
    return found


def test_vectors_and_thumbnails_stay_and_bytes_go(home: Home) -> None:
    """After ``settle`` no original lies in the home; search, duplicates and the page go on."""
    forgetter = forgetter_of(home)
    photos = kept(forgetter, 1, 2, 3)
    assert forgetter.settle() == 0
    put(home, photos)
    assert files(home) == 3
    assert forgetter.settle() == 3
    assert forgetter.report.forgotten == 3
    assert files(home) == 0
    with open_catalog(home) as catalog:
        rows = catalog.photos_by_hash(photo.content_hash for photo in photos.values())
        ids = sorted(row.photo_id for row in rows.values())
        vectors, signatures = stored(home, catalog)
        assert vectors.tolist() == signatures.tolist() == ids
        store, row = PhotoStore(home), next(iter(rows.values()))
        for width, wanted in ((160, 160), (320, 320), (640, 320)):
            assert decode_photo(store.thumbnail(row, width)).width == wanted
        with pytest.raises(UnknownPhotoError, match="--photos forget"):
            store.read(row)
    report = build_index(home, FakeBundle())  # type: ignore[arg-type]
    assert (report.entries, report.embedded, report.skipped) == (3, 0, [])


def test_a_kill_before_it_settles_loses_nothing(home: Home) -> None:
    """Bytes that a killed import left are taken up by the next forgetter, and no others."""
    put(home, kept(forgetter_of(home), 1, 2))
    data = photo_bytes("/photo/9.jpg", 64)
    copy = PhotoStore(home).add(data, decode_photo(data))
    with open_catalog(home) as catalog:
        product = ProductInput("copy", None, None, (), {}, (copy.content_hash,))
        catalog.put(product, photos=[copy])
    again = forgetter_of(home)
    assert again.settle() == 2
    assert files(home) == 1
    assert again.settle() == 0


def test_it_settles_while_photos_come(home: Home) -> None:
    """Photos kept in one thread while another one settles are all settled once."""
    forgetter = forgetter_of(home)
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            forgetter.settle()

    thread = threading.Thread(target=work)
    thread.start()
    for number in range(12):
        put(home, kept(forgetter, number, pixels=64))
    ended.set()
    thread.join()
    forgetter.settle()
    assert forgetter.report.forgotten == 12
    assert files(home) == 0


def test_thumbnails_are_made_beside_each_other(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are most of the work: two are in it at once, and what one of them raises is raised."""
    together = threading.Barrier(2, timeout=5)
    drop = PhotoStore.drop

    def dropped(self: PhotoStore, row: PhotoRow) -> None:
        together.wait()
        drop(self, row)

    monkeypatch.setattr(PhotoStore, "drop", dropped)
    forgetter = forgetter_of(home)
    put(home, kept(forgetter, 1, 2, pixels=64))
    assert forgetter.settle() == 2
    assert files(home) == 0
    put(home, kept(forgetter, 3, 4, pixels=64))
    together.abort()
    with pytest.raises(threading.BrokenBarrierError):
        forgetter.settle()
    assert files(home) == 2


def test_another_model_fetches_them_again(home: Home, server: PhotoServer) -> None:
    """Without vectors of a model, photos come from their addresses; what does not come is skipped
    with its reason, and nothing stays on the disk."""
    forgetter = forgetter_of(home)
    photos = kept(forgetter, 1, 2, 3, pixels=64)
    data = photo_bytes("gone", 64)
    photos["/404/1.jpg"] = forgetter.keep(data, decode_photo(data))
    data = photo_bytes("other", 64)
    photos["/photo/7.jpg"] = forgetter.keep(data, decode_photo(data))
    put(home, photos, server)
    data = photo_bytes("nowhere", 64)
    put(home, {"no address": forgetter.keep(data, decode_photo(data))})
    forgetter.settle()
    settings = FetchSettings(private=frozenset({server.endpoint}))
    report = build_index(
        home,
        FakeBundle("e2", "m2"),  # type: ignore[arg-type]
        embedder=FakeEmbedder(),  # type: ignore[arg-type]
        open_fetcher=partial(home_fetcher, home, settings),
    )
    assert (report.entries, report.embedded) == (3, 3)
    assert sorted(entry.reason for entry in report.skipped) == [
        "HTTP 404 (not found)",
        "its address gives another photo now: import the feed again",
        "its bytes were not kept, and no address of it is known",
    ]
    assert files(home) == 0


def test_the_only_picture_is_in_no_list_of_what_can_go(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home of forgotten photos: a full disk's message names no thumbnails, a backup holds them,
    and ``verify`` names one that is gone."""
    forgetter = forgetter_of(home)
    photos = kept(forgetter, 1, 2)
    put(home, photos)
    forgetter.settle()
    hashes = [photo.content_hash for photo in photos.values()]
    assert verify_home(home.path).intact

    def open_full(home: Home) -> Catalog:
        raise DiskFullError("its disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(garbage_collection, "open_catalog", open_full)
        with pytest.raises(DiskFullError) as refused:
            tidy(home)
    assert "old backup" in str(refused.value)
    assert "thumbnails" not in str(refused.value)

    first = back_up(home, tmp_path / "backups")
    second = back_up(home, tmp_path / "backups")
    assert first.left_out == second.left_out == []
    assert second.copied_bytes < first.copied_bytes
    restored = restore(second.path, tmp_path / "back")
    assert restored.left_out == []
    back = Home(tmp_path / "back")
    assert verify_home(back.path).intact
    with open_catalog(back) as catalog:
        for content_hash in hashes:
            row = catalog.photo(content_hash)
            assert row is not None
            assert PhotoStore(back).thumbnail(row, 320)

    kept_thumbnail(home.thumbnails, hashes[0]).unlink()
    whole = kept_thumbnail(home.thumbnails, hashes[1])
    whole.write_bytes(whole.read_bytes()[:-1] + b"x")
    found = verify_home(home.path).damages
    assert [damage.where for damage in found] == ["thumbnails", "thumbnails"]
    said = sorted(damage.what.split(";")[0][-11:] for damage in found)
    assert said == [" is missing", "was changed"]
    # Those of the backup before are whole.
    assert back_up(home, tmp_path / "backups").left_out == []
    third = back_up(home, tmp_path / "elsewhere")
    assert sorted(third.left_out) == sorted(
        f"thumbnails/{name[:2]}/{name}-320.jpg" for name in hashes
    )
    report = restore(third.path, tmp_path / "other")
    assert report.left_out == third.left_out
    # A backup of an older release has none of them.
    shutil.rmtree(second.path / "thumbnails")
    assert restore(second.path, tmp_path / "older").left_out == ["thumbnails"]
    # One that was lost in the backup is as any other file of it.
    kept_thumbnail(first.path / "thumbnails", hashes[0]).unlink()
    with pytest.raises(BadBackupError, match="thumbnails/"):
        restore(first.path, tmp_path / "refused")
    assert len(restore(first.path, tmp_path / "part", partial=True).left_out) == 1


def test_a_photo_of_which_no_thumbnail_can_be_made_lost_none(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where decoding fails, an empty file says so, and ``verify`` calls the home intact."""

    def fail(*_: Any, **__: Any) -> Any:
        raise BadImageError("damaged further in")

    forgetter = forgetter_of(home)
    photos = kept(forgetter, 1)
    put(home, photos)
    with monkeypatch.context() as patched:
        patched.setattr(photo_store, "decode_photo", fail)
        forgetter.settle()
    assert files(home) == 0
    assert verify_home(home.path).intact
    with open_catalog(home) as catalog:
        (row,) = catalog.photos_by_hash(photo.content_hash for photo in photos.values()).values()
        with pytest.raises(UnknownPhotoError, match="--photos forget"):
            PhotoStore(home).thumbnail(row, 160)
