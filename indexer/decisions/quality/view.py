"""A photo as it is measured: a copy of bounded size, a small one, and sampled tiles and lines of the pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from indexer.decisions.quality.findings import Box

SHORT = 512  # px: what a shopper's screen shows of a photo; larger ones are reduced by a whole number
_SMALL_AREA = 150 * 150  # px of the small copy, about
_LINES = 96  # lines sampled across the photo when looking for straight seams


@dataclass(frozen=True)
class View:
    """``pixels`` uint8 [H, W, 3]; ``small`` float32 [H / step, W / step, 3] is its average over ``step`` px squares.

    ``scale`` is how many px of the original one px of ``pixels`` is; ``left`` and ``top`` say where the original's
    corner lies, in px of ``pixels``, when a frame was cut off.
    """

    pixels: np.ndarray
    small: np.ndarray
    step: int
    scale: float
    left: int = 0
    top: int = 0

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    def original(self, x: float, y: float, width: float, height: float) -> Box:
        """A rectangle of this view, in px of the original."""
        left, top = (x + self.left) * self.scale, (y + self.top) * self.scale
        right, bottom = left + width * self.scale, top + height * self.scale
        return round(left), round(top), max(1, round(right) - round(left)), max(1, round(bottom) - round(top))

    def inside(self, left: int, top: int, right: int, bottom: int) -> View:
        """The part of the view from (left, top) to (right, bottom), px of ``pixels``."""
        part = np.ascontiguousarray(self.pixels[top:bottom, left:right])
        return _with_small(part, self.scale, self.left + left, self.top + top)


def look_at(pixels: np.ndarray, size: tuple[int, int]) -> View:
    """The view of an upright sRGB photo uint8 [H, W, 3]; ``size`` = (width, height) of the original in px."""
    factor = max(1, min(pixels.shape[:2]) // SHORT)
    reduced = pixels if factor == 1 else _reduced(pixels, factor)
    return _with_small(np.ascontiguousarray(reduced), max(size) / max(pixels.shape[:2]) * factor, 0, 0)


def _with_small(pixels: np.ndarray, scale: float, left: int, top: int) -> View:
    height, width = pixels.shape[:2]
    step = max(1, min(int(np.ceil((height * width / _SMALL_AREA) ** 0.5)), min(height, width) // 4))
    small = pixels if step == 1 else _reduced(pixels, step)
    return View(pixels, small.astype(np.float32), step, scale, left, top)


def _reduced(pixels: np.ndarray, factor: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).reduce(factor))


def tiles(pixels: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
    """Green of square tiles, float32 [N, side, side]; ``corners`` int [N, 2] rows and columns that fit.

    Green carries seven tenths of the luminance, and is what cameras sample best.
    """
    windows = sliding_window_view(pixels[..., 1], (side, side))
    return windows[corners[:, 0], corners[:, 1]].astype(np.float32)


def luma_tiles(pixels: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
    """Luma (Rec. 601, as JPEG has it) of square tiles, float32 [N, side, side]."""
    windows = sliding_window_view(pixels, (side, side), axis=(0, 1))
    chosen = windows[corners[:, 0], corners[:, 1]]
    return luminance(np.moveaxis(chosen, 1, -1).astype(np.float32))


def grid(height: int, width: int, side: int, multiple: int = 1) -> np.ndarray:
    """Corners [N, 2] of tiles of ``side`` px side by side, on multiples of ``multiple`` px."""
    step = max(side // multiple, 1) * multiple
    rows = np.arange(0, height - side + 1, step)
    columns = np.arange(0, width - side + 1, step)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def sampled_lines(pixels: np.ndarray, axis: int) -> np.ndarray:
    """int16 [length, lines, 3]: along ``axis`` every px, across it a sample of lines spread evenly."""
    across = pixels.shape[1 - axis]
    places = np.unique(np.linspace(0, across - 1, min(_LINES, across)).round().astype(int))
    lines = np.take(pixels, places, axis=1 - axis).astype(np.int16)
    return lines if axis == 0 else lines.swapaxes(0, 1)


def luminance(rgb: np.ndarray) -> np.ndarray:
    """[..., 3] sRGB of 0 to 255 -> luma [...] of 0 to 255 (Rec. 601)."""
    return np.asarray(rgb @ np.array([0.299, 0.587, 0.114], np.float32))


def largest(channels: np.ndarray) -> np.ndarray:
    """The largest of the three channels, [..., 3] -> [...]; far quicker than ``max`` over so short an axis."""
    return np.asarray(np.maximum(np.maximum(channels[..., 0], channels[..., 1]), channels[..., 2]))
