"""Training of the text tower: its derivative and its optimiser are right, and it needs no torch."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from indexer.text.fit_text_tower import Adam, Described, fit, slope_of_loss


def test_a_tower_is_fitted_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index build of an exported model never loads it: 700 MB, and the build's only use."""
    told = [
        Described(f"red shirt {number}", "Red Shirts", "", "Red", np.eye(12)[number % 12])
        for number in range(30)
    ]
    monkeypatch.setitem(sys.modules, "torch", None)
    assert fit(told, colours=True) is not None


def test_the_slope_is_that_of_the_loss() -> None:
    """Each derivative is what the loss changes by, for a small change."""
    rng = np.random.default_rng(3)
    told, photos = rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    alike = np.eye(5, dtype=bool)
    alike[0, 3] = alike[3, 0] = True

    def loss(told: np.ndarray) -> float:
        scores = told / np.linalg.norm(told, axis=1, keepdims=True) @ photos.T / 0.05
        chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        wanted = alike / alike.sum(axis=1, keepdims=True)
        return float(-(wanted * np.log(chances)).sum(axis=1).mean())

    near = np.zeros_like(told)
    for place in np.ndindex(told.shape):
        step = np.zeros_like(told)
        step[place] = 1e-6
        near[place] = (loss(told + step) - loss(told - step)) / 2e-6
    np.testing.assert_allclose(slope_of_loss(told, photos, alike), near, atol=1e-6)


def test_the_optimiser_steps_as_its_paper_says() -> None:
    """Rows change by the published rule; one whose derivative is now zero goes on by its mean."""
    rng = np.random.default_rng(4)
    start = rng.normal(size=(200, 3)).astype(np.float32)
    values, optimiser = start.copy(), Adam(start)
    expected, mean, square = start.astype(float), np.zeros((200, 3)), np.zeros((200, 3))
    for number, held in enumerate(([0, 63, 64, 199], [1, 64], [0]), 1):
        found = rng.normal(size=(len(held), 3)).astype(np.float32)
        optimiser.step(values, np.array(held), found, 0.01)
        whole = np.zeros((200, 3))
        whole[held] = found
        mean, square = 0.9 * mean + 0.1 * whole, 0.999 * square + 0.001 * whole**2
        fair, fair_square = mean / (1 - 0.9**number), square / (1 - 0.999**number)
        expected -= 0.01 * fair / (np.sqrt(fair_square) + 1e-8)
    np.testing.assert_allclose(values, expected, atol=1e-5)
    np.testing.assert_array_equal(values[100], start[100])
