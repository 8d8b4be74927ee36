"""Transparent colours of PNGs of every depth."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.imaging.decode import decode_photo
from tests.indexer.imaging.made_files import png

DOWN, ACROSS = np.mgrid[0:16, 0:32]


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode_photo(data).pixels).astype(int)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_one_grey_is_transparent(bits: int) -> None:
    """The value that the file names, and no other, is white; 16 bits of black too."""
    top = 2**bits - 1
    values = ACROSS % (top + 1) if bits < 16 else ACROSS * 2000
    for clear in (0, int(values[0, 2]), int(values[0, 1])):
        want = np.where(values == clear, 255, np.round(values / top * 255))
        found = pixels(png(values, 0, bits, [clear]))
        assert np.abs(found - want[..., None]).max() <= 1


def test_all_sixteen_bits_of_a_colour_count() -> None:
    """A black that differs from the transparent one in its last bits stays black."""
    values = np.stack([ACROSS * 2000, DOWN * 4000, ACROSS * 1000], -1)
    values[5, 5] = 0, 0, 1
    values[6, 6] = 0
    found = pixels(png(values, 2, 16, [0, 0, 0]))
    assert found[5, 5].tolist() == [0, 0, 0]
    assert found[6, 6].tolist() == [255, 255, 255]
    others = (values != 0).any(-1)
    assert (found[others] == values[others] >> 8).all()
