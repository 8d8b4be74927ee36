"""Files of many parts are refused by a count, before anything is read part by part."""

from __future__ import annotations

import io
import struct
import time

import pytest
from PIL import Image

from indexer.core.errors import BadImageError, UnsupportedFormatError
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
        (hostile.exif_segments(9_000, 2_000), "EXIF"),
        (hostile.profiles(2_000), "profiles"),
    ],
    ids=[
        *("scans", "segments", "chunks", "blocks", "runs", "strips", "directory", "exif"),
        *("exif segments", "profiles"),
    ],
)
def test_many_parts_are_refused_at_once(data: bytes, reason: str) -> None:
    """Each took seconds to minutes or gigabytes, in a library that cannot be stopped."""
    started = time.process_time()
    with pytest.raises(BadImageError, match=reason):
        decode_photo(data)
    assert time.process_time() - started < 0.5


@pytest.mark.parametrize(
    "data",
    [
        hostile.chunks(1000),
        hostile.scans(20),
        hostile.profiles(2),
        hostile.exif_segments(20, 60_000),
    ],
    ids=["chunks", "scans", "profiles", "exif segments"],
)
def test_as_many_as_photos_have_are_read(data: bytes) -> None:
    """A limit is far above what cameras and editors write."""
    assert decode_photo(data).pixels.width in (8, 16, 2048)


@pytest.mark.parametrize(
    ("twice", "named"),
    [
        ((322, 64), "tag 322 twice"),
        ((257, 8), "tag 257 twice"),
        ((273, 8), "strips and tiles"),
        ((317, 2), "tag 317 twice"),
    ],
)
def test_a_tiff_that_can_be_read_in_two_ways_is_refused(twice: tuple[int, int], named: str) -> None:
    """Of two values of a tag, Pillow takes the last and libtiff the first: what was counted would
    not be what is unpacked."""
    block = bytes(64 * 64)
    sound = hostile.same_blocks((64, 64), block, 1, t322=64, t317=1, t323=64, t65000=9)
    assert decode_photo(sound).width == 64
    odd = sound.replace(
        struct.pack("<HHII", 65000, 4, 1, 9), struct.pack("<HHII", twice[0], 4, 1, twice[1])
    )
    with pytest.raises(BadImageError, match=named):
        decode_photo(odd)


@pytest.mark.parametrize("before", [True, False])
def test_a_png_with_two_headers_is_refused(before: bool) -> None:
    """Pillow takes the last one, wherever it stands; what was counted was read of the first."""
    sound = hostile.chunks(1)
    other = hostile.chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    at = 8 if before else sound.index(b"prVt") - 4
    assert decode_photo(sound).width == 8
    with pytest.raises(BadImageError, match="not one header"):
        decode_photo(sound[:at] + other + sound[at:])
    with pytest.raises(BadImageError, match="not one header"):
        decode_photo(sound[:8] + hostile.chunk(b"prVt") + sound[8:])


def test_a_tiff_whose_directory_has_two_places_is_refused() -> None:
    """Pillow seeks a big-endian BigTIFF's directory where a TIFF has it: neither was counted."""
    with pytest.raises(UnsupportedFormatError, match="big-endian"):
        decode_photo(b"MM\0+\0\0\0\x10" + bytes(200))


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
