"""Frames that a piece of HEVC holds, shown or not (ITU-T H.265)."""

from __future__ import annotations

# 7.3.1.2: units of slices have a kind below this, and tell in their first bit whether they begin a
# picture.
_SLICES = 32
_HEAD = 2
# Parts of one photo: a few, and one for each slice.
MOST_UNITS = 20_000


def count_frames(data: bytes, length_bytes: int) -> int:
    """Count the pictures that begin in units of which each stands behind its length.

    More than ``MOST_UNITS`` units count as so many pictures.
    """
    frames = units = at = 0
    while at + length_bytes + _HEAD < len(data):
        start = at + length_bytes
        frames += data[start] >> 1 & 63 < _SLICES and data[start + _HEAD] >> 7
        at = start + int.from_bytes(data[at:start], "big")
        units += 1
        if units > MOST_UNITS:
            return units
    return frames
