"""Originals are kept exactly, thumbnails are small, nothing in use is removed."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.records import NewPhoto, PhotoRow, ProductInput
from indexer.catalog.store import Catalog, open_catalog
from indexer.core.errors import BadRequestError, UnknownPhotoError
from indexer.core.home import Home
from indexer.imaging.decode import decode_photo
from tools.bench.harness.photo_server import photo_bytes


def jpeg(
    width: int = 900,
    height: int = 600,
    colour: tuple[int, int, int] = (200, 30, 30),
    **options: object,
) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(stream, "JPEG", quality=90, **options)
    return stream.getvalue()


def stored(new: NewPhoto) -> PhotoRow:
    return PhotoRow(**vars(new), photo_id=1)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> PhotoStore:
    return PhotoStore(home)


def test_a_copy_is_byte_for_byte(store: PhotoStore, home: Home) -> None:
    """The original lies under its hash and comes back unchanged; adding it again writes nothing."""
    data = jpeg()
    new = store.add(data, decode_photo(data))
    path = home.photos / new.content_hash[:2] / new.content_hash[2:4] / new.content_hash
    assert path.read_bytes() == data == store.read(stored(new))
    assert (new.format, new.bytes, new.width, new.height, new.storage) == (
        "JPEG",
        len(data),
        900,
        600,
        "copy",
    )
    before = path.stat().st_mtime_ns
    store.add(data, decode_photo(data))
    assert path.stat().st_mtime_ns == before
    assert [found for found in home.photos.rglob("*") if found.is_file()] == [path]


@pytest.mark.parametrize("storage", ["copy", "reference"])
def test_a_changed_or_vanished_file_is_named(
    store: PhotoStore, home: Home, tmp_path: Path, storage: str
) -> None:
    """No other picture is ever served under a hash."""
    data = jpeg()
    new = store.add(data, decode_photo(data))
    path = next(found for found in home.photos.rglob("*") if found.is_file())
    if storage == "reference":
        path = tmp_path / "own.jpg"
        path.write_bytes(data)
        new = NewPhoto(**{**vars(new), "storage": "reference", "path": str(path)})
    assert store.read(stored(new)) == data
    path.write_bytes(data[:-1])
    with pytest.raises(UnknownPhotoError, match=f"{path.name} was changed"):
        store.read(stored(new))
    path.unlink()
    with pytest.raises(UnknownPhotoError, match=f"{path.name} cannot be read: No such file"):
        store.thumbnail(stored(new), 160)


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [
        ((900, 600), 160, (160, 107)),
        ((900, 600), 640, (640, 427)),
        ((100, 50), 320, (100, 50)),
        ((40, 4000), 160, (6, 640)),
        ((3000, 2), 160, (160, 1)),
    ],
)
def test_thumbnail_sizes(
    store: PhotoStore, size: tuple[int, int], width: int, expected: tuple[int, int]
) -> None:
    """At most the asked width, in proportion, never enlarged; very tall photos are bounded too."""
    data = jpeg(*size)
    thumbnail = Image.open(
        io.BytesIO(store.thumbnail(stored(store.add(data, decode_photo(data))), width))
    )
    assert (thumbnail.format, thumbnail.size) == ("JPEG", expected)
    assert np.abs(np.asarray(thumbnail, float).mean((0, 1)) - (200, 30, 30)).max() < 4


def test_of_a_file_of_another_size_nothing_is_read(store: PhotoStore, tmp_path: Path) -> None:
    """Where a referenced photo lay there is a disk image, or a pipe: named, without its bytes."""
    data = jpeg()
    path = tmp_path / "shop.jpg"
    path.write_bytes(data)
    new = store.add(data, decode_photo(data))
    row = stored(NewPhoto(**{**vars(new), "storage": "reference", "path": str(path)}))
    assert store.read(row) == data
    with path.open("r+b") as file:
        file.truncate(2**41)  # more than any memory: reading it would raise MemoryError
    with pytest.raises(UnknownPhotoError, match="was changed since"):
        store.read(row)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UnknownPhotoError, match="not a regular file"):
        store.read(row)


def test_thumbnails_are_sharp(store: PhotoStore) -> None:
    """A reduced decode saves time, not detail: the same picture as from all pixels."""
    stripes = np.zeros((800, 1200, 3), np.uint8)
    stripes[:, ::8] = stripes[:, 1::8] = stripes[:, 2::8] = stripes[:, 3::8] = 255
    stream = io.BytesIO()
    Image.fromarray(stripes).save(stream, "JPEG", quality=95)
    data = stream.getvalue()
    thumbnail = np.asarray(
        Image.open(io.BytesIO(store.thumbnail(stored(store.add(data, decode_photo(data))), 640))),
        float,
    )
    whole = np.asarray(Image.fromarray(stripes).resize((640, 427), Image.Resampling.LANCZOS), float)
    assert np.abs(thumbnail - whole).mean() < 6


def test_thumbnails_of_shops_photos_come_from_half_of_them(
    store: PhotoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1200 px, which most shops have, to 320: decoded at half its size, and nobody can tell."""
    data = photo_bytes("a photo", 1200)
    decoded: list[tuple[int, int]] = []

    def decode(*arguments: Any, **options: Any) -> Any:
        photo = decode_photo(*arguments, **options)
        decoded.append(photo.pixels.size)
        return photo

    new = store.add(data, decode_photo(data))
    monkeypatch.setattr("indexer.catalog.photo_store.decode_photo", decode)
    made = Image.open(io.BytesIO(store.thumbnail(stored(new), 320)))
    assert decoded == [(600, 600)]
    whole = Image.open(io.BytesIO(data)).resize((320, 320), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    whole.save(stream, "JPEG", quality=85)
    usual = np.asarray(Image.open(stream), float)
    found, wanted = np.asarray(made, float), np.asarray(whole, float)
    # Mean squares: what the reduced decode adds is little beside what the compression costs.
    noise = ((usual - wanted) ** 2).mean()
    assert ((found - wanted) ** 2).mean() < 1.1 * noise
    assert ((found - usual) ** 2).mean() < noise / 5


def test_thumbnails_are_upright(store: PhotoStore) -> None:
    """A photo taken on its side is shown upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(900, 600, exif=exif)
    thumbnail = Image.open(
        io.BytesIO(store.thumbnail(stored(store.add(data, decode_photo(data))), 320))
    )
    assert thumbnail.size == (320, 480)


def test_thumbnails_are_kept(store: PhotoStore, home: Home) -> None:
    """The second call is answered from disk; one that was changed there is made again; another
    width is refused."""
    data = jpeg()
    row = stored(store.add(data, decode_photo(data)))
    first = store.thumbnail(row, 160)
    (kept,) = [path for path in home.thumbnails.rglob("*") if path.is_file()]
    assert kept.read_bytes() == first
    written = kept.stat().st_mtime_ns
    assert store.thumbnail(row, 160) == first
    assert kept.stat().st_mtime_ns == written
    for changed in (b"kept", first[:-9] + bytes([first[-9] ^ 1]) + first[-8:], first[:40], b""):
        kept.write_bytes(changed)
        assert store.thumbnail(row, 160) == first
    with pytest.raises(BadRequestError, match="161 is none of 160, 320, 640"):
        store.thumbnail(row, 161)


def test_only_unused_photos_are_collected(store: PhotoStore, home: Home) -> None:
    """A photo that came back into use between delete and removal stays; an erased one goes with its
    thumbnails."""
    kept, gone = jpeg(colour=(1, 2, 3)), jpeg(colour=(9, 9, 9))
    with open_catalog(home) as catalog:
        _two_products(catalog, store, kept, gone)
        orphaned = [found for id_ in ("a", "b") for found in catalog.delete(id_).orphaned]
        rows = [stored(store.add(data, decode_photo(data))) for data in (kept, gone)]
        for row in rows:
            store.thumbnail(row, 320)
        catalog.put(
            ProductInput("c", None, None, (), {}, (rows[0].content_hash,)), photos=[rows[0]]
        )
        assert store.collect(catalog, orphaned) == [rows[1].content_hash]
    assert store.read(rows[0]) == kept
    assert [store.has_copy(row.content_hash) for row in rows] == [True, False]
    assert [path.name for path in home.thumbnails.rglob("*.jpg")] == [
        f"{rows[0].content_hash}-320.jpg"
    ]


def test_a_copy_that_no_write_took_goes(store: PhotoStore, home: Home) -> None:
    """Of a photo that stays referenced, with its thumbnails; not one that the catalog knows as a
    copy, and none that another made."""
    pictures = [jpeg(colour=(90 * number, 2, 3)) for number in range(3)]
    with open_catalog(home) as catalog:
        rows = [store.add(data, decode_photo(data)) for data in pictures]
        for row, storage in zip(rows, ("reference", "copy", "reference"), strict=True):
            photo = replace(row, storage=storage, path="/a.jpg" if storage != "copy" else None)
            catalog.put(
                ProductInput(row.content_hash, None, None, (), {}, (row.content_hash,)),
                photos=[photo],
            )
        store.thumbnail(stored(rows[0]), 320)
        own = [row.content_hash for row in rows[:2]]
        assert store.collect(catalog, (), own=own) == []
    assert [store.has_copy(row.content_hash) for row in rows] == [False, True, True]
    assert len(list(home.thumbnails.rglob("*.jpg"))) == 1


def _two_products(catalog: Catalog, store: PhotoStore, *photos: bytes) -> None:
    for product_id, data in zip(("a", "b"), photos, strict=True):
        new = store.add(data, decode_photo(data))
        catalog.put(ProductInput(product_id, None, None, (), {}, (new.content_hash,)), photos=[new])
