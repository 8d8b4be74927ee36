"""Boxes: overlap, corners to boxes, sizes that never vanish."""

from __future__ import annotations

import pytest

from indexer.imaging.geometry import box_around, intersection, iou, scaled_size


@pytest.mark.parametrize(
    ("other", "common", "ratio"),
    [
        ((0, 0, 10, 10), 100, 1.0),
        ((5, 0, 10, 10), 50, 1 / 3),
        ((10, 0, 10, 10), 0, 0.0),
        ((30, 30, 5, 5), 0, 0.0),
        ((2, 2, 5, 5), 25, 0.25),
    ],
)
def test_overlap_of_two_boxes(other: tuple[int, int, int, int], common: int, ratio: float) -> None:
    """Area in common, and that over the union; boxes that touch or lie apart have none."""
    assert intersection((0, 0, 10, 10), other) == common
    assert iou((0, 0, 10, 10), other) == pytest.approx(ratio)


def test_a_box_around_corners_is_of_the_original() -> None:
    """Corners on a copy at half size give a box at full size, of at least a px a side."""
    assert box_around([(5, 6), (15, 5), (14, 25)], 0.5) == (10, 10, 20, 40)
    assert box_around([(5, 6)], 0.5) == (10, 12, 1, 1)


def test_a_scaled_size_keeps_a_px() -> None:
    """Sides are rounded, and never 0."""
    assert scaled_size((640, 480), 0.25) == (160, 120)
    assert scaled_size((3000, 2), 0.1) == (300, 1)
