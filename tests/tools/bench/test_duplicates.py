"""The benchmark ``duplicates`` in small: its goals are the issue's, its copies are seeded, its
figures are sums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.imaging.decode import decode_photo
from tests.indexer.duplicates.test_perceptual_hash import drawn
from tools.bench.data.photo_copies import HARDER, KINDS, made
from tools.bench.duplicates import GOALS, measure


def test_each_goal_of_the_issue_is_there_once() -> None:
    """Speed and equal pairs, recall and precision on both sets, and the identical photos."""
    assert [(goal.op, goal.goal) for goal in GOALS] == [
        (">=", 150.0),
        ("<=", 0.0),
        (">=", 0.98),
        (">=", 0.99),
        (">=", 0.98),
        (">=", 0.99),
        (">=", 1.0),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_copies_are_what_they_are_called(kind: str) -> None:
    """The same seed makes the same bytes; sizes are those of the recipe."""
    picture = drawn(1)
    data = made(picture, kind, [1, 2])
    assert data == made(picture, kind, [1, 2])
    width, height = decode_photo(data).pixels.size
    low, high = {"resize": (72, 192), "crop": (204, 228)}.get(kind, (240, 240))
    assert low <= width <= high
    assert low <= height <= high
    if kind == "mirror":
        turned = np.asarray(picture, np.float32)[:, ::-1]
        assert np.abs(np.asarray(decode_photo(data).pixels, np.float32) - turned).mean() < 4
    elif kind != "recompress":
        assert data != made(picture, kind, [1, 3])


@pytest.mark.parametrize("kind", HARDER)
def test_harder_copies_go_beyond_the_plain_ones(kind: str) -> None:
    """The same seed makes the same bytes; crops take 15-30% of both sides, frames add 8-20%."""
    picture = drawn(1)
    data = made(picture, kind, [1, 2])
    assert data == made(picture, kind, [1, 2]) != made(picture, kind, [1, 3])
    width, height = decode_photo(data).pixels.size
    bounds = {
        "crop of 15-30%": (168, 204),
        "frame": (258, 288),
        "turn": (205, 235),
        "other encoder": (185, 240),
    }
    low, high = bounds.get(kind, (240, 240))
    assert low <= width <= high
    assert low <= height <= high


@pytest.mark.long
@pytest.mark.realdata
def test_every_identical_photo_of_fashion_is_found(tmp_path: Path) -> None:
    """The 39 pairs that are there, and nothing else."""
    row = measure("identical", tmp_path)
    assert (row["pairs"], row["found"], row["wrong"], row["recall"]) == (39, 39, 0, 1.0)
