"""``bench explain``: which cells are painted, and what is asked about."""

from __future__ import annotations

import numpy as np

from indexer.core.native import torch
from tools.bench import explain


def test_ten_cells_are_painted_in_the_colour_of_the_ground() -> None:
    """The warmest ones, whole and nothing beside them; the centre's and the ground's ways too."""
    photo = torch.full((1, 3, 70, 70), 0.5)
    photo[:, :, 30:40, 30:40] = 1.0
    heat = np.zeros((7, 7))
    heat[0, :5], heat[6, 2:] = 2, 1
    orders = explain._orders(heat, photo, np.random.default_rng(0))
    assert set(orders["map"].tolist()) == {*range(5), *range(44, 49)}
    assert orders["centre"][0] == orders["ground"][0] == 24
    painted = explain._paint(photo, orders["centre"], heat.shape)
    assert (painted == 0.5).all()
    kept = explain._paint(photo, orders["map"], heat.shape)
    assert (kept == photo).all()


def test_a_pair_is_of_one_kind_and_a_kind_has_another_photo() -> None:
    """The nearest of all counts; where it is of another kind nothing is asked. What speaks for a
    kind is taken from its other photos."""
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2]] + 0.01
    kinds = np.array(["a", "a", "b", "c", "b"])
    assert explain._asked("pair", vectors, kinds) == [(0, 1), (1, 0)]
    assert explain._asked("category", vectors, kinds) == [
        (0, None),
        (1, None),
        (2, None),
        (4, None),
    ]
    direction = explain._direction(vectors, kinds, 0)
    np.testing.assert_allclose(direction, vectors[1] - vectors[2:].mean(0))
