"""Photos to the network's size on 8-bit pixels in numpy: as quick as torch's vector code, without loading torch."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_REACH = {"bicubic": 2.0, "bilinear": 1.0}  # of a filter to each side, in px of the smaller grid
# Outputs computed by one product. A row of the whole matrix is mostly zeros: small bands skip them, smaller ones would
# be bound by their calls.
_ACROSS, _DOWN = 4, 8
_CHANNELS = 3

_Band = tuple[int, int, int, int, np.ndarray]  # outputs from, to; inputs from, to; weights


def resample(pixels: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [size[0], size[1], 3], ``bicubic`` or ``bilinear`` by ``method``.

    The filters of Pillow and of torch's ``interpolate(antialias=True)``, as wide as the scale where it shrinks, applied
    across and then down, rounded to whole values after each. One value in 300 differs from torch's, by one.
    """
    height, width = pixels.shape[:2]
    rows, columns = size
    whole = pixels.reshape(height, width * _CHANNELS).astype(np.float32)
    across = np.empty((height, columns * _CHANNELS), np.float32)
    for start, stop, low, high, weights in _bands(width, columns, method, _CHANNELS, _ACROSS):
        np.matmul(whole[:, low:high], weights, out=across[:, start:stop])
    _round(across)
    out = np.empty((rows, columns * _CHANNELS), np.float32)
    for start, stop, low, high, weights in _bands(height, rows, method, 1, _DOWN):
        np.matmul(weights.T, across[low:high], out=out[start:stop])
    _round(out)
    return out.astype(np.uint8).reshape(rows, columns, _CHANNELS)


def _round(values: np.ndarray) -> None:
    np.rint(values, out=values)
    np.clip(values, 0, 255, out=values)


@lru_cache(maxsize=48)  # two for each size of photo, a quarter of a megabyte
def _bands(inputs: int, outputs: int, method: str, channels: int, step: int) -> tuple[_Band, ...]:
    """The matrix from ``inputs`` to ``outputs`` values of interleaved ``channels``, in bands of ``step`` outputs."""
    scale = inputs / outputs
    wide = max(scale, 1.0)
    reach = _REACH[method] * wide
    centre = scale * (np.arange(outputs) + 0.5)
    low = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    high = np.minimum((centre + reach + 0.5).astype(np.int64), inputs)
    bands: list[_Band] = []
    for start in range(0, outputs, step):
        stop = min(start + step, outputs)
        first, last = int(low[start]), int(high[stop - 1])
        at = np.arange(first, last)[:, None]
        taps = _FILTERS[method]((at + 0.5 - centre[start:stop]) / wide)
        taps[(at < low[start:stop]) | (at >= high[start:stop])] = 0.0
        taps /= taps.sum(axis=0)
        weights = np.zeros((last - first, channels, stop - start, channels), np.float32)
        for channel in range(channels):
            weights[:, channel, :, channel] = taps
        matrix = weights.reshape((last - first) * channels, -1)
        bands.append((start * channels, stop * channels, first * channels, last * channels, matrix))
    return tuple(bands)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' kernel with a = -0.5."""
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1.0 - np.abs(x), 0.0)


_FILTERS = {"bicubic": _cubic, "bilinear": _triangle}
