"""Photos that are decoded when they are asked for."""

from __future__ import annotations

import io
from functools import partial

import pytest
from PIL import Image

from indexer.core.errors import BadImageError
from indexer.imaging.photo_sequence import PhotoSequence


def test_each_is_read_when_it_is_asked_for() -> None:
    """By place, in parts and one after another, as a list of them would give it."""
    asked = []

    def read(number: int) -> bytes:
        asked.append(number)
        stream = io.BytesIO()
        Image.new("RGB", (40 + number, 64)).save(stream, "JPEG")
        return stream.getvalue()

    photos = PhotoSequence([partial(read, number) for number in range(5)], shrink_to=8)
    assert (len(photos), len(photos[1:4]), asked) == (5, 3, [])
    assert photos[2].width == 42
    assert photos[2].pixels.size == (21, 32)
    assert [photo.width for photo in photos[3:]] == [43, 44]
    assert asked == [2, 2, 3, 4]
    assert [photo.width for photo in photos] == [40, 41, 42, 43, 44]
    with pytest.raises(BadImageError):
        PhotoSequence([lambda: b""])[0]
