"""Tests of indexer.imaging.avif_boxes: bounds on the tables of an AVIF."""

from __future__ import annotations

import io
import struct
import time

import pytest
from PIL import Image

from indexer.core.errors import BadImageError
from indexer.imaging.avif_boxes import are_bounded
from indexer.imaging.decode import decode_photo


def _photo(frames: int = 1) -> bytes:
    out = io.BytesIO()
    shown = [Image.new("RGB", (64, 64), (place * 20, 9, 9)) for place in range(frames)]
    shown[0].save(out, "AVIF", save_all=frames > 1, append_images=shown[1:])
    return out.getvalue()


def _with_items(items: int, *, part: int = 0) -> bytes:
    """An AVIF whose table of places names ``items`` more, each of two parts of ``part`` bytes."""
    data = _photo()
    meta, at = data.index(b"meta") - 4, data.index(b"iloc") - 4
    meta_size, size = (int.from_bytes(data[one : one + 4], "big") for one in (meta, at))
    _, _, _, offset, length = struct.unpack(">HHHII", data[at + 16 : at + 30])
    parts = struct.pack(">II", 0, part) * 2 if part else b""
    more = b"".join(
        struct.pack(">IHHH", 1000 + number, 0, 0, 2 if part else 0) + parts
        for number in range(items)
    )
    grown = 8 + 10 + 18 + len(more) - size
    table = b"\2\0\0\0\x44\0" + struct.pack(">I", items + 1)
    table += struct.pack(">IHHHII", 1, 0, 0, 1, offset + grown, length) + more
    box = struct.pack(">I4s", 8 + len(table), b"iloc") + table
    head = data[:meta] + struct.pack(">I", meta_size + grown) + data[meta + 4 : at]
    return head + box + data[at + size :]


def test_a_table_of_items_without_end_is_refused_at_once() -> None:
    """libavif searches all items for each that a table names, holding Python's lock: 400 KB of
    them are refused before it is asked, and those of a large picture are read."""
    began = time.process_time()
    with pytest.raises(BadImageError, match="AVIF"):
        decode_photo(_with_items(40_000))
    assert time.process_time() - began < 0.5
    assert decode_photo(_with_items(1000)).width == 64


def test_items_that_are_the_same_bytes_and_boxes_without_end_are_not_bounded() -> None:
    """Items of two parts are copied each: together they may be no more than some of the file."""
    assert are_bounded(_photo())
    assert are_bounded(_photo(frames=4))
    assert are_bounded(_with_items(100, part=1000))
    assert not are_bounded(_with_items(200, part=1_000_000))
    assert not are_bounded(_photo() + b"\0\0\0\x08free" * 100_000)
    assert are_bounded(_photo()[:40])
