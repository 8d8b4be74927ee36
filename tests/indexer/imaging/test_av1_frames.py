"""Frames of AV1 are counted from their headers."""

from __future__ import annotations

import io
import struct

import pytest
from PIL import Image

from indexer.core.errors import BadImageError
from indexer.imaging.av1_frames import count_pixels
from tests.indexer.imaging.heif_files import av1


def written(bits: str) -> bytes:
    """Bits as bytes."""
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def unit(kind: int, body: bytes) -> bytes:
    """A unit with its size."""
    return bytes([kind << 3 | 2, len(body)]) + body


# A sequence of 64 x 64 px whose frames may say up to 16 bits of another size: profile, still,
# reduced, times, delay, points, idc, level, bits, sizes, no numbers, tools, order, screen content.
SEQUENCE = unit(
    1,
    written(
        "000"
        + "00"
        + "00"
        + "00000"
        + "0" * 12
        + "00000"
        + "1111"
        + "1111"
        + f"{63:016b}" * 2
        + "0"
        + "000"
        + "0000"
        + "0"
        + "0"
        + "0"
    ),
)


@pytest.mark.parametrize(
    ("header", "pixels"),
    [
        # a shown key frame: not seen before, key, shown, cdf, no size of its own
        ("0" + "00" + "1" + "0" + "0", 2**14),
        ("0" + "00" + "1" + "0" + "1", 2**28),
        # a hidden one, showable, with resilience
        ("0" + "00" + "0" + "1" + "1" + "0" + "0", 2**14),
        ("0" + "00" + "0" + "1" + "1" + "0" + "1", 2**28),
        # a frame seen before, which is shown again
        ("1" + "000", 2**14),
        # a switch frame always has a size of its own
        ("0" + "11" + "1" + "0", 2**28),
    ],
)
def test_a_frame_of_its_own_size_counts_as_the_largest(header: str, pixels: int) -> None:
    """It may be larger than its sequence says; a small one counts as what any frame takes."""
    assert count_pixels([SEQUENCE + unit(6, written(header) + bytes(8))]) == [pixels]


def test_frames_of_real_files() -> None:
    """A still, the same still often, and all frames of an animation, hidden ones too."""
    assert count_pixels([av1(300, 200)[0], av1(300, 200, frames=7)[0]]) == [60_000, 420_000]
    shown = [Image.radial_gradient("L").rotate(9 * place).convert("RGB") for place in range(9)]
    out = io.BytesIO()
    shown[0].save(out, "AVIF", save_all=True, append_images=shown[1:], speed=8)
    data = out.getvalue()
    found = count_pixels([data[data.index(b"mdat") + 4 :]])[0]
    assert found % 256**2 == 0
    assert 9 * 256**2 <= found <= 20 * 256**2


def test_units_without_end_are_refused() -> None:
    """Each is a step of Python's; all pieces of a file count together."""
    empty = struct.pack(">BB", 2 << 3 | 2, 0)
    with pytest.raises(BadImageError, match="units"):
        count_pixels([empty * 6000] * 2)
    assert count_pixels([b"", b"\xff", b"\x0a\xff\xff", empty * 100]) == [0, 0, 0, 0]
