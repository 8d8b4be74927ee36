"""Busy scenes with known boxes: products cut out and pasted on floors and rugs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from indexer.imaging.analysis_view import view_photo
from indexer.imaging.foreground import find_product
from indexer.imaging.geometry import Box

GROUNDS = ("plain", "texture", "blurred")
SIZES = ((640, 480), (480, 640), (560, 560))  # width, height of a scene, px
_SIDE = (0.3, 0.6)  # of the scene's short side: the longer side of a product
_APART = 12  # px between two products at least
_CORNER = 0.2  # of a clothing photo's sides: what lies in its corners is mostly floor


@dataclass(frozen=True)
class Pasted:
    """One product in a scene: which of the products it is, and where its pixels are."""

    product: int
    box: Box


@dataclass(frozen=True)
class Scene:
    """``pixels`` uint8 [H, W, 3]; ``ground`` is one of ``GROUNDS``."""

    pixels: np.ndarray
    ground: str
    pasted: tuple[Pasted, ...]


@dataclass(frozen=True)
class Cutout:
    """A product without its ground: ``pixels`` uint8 [h, w, 3], ``alpha`` float32 [h, w]
    in [0, 1]."""

    pixels: np.ndarray
    alpha: np.ndarray


def cut_out(pixels: np.ndarray) -> Cutout | None:
    """The product of a studio photo uint8 [H, W, 3]; None where the ground is not plain or nothing
    stands out."""
    view = view_photo(pixels, (pixels.shape[1], pixels.shape[0]))
    found = find_product(view)
    if not found.plain or found.box is None:
        return None
    away = np.abs(pixels.astype(np.float32) - found.background).max(axis=2)
    soft = np.clip((away - 8) / 16, 0, 1)
    inside = ndimage.binary_fill_holes(
        soft > 0.5
    )  # a white shirt's middle is as white as the ground
    labels, count = ndimage.label(inside)
    if count > 1:
        sizes = np.bincount(labels.ravel())[1:]
        inside = np.isin(labels, 1 + np.flatnonzero(sizes >= 0.02 * sizes.max()))
    if inside.mean() < 0.03:
        return None
    alpha = np.where(inside, np.maximum(soft, ndimage.binary_erosion(inside)), 0).astype(np.float32)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    part = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return Cutout(pixels[part], alpha[part])


def scene(cutouts: Sequence[Cutout], grounds: Sequence[np.ndarray], seed: int) -> Scene:
    """One scene, the same for the same ``seed``: 1 to 3 of ``cutouts``, apart from each other, on
    one of ``grounds``.

    ``grounds``: clothing photos uint8 [H, W, 3]. A third of the scenes has a plain ground, a third
    a corner of such a photo mirrored side by side, a third any part of one, blurred.
    """
    rng = np.random.default_rng((9, seed))
    width, height = SIZES[int(rng.integers(len(SIZES)))]
    kind = GROUNDS[seed % len(GROUNDS)]
    canvas = ground(kind, grounds[int(rng.integers(len(grounds)))], (width, height), rng)
    pasted: list[Pasted] = []
    chosen = rng.permutation(len(cutouts))[: int(rng.integers(1, 4))]
    for product in chosen.tolist():
        cutout = cutouts[product]
        for attempt in range(60):
            side = rng.uniform(*_SIDE) * min(width, height) * 0.98**attempt
            factor = side / max(cutout.alpha.shape)
            h, w = (max(8, round(length * factor)) for length in cutout.alpha.shape)
            x, y = int(rng.integers(4, width - w - 3)), int(rng.integers(4, height - h - 3))
            if all(_apart((x, y, w, h), other.box) for other in pasted):
                _paste(canvas, cutout, (x, y, w, h))
                pasted.append(Pasted(product, (x, y, w, h)))
                break
    return Scene(np.clip(np.rint(canvas), 0, 255).astype(np.uint8), kind, tuple(pasted))


def ground(
    kind: str, photo: np.ndarray, size: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """A ground of one of ``GROUNDS``, float [H, W, 3] of 0 to 255; ``size``: width and height in
    px."""
    width, height = size
    if kind == "plain":
        colour = rng.uniform(40, 250) + rng.uniform(-25, 25, 3)
        slope = np.linspace(-1, 1, height)[:, None, None] * rng.uniform(-12, 12)
        return np.clip(np.broadcast_to(colour, (height, width, 3)) + slope, 0, 255) + rng.normal(
            0, 2, (height, width, 1)
        )
    tall, wide = photo.shape[:2]
    if kind == "texture":
        h, w = round(tall * _CORNER), round(wide * _CORNER)
        top, left = int(rng.integers(2)) * (tall - h), int(rng.integers(2)) * (wide - w)
        part = photo[top : top + h, left : left + w]
        pair = np.concatenate([part, part[:, ::-1]], axis=1)
        tile = np.concatenate([pair, pair[::-1]], axis=0)
        repeats = (-(-height // len(tile)), -(-width // tile.shape[1]), 1)
        return np.tile(tile, repeats)[:height, :width].astype(np.float32)
    h, w = round(tall * 0.6), round(wide * 0.6)
    top, left = int(rng.integers(tall - h + 1)), int(rng.integers(wide - w + 1))
    large = Image.fromarray(photo[top : top + h, left : left + w]).resize(
        size, Image.Resampling.BICUBIC
    )
    sigma = rng.uniform(4, 9)
    return np.asarray(ndimage.gaussian_filter(np.asarray(large, np.float32), (sigma, sigma, 0)))


def _apart(one: Box, other: Box) -> bool:
    (x, y, w, h), (u, v, p, q) = one, other
    return x + w + _APART <= u or u + p + _APART <= x or y + h + _APART <= v or v + q + _APART <= y


def _paste(canvas: np.ndarray, cutout: Cutout, box: Box) -> None:
    x, y, w, h = box
    pixels = np.asarray(
        Image.fromarray(cutout.pixels).resize((w, h), Image.Resampling.BICUBIC), np.float32
    )
    alpha = np.asarray(Image.fromarray(cutout.alpha).resize((w, h), Image.Resampling.BILINEAR))[
        ..., None
    ]
    part = canvas[y : y + h, x : x + w]
    part[:] = alpha * pixels + (1 - alpha) * part
