"""Files of many parts are refused by a count, before anything is read part by part."""

from __future__ import annotations

import io
import time

import pytest
from PIL import Image

from indexer.core.errors import BadImageError
from indexer.imaging.decode import decode_photo
from indexer.imaging.file_structure import is_bounded_directory
from tests.indexer.imaging import hostile_files as hostile


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (hostile.scans(3000), "scans"),
        (hostile.segments(2_000_000), "segments"),
        (hostile.chunks(700_000), "chunks"),
        (hostile.blocks(4_000_000), "blocks"),
        (hostile.runs(3_000_000), "run-length"),
        (hostile.strips(2_000_000), "directory"),
        (hostile.directory(300, 1_000_000), "directory"),
        (hostile.jpeg_with(b"Exif\0\0" + hostile.directory(2000, 30_000)), "EXIF"),
    ],
    ids=["scans", "segments", "chunks", "blocks", "runs", "strips", "directory", "exif"],
)
def test_many_parts_are_refused_at_once(data: bytes, reason: str) -> None:
    """Each took seconds to minutes or gigabytes, in a library that cannot be stopped."""
    started = time.process_time()
    with pytest.raises(BadImageError, match=reason):
        decode_photo(data)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize("data", [hostile.chunks(1000), hostile.scans(20)], ids=["chunks", "scans"])
def test_as_many_as_photos_have_are_read(data: bytes) -> None:
    """A limit is far above what cameras and editors write."""
    assert decode_photo(data).pixels.width in (8, 2048)


@pytest.mark.parametrize("name", ["PNG", "WEBP"])
def test_exif_data_that_grow_are_not_read(name: str) -> None:
    """A good picture with a directory that points a thousand times at the same bytes is as it is
    stored; with an honest one it is turned."""
    size = 30_000
    bomb, honest = hostile.directory(2000, size), hostile.directory(1, size)
    assert not is_bounded_directory(b"Exif\0\0" + bomb)
    assert is_bounded_directory(honest)
    for exif, found in ((bomb, (20, 10)), (honest, (10, 20))):
        out = io.BytesIO()
        Image.new("RGB", (20, 10)).save(out, name, exif=b"Exif\0\0" + exif)
        assert decode_photo(out.getvalue()).pixels.size == found
