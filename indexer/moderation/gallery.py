"""A banned gallery ready to be matched: its examples cut out, a photo's crops, and what fitting
found for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import binary_fill_holes, binary_opening

from indexer.imaging.decode import Photo
from indexer.moderation.policy import Example
from indexer.moderation.template_matching import (
    AREAS,
    PreparedPhoto,
    TemplateBank,
    canvas_scale,
    prepare_photo,
    prepare_templates,
    side_of,
)
from indexer.moderation.thresholds import Bounds, Rivals

Embed = Callable[[Sequence[Photo]], np.ndarray]  # photos -> float32 [N, D]
Box = tuple[int, int, int, int]  # x, y, width, height in px of ``PhotoInput.pixels``

_CROP = 0.6  # of each side: the four corners and the middle
# standard deviation of an example's border, of 255, below which it is a ground to be cut away
_PLAIN = 12.0
_APART = 24.0  # difference from the ground, of 255, that makes a pixel part of the example


@dataclass(frozen=True)
class FittedGallery:
    """What fitting found for one gallery. ``bounds`` by match; of ``whole`` and ``crops`` in nats,
    as ``scores``; of a match without any nothing could be learned.

    A gallery that is matched as symbols alone needs no vectors: then ``examples`` is [0, D] and
    ``weight`` all zeros.
    """

    weight: np.ndarray  # float32 [D]
    bias: float
    rivals: Rivals
    examples: np.ndarray  # float32 [n, D]
    bounds: dict[str, Bounds]

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """float [N]: log odds of the gallery's kind against the catalog's kinds, for embeddings [N,
        D]."""
        return np.asarray(vectors @ self.weight + self.bias - self.rivals.of(vectors))


def crops_of(photo: Photo) -> list[tuple[Box, Photo]]:
    """The four corners and the middle, 0.6 of each side; a photo of fewer than 2 px a side has none
    but itself."""
    width, height = photo.pixels.size
    wide, tall = max(1, round(_CROP * width)), max(1, round(_CROP * height))
    right, low = width - wide, height - tall
    places = dict.fromkeys([(0, 0), (right, 0), (0, low), (right, low), (right // 2, low // 2)])
    found = []
    for left, top in places:
        part = photo.pixels.crop((left, top, left + wide, top + tall))
        found.append(
            ((left, top, wide, tall), Photo(part, photo.format, wide, tall, photo.content_hash))
        )
    return found


def see(photo: Photo) -> PreparedPhoto:
    """A photo ready for ``find``."""
    pixels = photo.pixels
    scale = canvas_scale(*pixels.size)
    size = (max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale)))
    small = pixels.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    return prepare_photo(np.asarray(small), scale)


def symbols_of(examples: Sequence[Example]) -> TemplateBank:
    """A gallery's examples, their ground cut away, at every size they are looked for."""
    templates = []
    for example in examples:
        pixels, mask = cut_out(example.photo.pixels)
        templates.append([_sized(pixels, mask, share) for share in AREAS])
    return prepare_templates(templates)


def cut_out(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """What stands on an example's plain ground: (float32 [h, w, 3], mask float32 [h, w]); without
    one, all of it."""
    pixels = np.asarray(image, np.float32)
    whole = np.ones(pixels.shape[:2], np.float32)
    edge = max(1, min(image.size) // 50)
    sides = (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:])
    border = np.concatenate([side.reshape(-1, 3) for side in sides])
    ground = np.median(border, axis=0)
    if float(np.sqrt(((border - ground) ** 2).mean())) > _PLAIN:
        return pixels, whole
    apart = binary_opening(np.abs(pixels - ground).max(2) > _APART, np.ones((3, 3)))
    shape = binary_opening(binary_fill_holes(apart), np.ones((3, 3)))
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    if shape.mean() < 0.02:
        return pixels, whole
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return pixels[window], shape[window].astype(np.float32)


def _sized(pixels: np.ndarray, mask: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """A cut-out at the size at which it covers ``share`` of a photo on the canvas."""
    scale = side_of(share) / mask.size**0.5
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    small = Image.fromarray(pixels.astype(np.uint8)).resize(size, how)
    shape = Image.fromarray((mask * 255).astype(np.uint8)).resize(size, how)
    return np.asarray(small, np.float32), (np.asarray(shape) > 127).astype(np.float32)
