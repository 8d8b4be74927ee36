"""Working copies of a photo for measuring, and sampled tiles and lines of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from indexer.core.vectors import evenly_spaced
from indexer.imaging.geometry import Box

# px: what a shopper's screen shows of a photo; larger ones are reduced by a whole number
SHORT = 512
# px of a view at most: a photo far longer than wide is reduced below ``SHORT``
_LONG = 8192
# px of the small copy, about
_SMALL_AREA = 150 * 150
# lines sampled across the photo when looking for straight seams
_LINES = 96
# Rec. 601
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class AnalysisView:
    """A copy of bounded size, and a small one.

    ``pixels`` uint8 [H, W, 3]; ``small`` float32 [H / step, W / step, 3] is its average over
    squares of ``step`` px.

    ``scale`` is how many px of the original one px of ``pixels`` is, ``size`` the original's
    (width, height); ``left`` and ``top`` say where the original's corner lies, in px of ``pixels``,
    when a frame was cut off.
    """

    pixels: np.ndarray
    small: np.ndarray
    step: int
    scale: float
    size: tuple[int, int]
    left: int = 0
    top: int = 0

    @property
    def height(self) -> int:
        """Px of ``pixels``."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Px of ``pixels``."""
        return int(self.pixels.shape[1])

    @cached_property
    def green(self) -> np.ndarray:
        """The green channel uint8 [H, W].

        It carries seven tenths of the luminance, and is what cameras sample best.
        """
        return np.ascontiguousarray(self.pixels[..., 1])

    @cached_property
    def light(self) -> np.ndarray:
        """Luma float32 [h, w] of ``small``."""
        return luminance(self.small)

    @cached_property
    def slope(self) -> np.ndarray:
        """How much ``light`` differs from the px to the left and the px above, float32 [h, w]."""
        slope = np.zeros_like(self.light)
        slope[:, 1:] += np.abs(np.diff(self.light, axis=1))
        slope[1:] += np.abs(np.diff(self.light, axis=0))
        return slope

    def original(self, x: float, y: float, width: float, height: float) -> Box:
        """A rectangle of this view, in px of the original and inside it; at least 1 px a side."""
        left, across = self._span(x + self.left, width, self.size[0])
        top, down = self._span(y + self.top, height, self.size[1])
        return left, top, across, down

    def _span(self, start: float, length: float, limit: int) -> tuple[int, int]:
        """Start and length in px of the original, at least 1 px, ending at ``limit`` at most."""
        first = start * self.scale
        # The last px of a view may stand for less than ``scale`` px of the original.
        last = round(min(first + length * self.scale, limit))
        first = round(min(first, limit - 1))
        return first, max(1, last - first)

    def inside(self, left: int, top: int, right: int, bottom: int) -> AnalysisView:
        """The part of the view from (left, top) to (right, bottom), px of ``pixels``."""
        part = np.ascontiguousarray(self.pixels[top:bottom, left:right])
        return _with_small(part, self.scale, self.size, self.left + left, self.top + top)


def view_photo(pixels: np.ndarray, size: tuple[int, int]) -> AnalysisView:
    """Make the view of an upright sRGB photo uint8 [H, W, 3].

    ``size``: (width, height) of the original in px.
    """
    factor = max(1, min(pixels.shape[:2]) // SHORT, -(-max(pixels.shape[:2]) // _LONG))
    reduced = pixels if factor == 1 else _reduced(pixels, factor)
    scale = max(size) / max(pixels.shape[:2]) * factor
    return _with_small(np.ascontiguousarray(reduced), scale, size)


def _with_small(
    pixels: np.ndarray, scale: float, size: tuple[int, int], left: int = 0, top: int = 0
) -> AnalysisView:
    height, width = pixels.shape[:2]
    step = max(1, min(int(np.ceil((height * width / _SMALL_AREA) ** 0.5)), min(height, width) // 4))
    small = pixels if step == 1 else _reduced(pixels, step)
    return AnalysisView(pixels, small.astype(np.float32), step, scale, size, left, top)


def _reduced(pixels: np.ndarray, factor: int) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).reduce(factor))


def tiles(plane: np.ndarray, corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """Tiles [N, height, width] of ``plane`` [H, W] at ``corners`` int [N, 2], rows and columns."""
    return sliding_window_view(plane, (height, width))[corners[:, 0], corners[:, 1]]


def luma_tiles(pixels: np.ndarray, corners: np.ndarray, side: int) -> np.ndarray:
    """Luma (Rec. 601, as JPEG has it) of square tiles, float32 [N, side, side]."""
    # Rows of px as one run of bytes each, which is quick to copy.
    chosen = tiles(pixels.reshape(len(pixels), -1), corners * (1, 3), side, 3 * side)
    return luminance(chosen.reshape(len(chosen), side, side, 3).astype(np.float32))


def grid(height: int, width: int, side: int, multiple: int = 1) -> np.ndarray:
    """Corners [N, 2] of tiles of ``side`` px side by side, on multiples of ``multiple`` px."""
    step = max(side // multiple, 1) * multiple
    rows = np.arange(0, height - side + 1, step)
    columns = np.arange(0, width - side + 1, step)
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def sample_tiles(corners: np.ndarray, limit: int) -> np.ndarray:
    """At most ``limit`` of the corners [N, 2], spread evenly."""
    if len(corners) <= limit:
        return corners
    return corners[evenly_spaced(len(corners), limit, nearest=True)]


def sampled_lines(pixels: np.ndarray, axis: int) -> np.ndarray:
    """Every px along ``axis`` of lines spread evenly across it, uint8 [length, lines, 3]."""
    lines = np.take(pixels, _line_places(pixels.shape[1 - axis]), axis=1 - axis)
    return lines if axis == 0 else lines.swapaxes(0, 1)


@cache
def _line_places(count: int) -> np.ndarray:
    return evenly_spaced(count, _LINES, nearest=True)


def luminance(rgb: np.ndarray) -> np.ndarray:
    """[..., 3] sRGB of 0 to 255 -> luma [...] of 0 to 255 (Rec. 601)."""
    return np.asarray(rgb @ _LUMA)


def quantiles(values: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """As ``np.quantile``, several times as quick for some thousands of values and two shares."""
    ranked = np.sort(values, axis=None)
    places = np.asarray(shares) * (len(ranked) - 1)
    low = places.astype(np.int64)
    first, second = ranked[low], ranked[np.minimum(low + 1, len(ranked) - 1)]
    return np.asarray(first + (places - low) * (second - first))


def largest(channels: np.ndarray) -> np.ndarray:
    """The largest of the three channels, [..., 3] -> [...].

    Far quicker than ``max`` over so short an axis.
    """
    return np.asarray(np.maximum(np.maximum(channels[..., 0], channels[..., 1]), channels[..., 2]))
