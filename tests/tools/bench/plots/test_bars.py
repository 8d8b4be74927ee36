"""The picture of a benchmark's goals."""

from __future__ import annotations

import pytest

from tools.bench.plots import bars


def test_the_picture_shows_every_measured_goal_on_its_side_of_the_line() -> None:
    """Reached to the right, missed to the left, by value over goal or goal over value; names are
    text."""
    from xml.etree import ElementTree

    goals = [
        {"name": "a < b & c", "op": ">=", "goal": 2.0, "value": 8.0, "met": True},
        {"name": "late", "op": "<=", "goal": 10.0, "value": 20.0, "met": False},
        {"name": "lost", "op": "<=", "goal": 0.0, "value": 0.0, "met": True},
        {"name": "not measured", "op": ">=", "goal": 1.0, "value": None, "met": None},
    ]
    picture = ElementTree.fromstring(bars.drawn(goals, "bench"))
    space = "{http://www.w3.org/2000/svg}"
    boxes = [
        (float(box.get("x", 0)), float(box.get("width", 0))) for box in picture.iter(f"{space}rect")
    ][1:]
    zero = boxes[0][0]
    assert boxes[0][1] == pytest.approx(
        2 * boxes[1][1], abs=0.2
    )  # four times against twice, by powers of two
    assert boxes[1][0] + boxes[1][1] == pytest.approx(zero, abs=0.2)
    assert boxes[2] == (zero, pytest.approx(boxes[1][1], abs=0.2))
    words = [text.text for text in picture.iter(f"{space}text")]
    assert "a < b & c" in words
    assert "not measured" not in words
