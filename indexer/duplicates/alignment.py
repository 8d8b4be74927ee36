"""Alignment of two thumbnails, cropped or mirrored, and the share of detail that agrees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

SIDE = 32  # px of a thumbnail, whatever the photo's aspect: a crop changes it
# agreement from which two photos are one picture, between the classes with room on both sides
SAME = 0.74
_TOLERANCE, _BAND_TOLERANCE = 10.0, 8.0  # of 255: a cell agrees within this in its worst channel
_BAND = 5  # rows of the thumbnail that added text may cover, 16% of the height
_BAND_COSTS = 0.06  # leaving out a band makes any two pictures more alike
# Gauss-Newton steps, and how far one may move a span.
_STEPS = 6
_MOVE = 0.05
_CHUNK = 64
_MIRRORED = 0.8  # a mirrored fit must be this much better: many products are symmetric
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
# Where a crop of 10% of both sides may lie, and the whole: (top, height, left, width) as shares.
_STARTS = np.array(
    [(0, 1, 0, 1)] + [(top, 0.9, left, 0.9) for top in (0, 0.05, 0.1) for left in (0, 0.05, 0.1)],
    np.float32,
)


@dataclass(frozen=True)
class Overlap:
    """Agreement of B pairs of thumbnails."""

    # float32 [B] in [0, 1]; from ``SAME`` on the two are one picture
    agreement: np.ndarray
    # bool [B]
    mirrored: np.ndarray


def compare(first: np.ndarray, second: np.ndarray) -> Overlap:
    """Compare thumbnails uint8 [B, 32, 32, 3] pair by pair.

    The agreement is the share of detail (the local contrast, so that a plain background counts for
    next to nothing) that has the same colour in both, after one was laid over the other, mirrored
    where that fits better: as it is, or as a crop of it, found by Gauss-Newton steps (Lucas and
    Kanade 1981) over scale and place from the best of ten starts. A horizontal band of a sixth of
    the height may be left out, at a price, because text covers it.
    """
    agreement = np.zeros(len(first), np.float32)
    mirrored = np.zeros(len(first), bool)
    for start in range(0, len(first), _CHUNK):
        part = slice(start, start + _CHUNK)
        agreement[part], mirrored[part] = _compared(
            first[part].astype(np.float32), second[part].astype(np.float32)
        )
    return Overlap(agreement, mirrored)


def _compared(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mirrored, swapped, starts = _placed(first, second)
    first = np.where(mirrored[:, None, None, None], first[:, :, ::-1], first)
    found = aligned_similarity(first, second)
    places = np.flatnonzero(found < SAME)
    if len(places):
        turned = swapped[places, None, None, None]
        inner = np.where(turned, second[places], first[places])
        outer = np.where(turned, first[places], second[places])
        moved = resample(outer, _aligned(inner @ _GREY, outer @ _GREY, starts[places]))
        found[places] = np.maximum(found[places], share(inner, moved, _TOLERANCE, blur=True))
    return found, mirrored


def align_crop(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find how thumbnails float32 [B, 32, 32, 3], not mirrored, are crops of one another.

    Returns whether ``second`` is the inner one, bool [B], and which part of the outer it is,
    float32 [B, 4], for ``resample``.
    """
    _, swapped, starts = _placed(first, second)
    turned = swapped[:, None, None, None]
    inner = np.where(turned, second, first)
    outer = np.where(turned, first, second)
    return swapped, _aligned(inner @ _GREY, outer @ _GREY, starts)


def aligned_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the agreement float32 [...] of thumbnails [..., 32, 32, 3] as they are.

    All that copies with near codes need, and several times as quick as ``compare``. Leading axes
    broadcast, and what one thumbnail needs is then computed once.
    """
    first = first.astype(np.float32)
    second = second.astype(np.float32)
    with_band = share(first, second, _BAND_TOLERANCE, band=_BAND) - _BAND_COSTS
    return np.maximum(share(first, second, _TOLERANCE, blur=True), with_band)


def share(
    first: np.ndarray, second: np.ndarray, tolerance: float, *, blur: bool = False, band: int = 0
) -> np.ndarray:
    """Return the share float32 [...] of the detail of pictures [..., n, n, 3] that agrees.

    Cells agree within ``tolerance``; leading axes broadcast. The ``band`` adjoining rows that agree
    least are left out. ``blur``: both by (1 2 1)/4 first, since thumbnails of a crop and of its
    original sample the scene at other places.
    """
    if blur:
        first = _blurred(first)
        second = _blurred(second)
    weight = np.minimum(np.maximum(_contrast(first @ _GREY), _contrast(second @ _GREY)), 20.0) + 0.2
    apart = np.abs(first - second)
    # Quicker than ``max`` over three.
    worst = np.maximum(np.maximum(apart[..., 0], apart[..., 1]), apart[..., 2])
    # By row.
    agree = (weight * (worst < tolerance)).sum(-1)
    weight = weight.sum(-1)
    if not band:
        return np.asarray(agree.sum(-1) / weight.sum(-1))
    kept, total = (
        rows.sum(-1, keepdims=True)
        - np.lib.stride_tricks.sliding_window_view(rows, band, axis=-1).sum(-1)
        for rows in (agree, weight)
    )
    return np.asarray((kept / total).max(-1))


def detail(thumbs: np.ndarray) -> np.ndarray:
    """Return the mean local contrast float32 [N] of thumbnails [N, n, n, 3], of 255.

    That of a flat picture is 0.
    """
    return np.asarray(_contrast(thumbs.astype(np.float32) @ _GREY).mean((1, 2)))


def _contrast(grey: np.ndarray) -> np.ndarray:
    """Sum the absolute gradients of both axes, as by ``np.gradient`` in half the time."""
    total = np.zeros_like(grey)
    for out, picture in ((total, grey), (total.swapaxes(-1, -2), grey.swapaxes(-1, -2))):
        out[..., 1:-1] += np.abs(picture[..., 2:] - picture[..., :-2]) / 2
        for edge, inner in ((0, 1), (-1, -2)):
            out[..., edge] += np.abs(picture[..., edge] - picture[..., inner])
    return total


def _blurred(pictures: np.ndarray) -> np.ndarray:
    for axis in (-3, -2):
        lines = np.moveaxis(pictures, axis, 0)
        sums = 2 * lines
        sums[1:] += lines[:-1]
        sums[:-1] += lines[1:]
        for edge in (0, -1):
            sums[edge] += lines[edge]
        pictures = np.moveaxis(sums / 4, 0, axis)
    return pictures


def _placed(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the best rough placement of each pair.

    Returns whether ``first`` is mirrored, whether it is the outer one, and which part of the outer.
    """
    half = (len(first), SIDE // 2, 2, SIDE // 2, 2)
    one, two = ((side @ _GREY).reshape(half).mean((2, 4)) for side in (first, second))
    flipped = one[:, :, ::-1]
    rows, columns = _starts()

    def parts(picture: np.ndarray) -> np.ndarray:
        return np.asarray(
            rows[:, None] @ picture @ columns[:, None].transpose(0, 1, 3, 2)
        )  # [starts, B, n, n]

    of_two = parts(two)
    plain, mirror = (
        np.concatenate([np.abs(of_two - side).mean((2, 3)), np.abs(parts(side) - two).mean((2, 3))])
        for side in (one, flipped)
    )
    mirrored = mirror.min(0) < _MIRRORED * plain.min(0)
    best = np.where(mirrored, mirror.argmin(0), plain.argmin(0))
    return mirrored, best >= len(_STARTS), _STARTS[best % len(_STARTS)]


@cache
def _starts() -> tuple[np.ndarray, np.ndarray]:
    """Return for each of ``_STARTS`` the matrices of rows and columns, at half the side."""
    return _sampling(_STARTS[:, :2], SIDE // 2), _sampling(_STARTS[:, 2:], SIDE // 2)


def _sampling(spans: np.ndarray, side: int) -> np.ndarray:
    """Return matrices float32 [B, side, side] that sample the span (start, length) of a line."""
    cells = np.arange(side, dtype=np.float32)
    places = np.clip(spans[:, :1] * side + spans[:, 1:] * (cells + 0.5) - 0.5, 0, side - 1)
    return np.maximum(1 - np.abs(places[:, :, None] - cells), 0)


def resample(pictures: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Resize the part ``spans`` [B, 4] of each picture [B, n, n, 3] to the whole side."""
    side = pictures.shape[1]
    rows = _sampling(spans[:, :2], side)
    columns = _sampling(spans[:, 2:], side)
    moved = rows[:, None] @ pictures.transpose(0, 3, 1, 2) @ columns[:, None].transpose(0, 1, 3, 2)
    return np.asarray(moved.transpose(0, 2, 3, 1))


def _aligned(inner: np.ndarray, outer: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """Find the spans [B, 4] of ``outer`` [B, n, n] most like ``inner``.

    Derivatives by differences, Huber's weights.
    """
    spans = spans.copy()
    pairs = len(inner)
    step = 0.01
    moves = np.array([(0, 0), (step, 0), (-step, 0), (0, step), (0, -step)], np.float32)
    for _ in range(_STEPS):
        # [pairs, rows or columns, as it is and four ways moved, n, n], in one call: there are few
        # pairs at a time.
        tried = spans.reshape(pairs, 2, 1, 2) + moves
        sampled = _sampling(tried.reshape(-1, 2), SIDE).reshape(pairs, 2, 5, SIDE, SIDE)
        rows = sampled[:, 0, 0]
        columns = sampled[:, 1, 0].transpose(0, 2, 1)
        down = rows @ outer
        across = outer @ columns
        rest = (inner - down @ columns).reshape(pairs, -1)
        # By start and by length.
        change = (sampled[:, :, 1::2] - sampled[:, :, 2::2]) / (2 * step)
        slope = np.concatenate(
            [change[:, 0] @ across[:, None], down[:, None] @ change[:, 1].transpose(0, 1, 3, 2)],
            axis=1,
        ).reshape(pairs, 4, -1)
        scale = np.maximum(2.5 * np.median(np.abs(rest), 1, keepdims=True), 4.0)
        weighted = slope * np.minimum(1, scale / np.maximum(np.abs(rest), 1e-6))[:, None]
        normal = weighted @ slope.transpose(0, 2, 1)
        normal += np.eye(4) * (1e-3 * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-3)
        found = np.linalg.solve(normal, weighted @ rest[..., None])[..., 0]
        spans += np.clip(found, -_MOVE, _MOVE).astype(np.float32)
        spans[:, ::2] = np.clip(spans[:, ::2], -0.25, 0.25)
        spans[:, 1::2] = np.clip(spans[:, 1::2], 0.75, 1.3)
    return spans
