"""Foreground mask of the product: what differs from the background at the photo's border."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from indexer.imaging.analysis_view import AnalysisView, largest
from indexer.imaging.geometry import Box

# of 255, largest channel: a border pixel this near the background's colour belongs to it
_SAME = 24.0
# of 255: from this far off the background's colour a pixel is product; by its spread
_LEAST = 8.0
_MOST = 30.0
# share of the border that is of one (slowly changing) colour where a background is plain
_PLAIN = 0.55
# parts smaller than this share of the largest are no part of the product
_SPECK = 0.015
# share of the photo below which nothing is a product
_FEWEST = 0.002
# spread of the centre's advantage on busy photos, in half sides
_CENTRE = 0.55
# border colours remembered on busy photos
_COLOURS = 10


@dataclass(frozen=True)
class ForegroundProduct:
    """The product's place in a photo, and the background's colour.

    ``mask`` bool [h, w] over ``AnalysisView.small``; ``box`` in px of ``AnalysisView.pixels``,
    None: no product.

    ``plain``: the background is of one colour, so mask and box are reliable. ``sure`` in [0, 1]:
    how far to trust them. ``background`` float32 [3] is the border's main colour, ``spread`` how
    much the border strays from it, of 255.
    """

    mask: np.ndarray
    box: Box | None
    plain: bool
    sure: float
    background: np.ndarray
    spread: float


def find_product(
    view: AnalysisView, without: list[tuple[int, int]] | None = None
) -> ForegroundProduct:
    """Find the product in ``view``.

    ``without``: row ranges of ``view.pixels`` that an overlaid band covers.

    On a plain background the mask is what differs from it: a plane through the border's main
    colour, so that a gradient of light is background too. On a busy one it is a guess: far from the
    border's commonest colours, towards the centre, one piece (threshold: Otsu 1979). ``sure`` is
    small there.
    """
    small = view.small
    step = view.step
    ring = _ring(small.shape[:2])
    for start, stop in without or []:
        ring[start // step : -(-stop // step)] = False
    if not ring.any():
        ring = _ring(small.shape[:2])
    ground, colour, share, spread, strays = _background(small, ring)
    plain = share >= _PLAIN
    threshold = float(np.clip(_LEAST + 3 * spread, _LEAST, _MOST))
    if plain:
        mask = ground.distance(small) > threshold
        sure = min(1.0, (share - _PLAIN) / (0.9 - _PLAIN) * 0.5 + 0.5)
    else:
        mask, sure = _salient(small, ring)
    for start, stop in without or []:
        mask[start // step : -(-stop // step)] = False
    mask = _without_specks(mask, one=not plain)
    box = None
    if mask.sum() >= max(_FEWEST * mask.size, 1):
        box = _box(mask, step, view)
        if plain:
            box = _refined(view, box, ground, threshold)
    else:
        mask = np.zeros_like(mask)
    if not plain:
        colour = small[ring].mean(0)
    return ForegroundProduct(mask, box, plain, float(sure), colour, strays)


def _ring(shape: tuple[int, ...]) -> np.ndarray:
    """Mask bool [h, w] of the photo's border."""
    thick = max(1, round(0.03 * min(shape)))
    ring = np.ones(shape, bool)
    if min(shape) > 2 * thick:
        ring[thick:-thick, thick:-thick] = False
    return ring


@dataclass(frozen=True)
class _Ground:
    """A background whose colour changes slowly.

    ``plane`` float64 [3, 3]: the colour at the middle, its change by row and by column.
    """

    plane: np.ndarray
    height: int
    width: int

    def at(self, row: int, column: int) -> np.ndarray:
        """Colour float32 [3] there."""
        row, column = min(row, self.height - 1), min(column, self.width - 1)
        place = np.array([1.0, row / self.height - 0.5, column / self.width - 0.5])
        return (place @ self.plane).astype(np.float32)

    def distance(self, small: np.ndarray) -> np.ndarray:
        """How far each px is from it, in the channel where that is most, float32 [h, w]."""
        down, across = (np.arange(side) / side - 0.5 for side in (self.height, self.width))
        most = np.zeros(small.shape[:2], np.float32)
        # One by one: numpy is slow over rows of three.
        for channel in range(3):
            middle, by_row, by_column = self.plane[:, channel]
            rows = (middle + down * by_row).astype(np.float32)
            columns = (across * by_column).astype(np.float32)
            np.maximum(most, np.abs(small[..., channel] - (rows[:, None] + columns)), out=most)
        return most


def _background(
    small: np.ndarray, ring: np.ndarray
) -> tuple[_Ground, np.ndarray, float, float, float]:
    """The background, and how well it fits the border.

    Returns it with its mean colour [3] along the border, the share of the border on it, how that
    share strays from it, and how all of the border does.
    """
    pixels = small[ring]
    mode = _common_colours(pixels, 1)[0]
    rows, columns = np.nonzero(ring)
    height, width = ring.shape
    basis = np.stack([np.ones(len(rows)), rows / height - 0.5, columns / width - 0.5], 1)
    plane = np.stack([mode, np.zeros(3), np.zeros(3)])
    away = largest(np.abs(pixels - mode))
    near = away < _SAME
    for _ in range(2):
        if near.sum() < 12:
            break
        # Least squares by the normal equations; the ridge decides where all px lie in one line.
        kept = basis * near[:, None]
        plane = np.linalg.solve(kept.T @ basis + 1e-6 * np.eye(3), kept.T @ pixels)
        away = largest(np.abs(pixels - basis @ plane))
        near = away < _SAME * 0.75
    spread = float(away[near].mean()) if near.any() else 0.0
    colour = (basis.mean(0) @ plane).astype(np.float32)
    return _Ground(plane, height, width), colour, float(near.mean()), spread, float(away.mean())


def _common_colours(pixels: np.ndarray, limit: int) -> np.ndarray:
    """The commonest colours [K, 3] of pixels [N, 3]: means of the fullest cells of 32 levels."""
    cell = (pixels / 32).round().astype(int) @ np.array([1, 9, 81])
    counts = np.bincount(cell)
    fullest = np.argsort(counts)[::-1][:limit]
    return np.stack([pixels[cell == number].mean(0) for number in fullest if counts[number]])


def _salient(small: np.ndarray, ring: np.ndarray) -> tuple[np.ndarray, float]:
    """Mask bool [h, w] of what is unlike the border and near the centre.

    Returns how clearly it stands out too, up to 0.5.
    """
    smooth = ndimage.uniform_filter(np.ascontiguousarray(small.transpose(2, 0, 1)), (1, 3, 3))
    distance = np.full(ring.shape, np.inf, np.float32)
    for colour in _common_colours(smooth[:, ring].T, _COLOURS).astype(np.float32):
        red, green, blue = (
            np.abs(channel - level) for channel, level in zip(smooth, colour, strict=True)
        )
        np.minimum(distance, red + green + blue, out=distance)
    height, width = ring.shape
    down, across = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    salience = distance * np.exp(-(down**2 + across**2) / (2 * _CENTRE**2))
    threshold, clear = otsu_threshold(salience)
    mask = ndimage.binary_closing(salience > threshold, iterations=2)
    # Holes are what cannot be reached from the edge; labels tell that quicker than
    # ``binary_fill_holes``.
    outside, count = ndimage.label(~mask)
    reached = np.zeros(count + 1, bool)
    for edge in (outside[0], outside[-1], outside[:, 0], outside[:, -1]):
        reached[edge] = True
    reached[0] = False
    return ~reached[outside], 0.5 * clear


def otsu_threshold(values: np.ndarray) -> tuple[float, float]:
    """The threshold that parts values best in two (Otsu 1979), and the variance it explains.

    That is a share in [0, 1].
    """
    counts, edges = np.histogram(values, 64)
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    above = values.size - below
    sums = np.cumsum(counts * middles)
    gap = sums[:-1] / np.maximum(below, 1) - (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    between = below * above * gap**2 / values.size**2
    best = int(np.argmax(between))
    return float(edges[best + 1]), float(between[best] / max(float(values.var()), 1e-9))


def _without_specks(mask: np.ndarray, *, one: bool) -> np.ndarray:
    """The largest part alone, or all parts that are no specks beside it."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if count <= 1:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    keep = sizes == sizes.max() if one else sizes >= _SPECK * sizes.max()
    keep[0] = False
    return np.asarray(keep[labels])


def _box(mask: np.ndarray, step: int, view: AnalysisView) -> Box:
    """The box around a mask over the small copy, in px of ``view.pixels``."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]) * step, int(rows[0]) * step
    right = min((int(columns[-1]) + 1) * step, view.width)
    bottom = min((int(rows[-1]) + 1) * step, view.height)
    return left, top, right - left, bottom - top


def _refined(view: AnalysisView, box: Box, ground: _Ground, threshold: float) -> Box:
    """The box to the px: in strips at each side, lines that hold pixels unlike the background."""
    x, y, w, h = box
    step = view.step
    if step == 1:
        return box
    left, top, right, bottom = x, y, x + w, y + h

    def off(rows: slice, columns: slice) -> np.ndarray:
        part = view.pixels[rows, columns]
        colour = ground.at(rows.start // step, columns.start // step)
        return np.asarray(largest(np.abs(part - colour)) > threshold)

    def span(start: int, stop: int, most: int) -> slice:
        return slice(max(start, 0), min(stop, most))

    tall, wide = span(top, bottom, view.height), span(left, right, view.width)
    strip = span(left - 2, left + step + 2, view.width)
    found = np.flatnonzero(off(tall, strip).any(0))
    left = strip.start + int(found[0]) if len(found) else left
    strip = span(right - step - 2, right + 2, view.width)
    found = np.flatnonzero(off(tall, strip).any(0))
    right = strip.start + int(found[-1]) + 1 if len(found) else right
    strip = span(top - 2, top + step + 2, view.height)
    found = np.flatnonzero(off(strip, wide).any(1))
    top = strip.start + int(found[0]) if len(found) else top
    strip = span(bottom - step - 2, bottom + 2, view.height)
    found = np.flatnonzero(off(strip, wide).any(1))
    bottom = strip.start + int(found[-1]) + 1 if len(found) else bottom
    return left, top, max(right - left, 1), max(bottom - top, 1)
