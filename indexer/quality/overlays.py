"""What is laid over a photo or put round it: frames, bands of text, seams of a collage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from indexer.imaging.analysis_view import AnalysisView, largest, luminance, quantiles, sampled_lines
from indexer.quality.findings import Measure, rising

_STEP = 5.0  # of 255: a change between neighbouring lines that is seen
_FLAT = 10.0  # of 255: a frame strays no more than this from its colour
_LINE = 0.72  # share of the length that a seam must be seen along
_BAND, _BAND_SHARE = (
    (0.025, 0.4),
    0.7,
)  # height of an overlaid band, of the photo's; share of its width
_FRAME = 0.3  # widest frame at one side, of the photo's
_STRIPS, _STROKE = (
    12,
    12.0,
)  # strips of the width that text must fill; change between px that is a stroke's edge


@dataclass(frozen=True)
class Steps:
    """Along one axis: ``share`` [L - 1] of the lines that step between px i and i + 1.

    ``lines`` uint8 [L, n, 3] are the sampled px, ``change`` uint8 [L - 1, n] their steps. In
    ``share`` only steps that stand alone count: in a texture all places step.
    """

    share: np.ndarray
    change: np.ndarray
    lines: np.ndarray


def steps(view: AnalysisView, axis: int) -> Steps:
    """Steps down (``axis`` 0) or across (1) the view."""
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
    return float(
        np.searchsorted(below, [(levels.size - 1) // 2, levels.size // 2], side="right").mean()
    )


def find_border(view: AnalysisView, down: Steps, across: Steps) -> tuple[int, int, int, int]:
    """Width in px of a frame or of letterbox bars at left, top, right and bottom; 0 where there is
    none.

    Lines of one colour at the edge, ending in a step along nearly the whole length, on both
    opposite sides.
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
    head, tail = (
        along.lines[:begin].astype(np.float32),
        along.lines[length - end :].astype(np.float32),
    )
    colour = np.median(head, (0, 1))
    flat = all(largest(np.abs(part - colour)).mean() < _FLAT / 3 for part in (head, tail))
    return (begin, end) if flat else (0, 0)


def border(view: AnalysisView, sides: tuple[int, int, int, int]) -> Measure:
    """The frame's area as a share of the photo's; 0.5 at 2%."""
    left, top, right, bottom = sides
    inner = (view.width - left - right) * (view.height - top - bottom)
    share = 1 - inner / (view.width * view.height)
    names = ("left", "top", "right", "bottom")
    evidence = {
        name: float(round(side * view.scale)) for name, side in zip(names, sides, strict=True)
    }
    where = (
        view.original(left, top, view.width - left - right, view.height - top - bottom)
        if share
        else None
    )
    return Measure(rising(share, 0.02), {**evidence, "share": share}, where)


@dataclass(frozen=True)
class Band:
    """Rows ``top`` to ``bottom`` (px of the view) between two straight edges right across;
    ``share`` of the width."""

    top: int
    bottom: int
    share: float
    contrast: float


def find_band(down: Steps) -> Band | None:
    """A strip laid over the photo: two straight steps across nearly the whole width, near each
    other."""
    length = len(down.lines)
    places = np.flatnonzero(down.share >= _BAND_SHARE)
    places = places[np.argsort(down.share[places])[::-1][:12]]
    best: Band | None = None
    for first in places.tolist():
        for second in places.tolist():
            tall = int(second - first)
            if not _BAND[0] * length <= tall <= _BAND[1] * length:
                continue
            share = float(min(down.share[first], down.share[second]))
            # Where a band ends, what was above it goes on: lines outside are alike more than either
            # is to the inside.
            above, below = (
                down.lines[place].astype(np.float32)
                for place in (max(first - 1, 0), min(second + 2, length - 1))
            )
            inside = down.lines[first + 2 : second]
            differs = largest(np.abs(np.median(inside, 0) - (above + below) / 2))
            goes_on = (
                float(np.median(largest(np.abs(above - below))))
                < 0.6 * float(np.median(differs)) + 8
            )
            if goes_on and (best is None or share > best.share):
                contrast = float(down.change[[first, second]].mean())
                best = Band(int(first) + 1, int(second) + 1, share, contrast)
    return best


@dataclass(frozen=True)
class TextRow:
    """Rows ``top`` to ``bottom`` (px of the view) that look like a line of text right across the
    photo.

    ``full``: how much fuller of strokes than the rows above and below, in [0, 1]; ``contrast`` of
    the strokes, of 255.
    """

    top: int
    bottom: int
    full: float
    contrast: float


def find_text(view: AnalysisView, noise: float) -> TextRow | None:
    """The row range where strokes fill the photo's width, but not above and below it: a line of
    text laid over it.

    What is printed on a product is no wider than the product, and fabric goes on above and below.
    """
    after, before = view.green[::2, 1:], view.green[::2, :-1]
    change = np.maximum(after, before) - np.minimum(after, before)
    rows, width = change.shape
    strip = width // _STRIPS
    if strip < 6 or rows < 40:
        return None
    strong = change > int(_STROKE + 4 * noise)
    counts = np.add.reduceat(
        strong[:, : strip * _STRIPS], np.arange(_STRIPS) * strip, axis=1, dtype=np.int32
    )
    filled = (np.minimum(counts, 3) / 3).astype(np.float32)
    best: tuple[float, int, int] | None = None
    sums = np.concatenate([np.zeros((1, _STRIPS), np.float32), np.cumsum(filled, 0)])
    for share in (0.045, 0.065, 0.09):
        tall = max(4, round(share * rows))
        gap, flank = max(1, tall // 3), max(2, tall // 2)
        means = (sums[tall:] - sums[:-tall]) / tall
        flanks = (sums[flank:] - sums[:-flank]) / flank
        places = np.arange(gap + flank, len(means) - gap - flank - 1)
        if not len(places):
            continue
        beside = np.maximum(
            flanks[places - gap - flank], flanks[np.minimum(places + tall + gap, len(flanks) - 1)]
        )
        # The median over strips: most of the width must be filled, and emptier both above and
        # below.
        fuller = np.sort(np.clip(means[places] - beside, 0, 1), axis=1)
        full = (fuller[:, _STRIPS // 2 - 1] + fuller[:, _STRIPS // 2]) / 2
        at = int(full.argmax())
        if best is None or full[at] > best[0]:
            best = float(full[at]), int(places[at]), tall
    if best is None:
        return None
    full_most, top, tall = best
    hits = change[top : top + tall][strong[top : top + tall]]
    contrast = float(quantiles(hits, [0.75])[0]) if len(hits) else 0.0
    return TextRow(2 * top, 2 * (top + tall), full_most, contrast)


def text_overlay(view: AnalysisView, band: Band | None, text: TextRow | None) -> Measure:
    """An overlaid band or line of text; grows with how strongly it covers what is under it."""
    seen, cover, where = 0.0, 0.0, None
    evidence = {"band": 0.0, "text": 0.0, "cover": 0.0}
    if text is not None and text.full > 0.12:
        seen, cover = min(1.0, 2 * text.full), text.contrast / 255
        where = view.original(0, text.top, view.width, text.bottom - text.top)
        evidence["text"] = text.full
    if band is not None:
        inside = luminance(
            view.pixels[band.top : band.bottom, :: max(1, view.width // 128)].astype(np.float32)
        )
        low, high = np.quantile(inside, (0.03, 0.97))
        seen = band.share
        cover = max(cover, (band.contrast + float(high - low)) / 2 / 255)
        where = view.original(0, band.top, view.width, band.bottom - band.top)
        evidence["band"] = band.share
    evidence["cover"] = cover
    return Measure(0.3 * seen + 0.7 * rising(seen * cover, 0.4), evidence, where)


def collage(view: AnalysisView, down: Steps, across: Steps, band: Band | None) -> Measure:
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
    score = rising(max(strength - 0.55, 0.0) ** 2 * 8, 0.6)
    where = None
    if strength >= _LINE:
        where = (
            view.original(place, 0, 2, view.height)
            if vertical
            else view.original(0, place, view.width, 2)
        )
    return Measure(score, found, where)
