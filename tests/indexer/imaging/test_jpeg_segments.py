"""Segments and scans of JPEGs, and what they cost."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from indexer.core.errors import BadImageError
from indexer.imaging.decode import decode_photo
from indexer.imaging.jpeg_segments import SCAN, count_steps, read_segments
from tests.indexer.imaging.hostile_files import scans


def saved(**options: Any) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (80, 96, 3), np.uint8)
    Image.fromarray(noise).save(out, "JPEG", **options)
    return out.getvalue()


def test_all_scans_of_a_progressive_photo_are_counted() -> None:
    """As libjpeg writes them: ten; a baseline photo has one, which costs no more than its bytes."""
    data = saved(progressive=True, subsampling=0)
    assert sum(segment.marker == SCAN for segment in read_segments(data)) == 10
    # 120 blocks of each of three components: 2 scans of one coefficient for all, then for luma the
    # coefficients 1-5, 6-63 and twice 1-63, for both others twice 1-63; 8 for each block of a scan.
    each = 120
    luma = (5 + 8) + (58 + 8) + 2 * (63 + 8)
    assert count_steps(data) == each * (2 * 3 * (1 + 8) + luma + 2 * 2 * (63 + 8))
    assert count_steps(saved()) == 0


def test_the_cost_grows_with_scans_and_with_pixels() -> None:
    """Many scans of a small picture are cheap, few of a large one are not."""
    assert count_steps(scans(500, side=256)) < count_steps(scans(100, side=2048)) < 2**30
    for data in (scans(1100, side=64), scans(240, side=2048)):
        with pytest.raises(BadImageError, match="scans or more"):
            count_steps(data)


def test_junk_between_segments_hides_no_scan() -> None:
    """libjpeg skips bytes that are no marker, so they end no count."""
    data = scans(1100, side=64)
    at = data.index(b"\xff\xc4")
    with pytest.raises(BadImageError, match="scans or more"):
        count_steps(data[:at] + b"junk" + data[at:])


def test_an_end_mark_ends_the_count() -> None:
    """What follows belongs to another picture, such as the second one of an MPO."""
    assert count_steps(saved() + scans(3000)) == 0


FRAME = b"\x03\x01\x11\x00\x02\x11\x01\x03\x11\x01"
FIRST = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00"
ONE = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (FRAME, FRAME.replace(b"\x02\x11", b"\x01\x11").replace(b"\x03\x11", b"\x01\x11"), "frame"),
        (FIRST, FIRST.replace(b"\x02\x11\x03", b"\x02\x11\x02"), "scan"),
        (FIRST, ONE.replace(b"\x01\x01", b"\x01\x09") + ONE, "does not have"),
        (b"\xff\xda", b"\xff\xc0\x00\x0b\x08\x00\x08\x00\x08\x01\x01\x11\x00\xff\xda", "two frame"),
    ],
    ids=["frame", "scan", "unknown", "two frames"],
)
def test_headers_that_can_be_understood_in_two_ways_are_refused(
    old: bytes, new: bytes, reason: str
) -> None:
    """Three components of one name were counted as one, so that its scan seemed to hold all: the
    memory and the further scans that libjpeg needs for three were counted as none."""
    data = saved(subsampling=0)
    assert data.count(old) == 1
    odd = data.replace(old, new)
    for check in (count_steps, decode_photo):
        with pytest.raises(BadImageError, match=reason):
            check(odd)


def test_scans_of_single_components_are_counted_in_baseline_photos() -> None:
    """Their coefficients are kept until the last one, as those of a progressive photo."""
    odd = saved(subsampling=0).replace(FIRST, ONE + ONE)
    assert count_steps(odd) == 2 * 120 * (64 + 8)
