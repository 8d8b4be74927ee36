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
# share of its strength that detail keeps under a watermark
_KEPT = 0.5
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
    that the other does not have within a px, to half its strength: in a window, the lesser sum of
    both directions, so that text, stickers and watermarks over one of them are no other print. Rows
    in which both edges of the photo differ are a band over it and do not count.
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
    unlike = np.abs(_thumbnail(one) - _thumbnail(other)).max(-1) > _NOISE
    if not unlike.any():
        return 0.0
    apart = np.abs(one - other)
    edges = (apart[:, side].max(-1).mean(1) for side in (slice(_EDGE), slice(-_EDGE, None)))
    band = ndimage.binary_dilation(np.minimum(*edges) > _BAND, iterations=3)
    other = np.where(band[:, None, None], one, other)
    part = tuple(
        slice(max(_STEP * (int(found[0]) - 2), 0), _STEP * (int(found[-1]) + 3))
        for found in (np.flatnonzero(unlike.any(1)), np.flatnonzero(unlike.any(0)))
    )
    one, other = _detail(one[part]), _detail(other[part])
    least = np.minimum(_windowed(_missing(one, other)), _windowed(_missing(other, one)))
    return float(least.max())


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    return np.asarray(picture.reshape(SIDE, _STEP, SIDE, _STEP, 3).mean((1, 3)))


def _detail(picture: np.ndarray) -> np.ndarray:
    """What lies between two blurs, signed, [h, w, 3]."""
    sharp = ndimage.gaussian_filter(picture, (_SHARP, _SHARP, 0))
    return np.asarray(sharp - ndimage.gaussian_filter(picture, (_SOFT, _SOFT, 0)))


def _missing(detail: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How much of the detail the other has nowhere within a px, [h, w]."""
    highest = np.maximum(ndimage.maximum_filter(other, (3, 3, 1)), 0)
    lowest = np.minimum(ndimage.minimum_filter(other, (3, 3, 1)), 0)
    light = _KEPT * np.maximum(detail, 0) - highest
    dark = lowest - _KEPT * np.minimum(detail, 0)
    return np.asarray(np.maximum(np.maximum(light, dark), 0).max(-1))


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
