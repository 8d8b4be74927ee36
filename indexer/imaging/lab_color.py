"""CIELAB colour histogram of a photo, in numpy for processes that do not load torch."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.special import expit

LIGHTNESS = (15.0, 35.0, 55.0, 75.0, 93.0)
# of a* and of b*
CHROMA = (-48.0, -28.0, -12.0, 0.0, 12.0, 28.0, 48.0, 66.0)
# spread of a pixel over neighbouring bins, in Lab units
SOFTNESS = 8.0
# the photo is averaged to this side, then every other pixel is read
SIDE = 56
# Cells along each side of the photo, of which version 2 knows colour and presence.
CELLS = 7
# Version of the statistics -> K, how many numbers they are. A model keeps the version that it
# learned from (``spec.ModelSpec.colours``).
WIDTHS = {
    1: len(LIGHTNESS) * len(CHROMA) ** 2 + 6,
    2: len(LIGHTNESS) * len(CHROMA) ** 2 + 6 + 4 * CELLS**2,
}
NEWEST = max(WIDTHS)

# sRGB (D65) to XYZ, IEC 61966-2-1; rows already divided by the white point 0.95047, 1, 1.08883.
XYZ = (
    (0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883),
)

_HALF = SIDE // 2
_XYZ = np.array(XYZ, np.float32).T
_ACROSS = np.linspace(-1, 1, _HALF, dtype=np.float32)
_CENTRE = (
    np.exp(-(_ACROSS[:, None] ** 2 + _ACROSS[None] ** 2) / (2 * 0.6**2))
    .astype(np.float32)
    .reshape(1, -1)
)
_EDGE = np.zeros((_HALF, _HALF), bool)
_EDGE[[0, -1]] = _EDGE[:, [0, -1]] = True
# each is counted with both of its sides
_CORNERS = [0, _HALF - 1, _HALF * (_HALF - 1), _HALF * _HALF - 1]
_BORDER = np.concatenate([np.flatnonzero(_EDGE.ravel()), _CORNERS])
_MIDDLE = (len(_BORDER) - 1) // 2


def statistics(pixels: np.ndarray, version: int) -> np.ndarray:
    """Compute the colour statistics float32 [N, K] of photos uint8 [N, H, W, 3].

    ``color_features.ColourStatistics`` says what the numbers are.
    """
    lab = to_lab(_shrunk(pixels)).reshape(len(pixels), _HALF * _HALF, 3)
    ground = np.partition(lab[:, _BORDER], _MIDDLE, axis=1)[:, _MIDDLE : _MIDDLE + 1]
    away = lab - ground
    distance = np.sqrt(np.einsum("npc,npc->np", away, away))
    product = expit((distance - 8.0) / 2.0)
    weight = _CENTRE * (product + np.float32(1e-4))
    weight /= weight.sum(axis=1, keepdims=True)
    light, red, blue = (
        _soft(lab[:, :, axis], bins) for axis, bins in enumerate((LIGHTNESS, CHROMA, CHROMA))
    )
    light *= weight[:, :, None]
    both = (light[:, :, :, None] * red[:, :, None, :]).reshape(len(lab), lab.shape[1], -1)
    shares = (both.transpose(0, 2, 1) @ blue).reshape(len(lab), -1)
    mean = (weight[:, None, :] @ lab)[:, 0]
    spread = np.sqrt((weight[:, None, :] @ np.square(lab - mean[:, None]))[:, 0])
    found = [np.sqrt(shares), mean / 50, spread / 50]
    if version >= 2:
        found += _by_place(lab, product)
    return np.concatenate(found, axis=1)


def _by_place(lab: np.ndarray, product: np.ndarray) -> list[np.ndarray]:
    """Lab and presence of the product in CELLS x CELLS cells: [N, 3 cells] and [N, cells]."""
    count, side = len(lab), _HALF // CELLS
    weight = (product + np.float32(1e-3)).reshape(count, CELLS, side, CELLS, side, 1)
    pixels = lab.reshape(count, CELLS, side, CELLS, side, 3)
    total = weight.sum(axis=(2, 4))
    colour = (pixels * weight).sum(axis=(2, 4)) / total
    presence = total / np.float32(side * side)
    return [(colour / 50).reshape(count, -1), presence.reshape(count, -1)]


def _soft(values: np.ndarray, bins: tuple[float, ...]) -> np.ndarray:
    """[N, P] -> [N, P, bins]: softmax by squared distance to each bin."""
    steps = values[:, :, None] - np.array(bins, np.float32)
    steps *= steps
    steps *= np.float32(-1 / (2 * SOFTNESS**2))
    steps -= steps.max(axis=2, keepdims=True)
    np.exp(steps, out=steps)
    steps /= steps.sum(axis=2, keepdims=True)
    return steps


def _shrunk(pixels: np.ndarray) -> np.ndarray:
    """Every other cell's mean RGB in [0, 1], float32 [N, SIDE / 2, SIDE / 2, 3].

    The other cells are never touched.
    """
    count, height, width, _ = pixels.shape
    side = height // SIDE
    if (height, width) != (side * SIDE, side * SIDE):
        return _averaged(pixels)
    rows = pixels.reshape(count, SIDE, side, -1)[:, ::2].sum(axis=2, dtype=np.uint16)
    cells = rows.reshape(count, _HALF, SIDE, side, 3)[:, :, ::2].sum(axis=3, dtype=np.uint32)
    return cells.astype(np.float32) / np.float32(255 * side * side)


def _averaged(pixels: np.ndarray) -> np.ndarray:
    """The same where cells are not all of one size.

    A cell takes part in every pixel that it touches.
    """
    count, height, width, _ = pixels.shape
    rgb = pixels.reshape(count, height, -1).astype(np.float32) / np.float32(255)
    rows = (_shares(height) @ rgb).reshape(count, _HALF, width, 3)
    return np.einsum("xw,nywc->nyxc", _shares(width), rows, optimize=True)


@cache
def _shares(length: int) -> np.ndarray:
    """How much each of ``length`` pixels counts in the mean of every other cell, [SIDE / 2, L]."""
    shares = np.zeros((_HALF, length), np.float32)
    for row, cell in enumerate(range(0, SIDE, 2)):
        start, stop = cell * length // SIDE, -(-(cell + 1) * length // SIDE)
        shares[row, start:stop] = 1 / (stop - start)
    return shares


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] -> CIE Lab (D65), over the last axis."""
    linear = np.where(
        rgb > 0.04045,
        ((rgb + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4),
        rgb / 12.92,
    )
    xyz = linear.astype(np.float32) @ _XYZ
    root = np.where(
        xyz > 216 / 24389, np.cbrt(xyz), xyz * np.float32(24389 / 27 / 116) + np.float32(16 / 116)
    )
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
