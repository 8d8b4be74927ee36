"""Perceptual hashes (pHash) of photos, and an exhaustive search for near pairs of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image
from scipy.fft import dctn

from indexer.core.native import faiss
from indexer.duplicates.alignment import SIDE, detail, share

# Kinds of duplicates, the surest first.
KINDS = ("same_photo", "near_same_photo", "same_product")
CODE_BYTES = 32
# of 256: what a photo's copy with added text may differ by; resizing and mirroring stay below 24
NEAR_BITS = 64

FLAT = 0.5  # mean local contrast of 255, below which a photo has nothing to be known by
# px of the short side in which a small thing is looked for, of 255 by which it differs from the
# ground, and px it has at least
_VIEW, _UNLIKE, _LEAST_THING = 256, 24, 24
_COARSE = 8
_COARSE_TOLERANCE = 16.0
_COARSE_BAND = 3
_COARSE_SHARE = 0.6
_FREQUENCIES = 16
_PORTION = 4096
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def thumbnail(picture: Image.Image) -> np.ndarray:
    """Shrink an upright RGB picture to uint8 [32, 32, 3], each cell the mean of what it covers.

    All else of a photo's signature follows from it. Of a small thing before one colour, such as a
    ring, the thing alone is taken.
    """
    return _shrunk(crop_to_thing(picture))


def crop_to_thing(picture: Image.Image) -> Image.Image:
    """Crop an RGB picture that is of one colour all over to the small thing in it, if there is one.

    Other pictures are returned as they are. What differs from the border's median colour is the
    thing, with a margin of a quarter of it.
    """
    if float(detail(_shrunk(picture)[None])[0]) >= FLAT:
        return picture
    scale = max(1, min(picture.size) // _VIEW)
    view = np.asarray(picture.reduce(scale)).astype(np.int16)
    edge = np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]])
    unlike = np.abs(view - np.median(edge, axis=0)).max(-1) > _UNLIKE
    if unlike.sum() < _LEAST_THING:
        return picture
    ground = np.median(edge, axis=0)
    left, top, right, bottom = (scale * side for side in _box(unlike, 1))
    part = (left, top, min(right, picture.width), min(bottom, picture.height))
    # To the px, so that copies of other sizes are cut alike.
    fine = np.abs(np.asarray(picture.crop(part)).astype(np.int16) - ground).max(-1) > _UNLIKE
    inner = _box(fine, 0)
    margin = max(inner[2] - inner[0], inner[3] - inner[1]) // 4
    return picture.crop(
        (
            max(left + inner[0] - margin, 0),
            max(top + inner[1] - margin, 0),
            min(left + inner[2] + margin, picture.width),
            min(top + inner[3] + margin, picture.height),
        )
    )


def _box(mask: np.ndarray, around: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what a mask [h, w] marks, and px around it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0, 0, mask.shape[1], mask.shape[0]
    return (
        max(int(columns[0]) - around, 0),
        max(int(rows[0]) - around, 0),
        int(columns[-1]) + 1 + around,
        int(rows[-1]) + 1 + around,
    )


def _shrunk(picture: Image.Image) -> np.ndarray:
    way = Image.Resampling.BOX if min(picture.size) >= SIDE else Image.Resampling.BICUBIC
    return np.asarray(picture.resize((SIDE, SIDE), way))


def perceptual_codes(thumbs: np.ndarray) -> np.ndarray:
    """Compute the codes uint8 [N, 32] of thumbnails uint8 [N, 32, 32, 3], 256 bits each.

    Each bit says whether one of the 16 x 16 lowest frequencies of the grey picture's DCT is above
    their median (pHash, Zauner 2010). Of a mirrored photo: ``perceptual_codes(thumbs[:, :,
    ::-1])``.
    """
    out = np.empty((len(thumbs), CODE_BYTES), np.uint8)
    for start in range(0, len(thumbs), _PORTION):
        grey = thumbs[start : start + _PORTION].astype(np.float32) @ _GREY
        low = dctn(grey, axes=(1, 2))[:, :_FREQUENCIES, :_FREQUENCIES].reshape(len(grey), -1)
        out[start : start + _PORTION] = np.packbits(
            low >= np.median(low[:, 1:], axis=1, keepdims=True), axis=1
        )
    return out


def is_uniform(thumbs: np.ndarray) -> np.ndarray:
    """Mark the photos of one colour all over, bool [N].

    Their codes are noise, so they repeat others by their bytes only.
    """
    return np.concatenate(
        [
            detail(thumbs[start : start + _PORTION]) < FLAT
            for start in range(0, len(thumbs), _PORTION)
        ]
        or [np.empty(0, bool)]
    )


def coarse_thumbnails(thumbs: np.ndarray) -> np.ndarray:
    """Shrink thumbnails to uint8 [N, 8, 8, 3], small enough to hold those of a whole catalog."""
    step = SIDE // _COARSE
    return thumbs.reshape(-1, _COARSE, step, _COARSE, step, 3).mean((2, 4)).round().astype(np.uint8)


def coarse_match(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mark the pairs of coarse thumbnails [..., 8, 8, 3] that may be one picture, bool [...].

    Leading axes broadcast. Cheap, and wrong on the safe side.
    """
    agreement = share(
        first.astype(np.float32), second.astype(np.float32), _COARSE_TOLERANCE, band=_COARSE_BAND
    )
    return agreement >= _COARSE_SHARE


def near_pairs(
    gallery: np.ndarray, radius: int, *, queries: np.ndarray | None = None, portion: int = _PORTION
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield all pairs at Hamming distance <= ``radius``: portions of (query, entry, distance).

    ``gallery`` and ``queries`` uint8 [N, bytes]. Without ``queries`` each unordered pair of the
    gallery comes once (query < entry) and no photo with itself. An exhaustive scan: at 256 bits and
    the distances that text asks for no hash table is quicker.
    """
    index = faiss.IndexBinaryFlat(8 * gallery.shape[1])
    index.add(np.ascontiguousarray(gallery))
    asked = gallery if queries is None else queries
    for start in range(0, len(asked), portion):
        limits, distances, entries = index.range_search(
            np.ascontiguousarray(asked[start : start + portion]), radius + 1
        )
        rows = np.repeat(
            np.arange(start, start + len(limits) - 1), np.diff(limits).astype(np.int64)
        )
        kept = slice(None) if queries is not None else rows < entries
        yield rows[kept], entries[kept], distances[kept].astype(np.int64)
