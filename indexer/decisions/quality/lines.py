"""What is laid over a photo or put round it: frames, bands of text, seams of a collage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from indexer.decisions.quality.findings import Box, Measure, rising
from indexer.decisions.quality.product import Product
from indexer.decisions.quality.view import View, luminance, sampled_lines

_STEP = 5.0  # of 255: a change between neighbouring lines that is seen
_FLAT = 10.0  # of 255: a frame strays no more than this from its colour
_LINE = 0.72  # share of the length that a seam must be seen along
_BAND = (0.025, 0.4)  # height of an overlaid band, of the photo's
_FRAME = 0.3  # widest frame at one side, of the photo's
_GUTTER = 0.08  # widest strip between two pictures of a collage


@dataclass(frozen=True)
class Steps:
    """Along one axis: ``share`` [L - 1] of the lines that step between px i and i + 1, ``size`` [L - 1] of the step.

    ``lines`` int16 [L, n, 3] are the sampled px. Only steps that stand alone count: in a texture all places step.
    """

    share: np.ndarray
    size: np.ndarray
    lines: np.ndarray


def steps(view: View, axis: int) -> Steps:
    """Steps down (``axis`` 0) or across (1) the view."""
    lines = sampled_lines(view.pixels, axis)
    if len(lines) < 3:
        return Steps(np.zeros(max(len(lines) - 1, 0)), np.zeros(max(len(lines) - 1, 0)), lines)
    change = np.abs(lines[1:] - lines[:-1]).max(2)
    usual = float(np.median(change))
    share = (change > _STEP + 3 * usual).mean(1)
    around = ndimage.median_filter(share, 15, mode="nearest")
    return Steps(np.clip(share - around, 0, 1), change.mean(1), lines)


def find_border(view: View, down: Steps, across: Steps) -> tuple[int, int, int, int]:
    """Width in px of a frame or of letterbox bars at left, top, right and bottom; 0 where there is none.

    Lines of one colour at the edge, ending in a step along nearly the whole length, on both opposite sides.
    """
    top, bottom = _bars(down)
    left, right = _bars(across)
    return left, top, right, bottom


def _bars(along: Steps) -> tuple[int, int]:
    length = len(along.lines)
    most = int(_FRAME * length)
    ends = np.flatnonzero(along.share >= _LINE)
    first, last = ends[ends < most], ends[ends >= length - 1 - most]
    if not len(first) or not len(last):
        return 0, 0
    begin, end = int(first[0]) + 1, length - 1 - int(last[-1])
    head, tail = along.lines[:begin].astype(np.float32), along.lines[length - end :].astype(np.float32)
    colour = np.median(head, (0, 1))
    flat = all(np.abs(part - colour).max(2).mean() < _FLAT / 3 for part in (head, tail))
    return (begin, end) if flat else (0, 0)


def border(view: View, sides: tuple[int, int, int, int]) -> Measure:
    """The frame's area as a share of the photo's; 0.5 at 2%."""
    left, top, right, bottom = sides
    inner = (view.width - left - right) * (view.height - top - bottom)
    share = 1 - inner / (view.width * view.height)
    names = ("left", "top", "right", "bottom")
    evidence = {name: float(round(side * view.scale)) for name, side in zip(names, sides, strict=True)}
    where = view.original(left, top, view.width - left - right, view.height - top - bottom) if share else None
    return Measure(rising(share, 0.02), {**evidence, "share": share}, where)


@dataclass(frozen=True)
class Band:
    """Rows ``top`` to ``bottom`` (px of the view) between two straight edges right across; ``share`` of the width."""

    top: int
    bottom: int
    share: float
    contrast: float


def find_band(down: Steps) -> Band | None:
    """A strip laid over the photo: two straight steps across nearly the whole width, near each other."""
    length = len(down.lines)
    places = np.flatnonzero(down.share >= 0.5)
    places = places[np.argsort(down.share[places])[::-1][:12]]
    best = None
    for first in places:
        for second in places:
            tall = int(second - first)
            if not _BAND[0] * length <= tall <= _BAND[1] * length:
                continue
            share = float(min(down.share[first], down.share[second]))
            # Where a band ends, what was above it goes on: lines outside are alike more than either is to the inside.
            above, below = down.lines[max(first - 1, 0)], down.lines[min(second + 2, length - 1)]
            inside = down.lines[first + 2 : second]
            differs = np.abs(np.median(inside, 0) - (above + below) / 2).max(1)
            goes_on = float(np.median(np.abs(above - below).max(1))) < 0.6 * float(np.median(differs)) + 8
            if share >= 0.55 and goes_on and (best is None or share > best.share):
                contrast = float((down.size[first] + down.size[second]) / 2)
                best = Band(int(first) + 1, int(second) + 1, share, contrast)
    return best


def text_overlay(view: View, band: Band | None, product: Product) -> Measure:
    """An overlaid band, or marks in a row beside the product; grows with how strongly it covers what is under it."""
    if band is not None:
        inside = luminance(view.pixels[band.top : band.bottom, :: max(1, view.width // 128)].astype(np.float32))
        low, high = np.quantile(inside, (0.03, 0.97))
        cover = (band.contrast + 0.5 * float(high - low)) / 255
        where: Box | None = view.original(0, band.top, view.width, band.bottom - band.top)
        evidence = {"band": band.share, "cover": cover, "marks": 0.0}
        return Measure(0.3 + 0.7 * rising(band.share * cover, 0.4), evidence, where)
    count, width, box = _marks(view, product)
    where = None if box is None else view.original(*box)
    return Measure(0.8 * rising(width, 0.6), {"band": 0.0, "cover": 0.0, "marks": float(count)}, where)


def _marks(view: View, product: Product) -> tuple[int, float, Box | None]:
    """Several separate small things of like height in one row beside the product: how many, how wide together."""
    if not product.plain or product.box is None:
        return 0, 0.0, None
    labels, count = ndimage.label(product.mask, np.ones((3, 3)))
    places = ndimage.find_objects(labels)
    height, width = product.mask.shape
    small = [place for place in places if 0.02 * height < place[0].stop - place[0].start < 0.15 * height]
    best: list[tuple[slice, slice]] = []
    for one in small:
        middle, tall = (one[0].start + one[0].stop) / 2, one[0].stop - one[0].start
        row = [
            other
            for other in small
            if abs((other[0].start + other[0].stop) / 2 - middle) < 0.4 * tall
            and 0.5 < (other[0].stop - other[0].start) / tall < 2
        ]
        if len(row) > len(best):
            best = row
    if len(best) < 4:
        return 0, 0.0, None
    top, bottom = min(place[0].start for place in best), max(place[0].stop for place in best)
    left, right = min(place[1].start for place in best), max(place[1].stop for place in best)
    step = view.step
    return len(best), (right - left) / width, (left * step, top * step, (right - left) * step, (bottom - top) * step)


def collage(view: View, down: Steps, across: Steps, band: Band | None) -> Measure:
    """Straight seams right through the photo, away from its edges: pictures side by side."""
    found: dict[str, float] = {}
    seams: list[tuple[float, bool, int]] = []
    for name, along, vertical in (("horizontal", down, False), ("vertical", across, True)):
        length = len(along.lines)
        places = np.arange(len(along.share))
        inner = (places > 0.15 * length) & (places < 0.85 * length)
        if band is not None and not vertical:
            inner &= (places < band.top - 3) | (places > band.bottom + 3)
        share = np.where(inner, along.share, 0.0)
        best = int(share.argmax()) if len(share) else 0
        strength = float(share[best]) if len(share) else 0.0
        found[name] = strength
        seams.append((strength, vertical, best))
    strength, vertical, place = max(seams)
    score = rising(max(strength - 0.4, 0.0) ** 2 * 4, 0.6)
    where = None
    if strength >= _LINE:
        where = view.original(place, 0, 2, view.height) if vertical else view.original(0, place, view.width, 2)
    return Measure(score, found, where)
