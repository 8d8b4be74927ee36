"""Pictures of HEVC are counted by the slices that begin one."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from indexer.imaging.hevc_frames import MOST_UNITS, count_frames


def unit(kind: int, first: bool, length_bytes: int) -> bytes:
    """A unit behind its length."""
    body = bytes([kind << 1, 1, first << 7])
    return struct.pack(">I", len(body))[4 - length_bytes :] + body


@pytest.mark.parametrize("length_bytes", [1, 2, 4])
def test_slices_that_begin_a_picture(length_bytes: int) -> None:
    """Parameter sets and later slices are none."""
    parts = [(32, True), (33, True), (19, True), (19, False), (1, True), (39, True)]
    data = b"".join(unit(kind, first, length_bytes) for kind, first in parts)
    assert count_frames(data, length_bytes) == 2
    assert count_frames(data[:-2], length_bytes) == 2
    assert count_frames(unit(40, False, length_bytes) * 30_000, length_bytes) > MOST_UNITS


def test_a_real_photo_is_one_picture() -> None:
    """As an encoder writes it."""
    pillow_heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.radial_gradient("L").convert("RGB")).save(out)
    data = out.getvalue()
    assert count_frames(data[data.index(b"mdat") + 4 :], 4) == 1
