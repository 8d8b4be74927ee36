"""Straight steps across a photo: edges of a frame and of an overlaid band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from indexer.imaging.analysis_view import AnalysisView, largest, sampled_lines

# of 255: a change between neighbouring lines that is seen
_STEP = 5.0
# of 255: a frame strays no more than this from its colour
_FLAT = 10.0
# share of the length that a seam must be seen along
LINE_SHARE = 0.72
# least and greatest height of an overlaid band, of the photo's; share of its width
_BAND_HEIGHT = (0.025, 0.4)
_BAND_SHARE = 0.7
# widest frame at one side, of the photo's
_FRAME = 0.3


@dataclass(frozen=True)
class Steps:
    """Along one axis: ``share`` [L - 1] of the lines that step between px i and i + 1.

    ``lines`` uint8 [L, n, 3] are the sampled px, ``change`` uint8 [L - 1, n] their steps. In
    ``share`` only steps that stand alone count: in a texture all places step.
    """

    share: np.ndarray
    change: np.ndarray
    lines: np.ndarray


def find_steps(view: AnalysisView, axis: int) -> Steps:
    """Find the steps down (``axis`` 0) or across (1) the view."""
    lines = sampled_lines(view.pixels, axis)
    after, before = lines[1:], lines[:-1]
    change = largest(np.maximum(after, before) - np.minimum(after, before))
    if len(lines) < 3:
        return Steps(np.zeros(len(change)), change, lines)
    share = np.count_nonzero(change > int(_STEP + 3 * _median(change)), axis=1) / change.shape[1]
    around = ndimage.median_filter(share, 15, mode="nearest")
    return Steps(np.clip(share - around, 0, 1), change, lines)


def _median(levels: np.ndarray) -> float:
    """The median of uint8 values: of their histogram, which is quicker than sorting them."""
    below = np.cumsum(np.bincount(levels.ravel(order="K"), minlength=256))
    middle = [(levels.size - 1) // 2, levels.size // 2]
    return float(np.searchsorted(below, middle, side="right").mean())


def find_border(down: Steps, across: Steps) -> tuple[int, int, int, int]:
    """Measure a frame or letterbox bars: px at left, top, right and bottom, 0 without any.

    Lines of one colour at the edge, ending in a step along nearly the whole length, on both
    opposite sides.
    """
    top, bottom = _bars(down)
    left, right = _bars(across)
    return left, top, right, bottom


def _bars(along: Steps) -> tuple[int, int]:
    """Px of bars of one colour at the start and the end; 0, 0 unless both are there."""
    length = len(along.lines)
    most = int(_FRAME * length)
    ends = np.flatnonzero(along.share >= LINE_SHARE)
    first, last = ends[ends < most], ends[ends >= length - 1 - most]
    if not len(first) or not len(last):
        return 0, 0
    begin, end = int(first[0]) + 1, length - 1 - int(last[-1])
    head = along.lines[:begin].astype(np.float32)
    tail = along.lines[length - end :].astype(np.float32)
    colour = np.median(head, (0, 1))
    flat = all(largest(np.abs(part - colour)).mean() < _FLAT / 3 for part in (head, tail))
    return (begin, end) if flat else (0, 0)


@dataclass(frozen=True)
class Band:
    """Rows ``top`` to ``bottom`` (px of the view) between two straight edges.

    ``share`` of the width that the edges cross; ``contrast`` of the edges, of 255.
    """

    top: int
    bottom: int
    share: float
    contrast: float


def find_band(down: Steps) -> Band | None:
    """Find an overlaid strip: two straight steps across nearly the whole width, near each other."""
    length = len(down.lines)
    places = np.flatnonzero(down.share >= _BAND_SHARE)
    places = places[np.argsort(down.share[places])[::-1][:12]]
    best: Band | None = None
    for first in places.tolist():
        for second in places.tolist():
            tall = int(second - first)
            if not _BAND_HEIGHT[0] * length <= tall <= _BAND_HEIGHT[1] * length:
                continue
            share = float(min(down.share[first], down.share[second]))
            if _is_overlaid(down.lines, first, second) and (best is None or share > best.share):
                contrast = float(down.change[[first, second]].mean())
                best = Band(int(first) + 1, int(second) + 1, share, contrast)
    return best


def _is_overlaid(lines: np.ndarray, first: int, second: int) -> bool:
    """Whether the photo goes on below what lies between two steps as it was above.

    The lines outside are then alike more than either is to the inside.
    """
    above = lines[max(first - 1, 0)].astype(np.float32)
    below = lines[min(second + 2, len(lines) - 1)].astype(np.float32)
    inside = np.median(lines[first + 2 : second], 0)
    differs = float(np.median(largest(np.abs(inside - (above + below) / 2))))
    return float(np.median(largest(np.abs(above - below)))) < 0.6 * differs + 8
