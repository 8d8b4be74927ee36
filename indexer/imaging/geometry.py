"""Boxes in pixels, and sizes to scale to."""

from __future__ import annotations

from collections.abc import Sequence

# x, y, width, height in px
Box = tuple[int, int, int, int]


def iou(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes x, y, width, height."""
    common = intersection(one, other)
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def intersection(one: Sequence[float], other: Sequence[float]) -> float:
    """Area that two boxes have in common."""
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(across, 0) * max(down, 0)


def box_around(corners: Sequence[tuple[float, float]], scale: float) -> Box:
    """The box around points x, y found on a copy scaled by ``scale``, in px of the original."""
    xs = [x / scale for x, _ in corners]
    ys = [y / scale for _, y in corners]
    left, top = round(min(xs)), round(min(ys))
    return left, top, max(1, round(max(xs)) - left), max(1, round(max(ys)) - top)


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Width and height times ``scale``, rounded, at least 1 px."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
