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
_COARSE = 8
_COARSE_TOLERANCE = 16.0
_COARSE_BAND = 3
_COARSE_SHARE = 0.6
_FREQUENCIES = 16
_PORTION = 4096
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def thumbnail(picture: Image.Image) -> np.ndarray:
    """Shrink an upright RGB picture to uint8 [32, 32, 3], each cell the mean of what it covers.

    All else of a photo's signature follows from it.
    """
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
