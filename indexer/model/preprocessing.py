"""Preprocessing of photos by the spec alone, shared by training, building and serving."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from indexer.imaging.decode import Photo
from indexer.imaging.margins import edge_color, pad_to_square
from indexer.model.spec import Preprocess

_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# Decoders that reduce JPEGs (``spec.Preprocess``).
DRAFTS = ("draft2", "draft3")
# The same filters, boxes at whole px.
QUICK = {"bicubic": "bicubic-u8", "bilinear": "bilinear-u8"}
# Of rectangles: short side to long side, and px that the strides of networks divide.
_RATIO = 3 / 4
_STEP = 32
# Most by which a photo's form is changed: between square and rectangle it is 1.15, of a phone's
# 9:16 it is 1.33. What is longer gets margins.
_STRETCH = 4 / 3
# Look -> what the network costs for one photo, of what it costs for one square.
LOOK_COST = {"crop": 1.0, "whole": 1.0, "rect": 1.0, "both": 2.0}
_MODES = {quick: plain for plain, quick in QUICK.items()}


def shrink_to(preprocess: Preprocess) -> int | None:
    """Return what ``decode_photo`` takes as ``shrink_to``, px.

    With a draft decoder a large JPEG is decoded at a smaller DCT scale.
    """
    return preprocess.resize if preprocess.decoder in DRAFTS else None


def rectangles(preprocess: Preprocess) -> tuple[tuple[int, int], ...]:
    """Return the inputs (width, height) of look ``rect``: the square of ``crop`` px, and 3:4 both
    ways.

    All have about one area, so a network costs as much on each.
    """
    side = preprocess.crop
    short, long = (_STEP * round(side * share / _STEP) for share in (_RATIO**0.5, _RATIO**-0.5))
    return (side, side), (short, long), (long, short)


def with_look(preprocess: Preprocess, look: str) -> Preprocess:
    """Return the preprocessing that shows a network more of the photo (``spec.LOOKS``).

    ``crop``: as it is. ``whole``: the middle square without the margin that resizing cuts off (what
    a catalog photo is about reaches into it); a network trained on parts of photos has seen things
    larger than they are in a whole, so the smaller scale suits it too (Touvron et al. 2019).
    ``rect``: all of the photo, in the one of ``rectangles`` that is nearest to its form. ``both``:
    the middle square as it is and all of the photo in a square with margins, at twice the cost.
    """
    if look == "crop":
        return preprocess
    if look == "both":
        return replace(preprocess, both=True)
    whole = replace(preprocess, resize=preprocess.crop)
    return replace(whole, shapes=rectangles(whole)) if look == "rect" else whole


def input_sizes(preprocess: Preprocess) -> tuple[tuple[int, int], ...]:
    """List the sizes (width, height) in px that inputs of a network may have."""
    return preprocess.shapes or ((preprocess.crop, preprocess.crop),)


def input_size(size: tuple[int, int], preprocess: Preprocess) -> tuple[int, int]:
    """Return the width and height in px of the network's input for an image of ``size``."""
    form = math.log(size[0] / size[1])
    return min(input_sizes(preprocess), key=lambda shape: abs(math.log(shape[0] / shape[1]) - form))


def frame_part(part: Image.Image, preprocess: Preprocess) -> Image.Image:
    """Return a part of a photo as a network is shown all of it: where it reads squares alone, with
    margins."""
    return part if preprocess.shapes or preprocess.both else pad_to_square(part)


def visible_box(size: tuple[int, int], preprocess: Preprocess) -> tuple[float, float, float, float]:
    """Return the part of an upright image of ``size`` (width, height) that the network sees.

    Left, top, right, bottom in px. With shapes all of it, stretched to the nearest one; where that
    would stretch it by more than ``_STRETCH``, as of a strip, with margins beyond the image, which
    are filled in the median colour of its edge. Seen twice: the square around it.
    """
    width, height = size
    if preprocess.both:
        side = max(size)
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side
    if preprocess.shapes:
        wide, tall = input_size(size, preprocess)
        form = width / height * (tall / wide)
        across = max(width, width / (form * _STRETCH))
        down = max(height, height * form / _STRETCH)
        left, top = (width - across) / 2, (height - down) / 2
        return left, top, left + across, top + down
    if preprocess.keep_aspect:
        side_x = side_y = preprocess.crop * min(width, height) / preprocess.resize
    else:
        side_x, side_y = (preprocess.crop * side / preprocess.resize for side in (width, height))
    left = (width - side_x) / 2
    top = (height - side_y) / 2
    return max(left, 0.0), max(top, 0.0), min(left + side_x, width), min(top + side_y, height)


def inner_share(size: tuple[int, int], preprocess: Preprocess) -> tuple[float, float]:
    """Return the width and height of a photo's first view as shares of those of ``visible_box``.

    1 and 1 of one view. A square that a photo is squashed into holds more of its long side.
    """
    if not preprocess.both:
        return 1.0, 1.0
    left, top, right, bottom = visible_box(size, replace(preprocess, both=False))
    return (right - left) / max(size), (bottom - top) / max(size)


def to_views(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Resample an upright RGB image to its inputs, uint8 [V, H, W, 3].

    One, or seen twice the middle square and the square around it, in this order.
    """
    return np.stack([to_pixels(image, view) for view in split_views(preprocess)])


def split_views(preprocess: Preprocess) -> tuple[Preprocess, ...]:
    """Return what ``to_pixels`` makes each of a photo's inputs by, in their order."""
    return (replace(preprocess, both=False), preprocess) if preprocess.both else (preprocess,)


def to_pixels(image: Image.Image, preprocess: Preprocess) -> np.ndarray:
    """Resample an upright RGB image to uint8 [H, W, 3] of ``input_size``.

    Its ``visible_box``, in one resampling. Exported models (``QUICK``) cut the box at whole px.
    """
    size = input_size(image.size, preprocess)
    left, top, right, bottom = visible_box(image.size, preprocess)
    mode = _MODES.get(preprocess.interpolation)
    resampling = _RESAMPLING[mode or preprocess.interpolation]
    if left < 0 or top < 0:
        return _with_margins(image, (right - left, bottom - top), size, resampling)
    box = left, top, right, bottom
    if mode is not None:
        left, top, right, bottom = (round(edge) for edge in box)
        box = left, top, max(right, left + 1), max(bottom, top + 1)
    return np.asarray(image.resize(size, resampling, box=box))


def _with_margins(
    image: Image.Image,
    seen: tuple[float, float],
    size: tuple[int, int],
    resampling: Image.Resampling,
) -> np.ndarray:
    """Resample an image in the middle of a box of ``seen`` px, which is larger, to ``size``."""
    wide, tall = (
        max(1, round(side * own / box))
        for side, own, box in zip(size, image.size, seen, strict=True)
    )
    out = Image.new("RGB", size, edge_color(image))
    out.paste(
        image.resize((wide, tall), resampling), ((size[0] - wide) // 2, (size[1] - tall) // 2)
    )
    return np.asarray(out)


def to_batch(pixels: np.ndarray, preprocess: Preprocess, device: Any) -> Any:
    """Normalise uint8 [N, H, W, 3] to float32 [N, 3, H, W], channels last."""
    from indexer.core.native import torch

    raw = torch.from_numpy(pixels)
    if torch.device(device).type == "cuda":  # from pinned memory the copy runs beside the network
        raw = raw.pin_memory().to(device, non_blocking=True)
    batch = raw.permute(0, 3, 1, 2).float()
    mean = torch.tensor(preprocess.mean, device=device).view(1, 3, 1, 1) * 255
    std = torch.tensor(preprocess.std, device=device).view(1, 3, 1, 1) * 255
    return batch.sub_(mean).div_(std)


def photos_to_pixels(photos: Sequence[Photo], preprocess: Preprocess) -> np.ndarray:
    """Preprocess decoded photos whose inputs are of one size to uint8 [N x V, H, W, 3]."""
    return np.concatenate([to_views(photo.pixels, preprocess) for photo in photos])


def group_pixels(
    photos: Iterable[Photo], preprocess: Preprocess
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Preprocess decoded photos: (places int [n], uint8 [n x V, H, W, 3]) for each size of input.

    Places are ascending; each photo is asked for once, and not held.
    """
    groups: dict[tuple[int, ...], tuple[list[int], list[np.ndarray]]] = {}
    for place, photo in enumerate(photos):
        pixels = to_views(photo.pixels, preprocess)
        places, group = groups.setdefault(pixels.shape, ([], []))
        places.append(place)
        group.append(pixels)
    return [(np.array(places), np.concatenate(group)) for places, group in groups.values()]


def merge_views(pooled: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Merge the features [N x V, F] of a photo's views to [N, F]: the mean of unit features."""
    if preprocess.views == 1:
        return pooled
    length = np.linalg.norm(pooled, axis=1, keepdims=True)
    return mean_of_views(pooled / np.maximum(length, np.float32(1e-6)), preprocess)


def mean_of_views(rows: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Average rows [N x V, K] of a photo's views: [N, K]."""
    if preprocess.views == 1:
        return rows
    return np.asarray(rows.reshape(-1, preprocess.views, rows.shape[1]).mean(axis=1))
