"""Colour profiles of strangers cost what their bytes do."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
from PIL import Image, ImageCms

from indexer.imaging.color_profile import bounded_profile
from indexer.imaging.decode import decode_photo

ELEMENTS = 8_000


def endless(name: bytes = b"D2B0") -> bytes:
    """A profile whose tag applies one matrix thousands of times."""
    matrix = struct.pack(">4sIHH12f", b"matf", 0, 3, 3, *np.eye(3).ravel(), 0, 0, 0)
    head = struct.pack(">4sIHHI", b"mpet", 0, 3, 3, ELEMENTS)
    place = struct.pack(">II", len(head) + 8 * ELEMENTS, len(matrix))
    tag = head + place * ELEMENTS + matrix
    start = 128 + 4 + 12
    profile = bytearray(128)
    profile[:4] = struct.pack(">I", start + len(tag))
    profile[8:24] = b"\x04\x30\0\0mntrRGB XYZ "
    profile[36:40] = b"acsp"
    profile[68:80] = struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    return bytes(profile) + struct.pack(">I4sII", 1, name, start, len(tag)) + tag


@pytest.mark.parametrize("name", [b"D2B0", b"D2B1", b"A2B0"])
def test_elements_without_end_are_not_read(name: bytes) -> None:
    """The photo is decoded at once, in the colours that it has."""
    picture = Image.new("RGB", (40, 30), (200, 30, 60))
    out = io.BytesIO()
    picture.save(out, "PNG", icc_profile=endless(name))
    begun = time.process_time()
    photo = decode_photo(out.getvalue())
    assert time.process_time() - begun < 1
    assert photo.pixels.getpixel((5, 5)) == (200, 30, 60)


def test_a_plain_profile_stays_as_it_is() -> None:
    """Byte for byte; what is too short, too long or has too many tags is none."""
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert bounded_profile(plain) == plain
    assert bounded_profile(plain[:100]) is None
    assert bounded_profile(plain + b"\0" * 2**23) is None
    assert bounded_profile(plain[:128] + struct.pack(">I", 101) + plain[132:]) is None
    assert bounded_profile("text") is None
