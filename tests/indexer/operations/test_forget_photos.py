"""Promise: a home that forgets photos keeps their vectors and thumbnails, and loses none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import NewPhoto, PhotoRow, ProductInput
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import UnknownPhotoError
from indexer.core.home import Home
from indexer.duplicates.hash_store import SignatureStore
from indexer.fetch.settings import FetchSettings
from indexer.imaging.decode import decode_photo
from indexer.index.embedding_store import EmbeddingStore
from indexer.index_build.pipeline import build_index
from indexer.operations.forget_photos import PhotoForgetter
from indexer.operations.home_fetcher import home_fetcher
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
