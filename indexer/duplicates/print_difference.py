"""Difference of the prints on two photos of one mock-up, which are alike in all else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from indexer.catalog.photo_store import PhotoStore
from indexer.catalog.store import Catalog
from indexer.core.errors import CatalensError
from indexer.duplicates.alignment import SIDE, align_crop, resample
from indexer.duplicates.perceptual_hash import crop_to_thing
from indexer.duplicates.print_limit import PRINTS_DIFFER
from indexer.imaging.decode import STORED_PHOTO_LIMITS, decode_photo

# what copies that are no crops differ by at most
_COPY = 1.0
# px of the side of a picture in which prints are compared
_FINE = 192
_STEP = _FINE // SIDE
# what two thumbnails may differ by anywhere without being looked at more closely, of 255
_NOISE = 6.0
# px of the blurs between which detail lies, and of the window over which it is summed
_SHARP, _SOFT, _WINDOW = 0.8, 6.0, 17
# share of its strength that detail keeps under a watermark, and in a copy that is clean but for one
# place
_KEPT, _CLEAN = 0.5, 0.8
# detail of this strength, of 255, has a colour that can be compared, and what that counts beside
# missing detail
_COLOURED, _COLOUR = 8.0, 0.2
# px around the greatest difference within which it is itself, and what the rest of the picture
# takes from it: the share of the rest that stays below its noise, and how often that counts
_AROUND, _QUIET, _NOISE_COUNTS = 40, 0.98, 3.0
# of what stands out of the noise, so that one limit holds for it and for detail at half strength
_SCALE = 0.35
# a band across the photo shows at both edges: their width in px, and by how much they differ
_EDGE, _BAND = 8, 12.0
# px of the shorter side from which a print can be made out
_LEAST_SIDE = 64
# pictures kept in memory, 110 kB each
_HELD = 256


def fine_picture(picture: Image.Image) -> np.ndarray:
    """Shrink an upright RGB picture to uint8 [192, 192, 3], as ``thumbnail`` does to 32."""
    picture = crop_to_thing(picture)
    way = Image.Resampling.BOX if min(picture.size) >= _FINE else Image.Resampling.BICUBIC
    return np.asarray(picture.resize((_FINE, _FINE), way))


def print_difference(first: np.ndarray, second: np.ndarray, *, mirrored: bool = False) -> float:
    """Measure how unlike the prints on two pictures uint8 [192, 192, 3] are; 0 for copies.

    One is laid over the other, as it is or as a crop, whichever fits better. Then detail counts
    that the other does not have within a px: in a window, the lesser sum of both directions, so
    that text, stickers and watermarks over one of them are no other print. Half of its strength is
    asked for, since it fades under a watermark; most of it, and its colour too, where the rest of
    the two is so alike that the place stands out of what they differ by all over (resizing,
    compression). Rows in which both edges of the photo differ are a band over it and do not count.
    """
    one, other = first.astype(np.float32), second.astype(np.float32)
    if mirrored:
        one = one[:, ::-1]
    found = _difference(one, other)
    if found < _COPY:
        return found
    swapped, spans = align_crop(_thumbnail(one)[None], _thumbnail(other)[None])
    if swapped[0]:
        one, other = other, one
    return min(found, _difference(one, resample(other[None], spans)[0]))


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """Measure the difference of pictures float32 [192, 192, 3] as they lie."""
    if (np.abs(_thumbnail(one) - _thumbnail(other)) <= _NOISE).all():
        return 0.0
    apart = np.abs(one - other)
    edges = (apart[:, side].max(-1).mean(1) for side in (slice(_EDGE), slice(-_EDGE, None)))
    band = ndimage.binary_dilation(np.minimum(*edges) > _BAND, iterations=3)
    other = np.where(band[:, None, None], one, other)
    one, other = _detail(one), _detail(other)
    faded = _least(_missing(one, other, _KEPT), _missing(other, one, _KEPT))
    lacking = _least(_missing(one, other, _CLEAN), _missing(other, one, _CLEAN))
    recoloured = _least(_recoloured(one, other), _recoloured(other, one))
    standing_out = _prominence(lacking) + _COLOUR * _prominence(recoloured)
    return max(float(faded.max()), _SCALE * standing_out)


def _least(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The lesser of both directions in a window around each px, [h, w]."""
    return np.asarray(np.minimum(_windowed(one), _windowed(other)))


def _prominence(least: np.ndarray) -> float:
    """How far the greatest difference [h, w] stands out of those elsewhere."""
    row, column = np.unravel_index(int(least.argmax()), least.shape)
    far = np.ones(least.shape, bool)
    rows = slice(max(int(row) - _AROUND, 0), int(row) + _AROUND + 1)
    far[rows, max(int(column) - _AROUND, 0) : int(column) + _AROUND + 1] = False
    return float(least.max() - _NOISE_COUNTS * np.quantile(least[far], _QUIET))


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    return np.asarray(picture.reshape(SIDE, _STEP, SIDE, _STEP, 3).mean((1, 3)))


def _detail(picture: np.ndarray) -> np.ndarray:
    """What lies between two blurs, signed, [h, w, 3]."""
    sharp = ndimage.gaussian_filter(picture, (_SHARP, _SHARP, 0))
    return np.asarray(sharp - ndimage.gaussian_filter(picture, (_SOFT, _SOFT, 0)))


def _missing(detail: np.ndarray, other: np.ndarray, kept: float) -> np.ndarray:
    """How much of the share ``kept`` of the detail the other has nowhere within a px, [h, w]."""
    highest = np.maximum(ndimage.maximum_filter(other, (3, 3, 1)), 0)
    lowest = np.minimum(ndimage.minimum_filter(other, (3, 3, 1)), 0)
    light = kept * np.maximum(detail, 0) - highest
    dark = lowest - kept * np.minimum(detail, 0)
    return np.asarray(np.maximum(np.maximum(light, dark), 0).max(-1))


def _recoloured(detail: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How much of the other's detail is of another colour than the detail there, [h, w].

    Under a watermark detail fades in its own colour; only what leaves that line counts.
    """
    strength, others = (detail * detail).sum(-1), (other * other).sum(-1)
    along = (detail * other).sum(-1)
    left = np.sqrt(np.maximum(others - along * along / np.maximum(strength, 1e-6), 0))
    return np.asarray(np.where(np.minimum(strength, others) > _COLOURED**2, left, 0))


def _windowed(values: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.uniform_filter(values, _WINDOW, mode="constant"))


class PrintComparison:
    """Compares prints on photos of a catalog, whose files are read again; for one thread.

    ``limit``: the difference from which two prints are two.
    """

    def __init__(self, catalog: Catalog, photos: PhotoStore, limit: float = PRINTS_DIFFER) -> None:
        self._catalog = catalog
        self._photos = photos
        self._limit = limit
        self._held: OrderedDict[int, np.ndarray | None] = OrderedDict()

    def differs(self, first: int, second: int, *, mirrored: bool) -> bool:
        """Whether two photos, by id, are one mock-up with two prints.

        Photos that cannot be read, or are tiny, are not told apart.
        """
        one, other = self._picture(first), self._picture(second)
        if one is None or other is None:
            return False
        return print_difference(one, other, mirrored=mirrored) >= self._limit

    def differs_from(
        self, picture: Image.Image, photo_ids: Sequence[int], mirrored: Sequence[bool]
    ) -> set[int]:
        """Return those of the photos that are the picture's mock-up with another print."""
        found: set[int] = set()
        if min(picture.size) < _LEAST_SIDE:
            return found
        one = fine_picture(picture)
        for photo_id, turned in zip(photo_ids, mirrored, strict=True):
            other = self._picture(photo_id)
            if other is not None and print_difference(one, other, mirrored=turned) >= self._limit:
                found.add(photo_id)
        return found

    def _picture(self, photo_id: int) -> np.ndarray | None:
        if photo_id in self._held:
            self._held.move_to_end(photo_id)
            return self._held[photo_id]
        made: np.ndarray | None = None
        try:
            row = self._catalog.photos_by_id([photo_id])[photo_id]
            data = self._photos.read(row)
            picture = decode_photo(data, limits=STORED_PHOTO_LIMITS, shrink_to=_FINE).pixels
            made = fine_picture(picture) if min(picture.size) >= _LEAST_SIDE else None
        except (CatalensError, KeyError):
            pass
        self._held[photo_id] = made
        if len(self._held) > _HELD:
            self._held.popitem(last=False)
        return made
