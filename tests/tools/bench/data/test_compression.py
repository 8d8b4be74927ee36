"""Photos are encoded with the tables that a way names, at the quality asked for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from indexer.imaging.decode import decode_photo
from tools.bench.data.compression import COMPRESSIONS, compressed, recompressed

RAMP = np.add.outer(np.arange(96), np.arange(128)).astype(np.uint8)
PHOTO = Image.fromarray(np.stack([RAMP, RAMP.T.reshape(96, 128), RAMP], axis=2))


@pytest.mark.parametrize("way", COMPRESSIONS)
def test_a_lower_quality_is_a_smaller_and_worse_file(way: str) -> None:
    """At quality 10 the file is smaller than at 90 and further from the photo."""
    sizes = [len(compressed(PHOTO, way, quality)) for quality in (10, 90)]
    assert sizes[0] < sizes[1]
    wanted = np.asarray(PHOTO, np.float32)
    errors = []
    for quality in (10, 90):
        found = recompressed(PHOTO, way, quality).resize(PHOTO.size)
        errors.append(np.abs(np.asarray(found, np.float32) - wanted).mean())
    assert errors[1] < errors[0]


def test_tables_are_not_those_of_pillow() -> None:
    """Neither of two tables is a multiple of Pillow's own; colours have half the size."""
    stream = io.BytesIO()
    PHOTO.save(stream, "JPEG", quality=50)
    plain = tables(stream.getvalue())[0]
    for way in ("jpeg of mozjpeg's table", "jpeg of a camera's table"):
        data = compressed(PHOTO, way, 50)
        ratio = np.array(tables(data)[0]) / np.array(plain)
        assert ratio.max() / ratio.min() > 1.5
        with Image.open(io.BytesIO(data)) as image:
            assert [layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)]


def test_a_forwarded_photo_is_smaller() -> None:
    """What a messenger sends on has .77 of the sides."""
    assert decode_photo(compressed(PHOTO, "jpeg, scaled, jpeg", 40)).pixels.size == (99, 74)


def tables(data: bytes) -> dict[int, list[int]]:
    with Image.open(io.BytesIO(data)) as image:
        return dict(image.quantization)
