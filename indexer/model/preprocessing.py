"""Preprocessing of photos by the spec alone, shared by training, building and serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from indexer.imaging.decode import Photo
from indexer.model.spec import Preprocess

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# The same filters, boxes at whole px.
# Decoders that reduce JPEGs (``spec.Preprocess``).
DRAFTS = ("draft2", "draft3")
QUICK = {"bicubic": "bicubic-u8", "bilinear": "bilinear-u8"}
_MODES = {quick: plain for plain, quick in QUICK.items()}


def shrink_to(preprocess: Preprocess) -> int | None:
    """Return what ``decode_photo`` takes as ``shrink_to``, px.

    With a draft decoder a large JPEG is decoded at a smaller DCT scale.
    """
    return preprocess.resize if preprocess.decoder in DRAFTS else None


def visible_box(size: tuple[int, int], preprocess: Preprocess) -> tuple[float, float, float, float]:
    """Return the part of an upright image of ``size`` (width, height) that the network sees.

    Left, top, right, bottom in px.
    """
    width, height = size
    if preprocess.keep_aspect:
        side_x = side_y = preprocess.crop * min(width, height) / preprocess.resize
    else:
        side_x, side_y = (preprocess.crop * side / preprocess.resize for side in (width, height))
    left = (width - side_x) / 2
    top = (height - side_y) / 2
    return max(left, 0.0), max(top, 0.0), min(left + side_x, width), min(top + side_y, height)


def to_pixels(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Resample an upright RGB image to uint8 [crop, crop, 3].

    Short side to ``resize`` px and centre crop, in one resampling. Exported models (``QUICK``) cut
    the box at whole px.
    """
    box = visible_box(image.size, preprocess)
    mode = _MODES.get(preprocess.interpolation)
    if mode is not None:
        left, top, right, bottom = (round(edge) for edge in box)
        box = left, top, max(right, left + 1), max(bottom, top + 1)
    resampling = _RESAMPLING[mode or preprocess.interpolation]
    return np.asarray(image.resize((preprocess.crop, preprocess.crop), resampling, box=box))


def to_batch(pixels: np.ndarray, preprocess: Preprocess, device: Any) -> Any:
    """Normalise uint8 [N, crop, crop, 3] to float32 [N, 3, crop, crop], channels last."""
    from indexer.core.native import torch

    raw = torch.from_numpy(pixels)
    if torch.device(device).type == "cuda":  # from pinned memory the copy runs beside the network
        raw = raw.pin_memory().to(device, non_blocking=True)
    batch = raw.permute(0, 3, 1, 2).float()
    mean = torch.tensor(preprocess.mean, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(preprocess.std, device=device).view(1, 3, 1, 1) * 255
    return batch.sub_(mean).div_(std)


def photos_to_pixels(photos: Sequence[Photo], preprocess: Preprocess) -> np.ndarray:
    """Preprocess decoded photos to uint8 [N, crop, crop, 3]."""
    return np.stack([to_pixels(photo.pixels, preprocess) for photo in photos])
