"""Probabilities are a softmax, temperatures are fitted, calibration error is what its definition
says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from indexer.classification.ranking import rank_categories
from indexer.model.calibration import (
    expected_calibration_error,
    fit_temperature,
    least_confidence,
    pair_calibration_error,
    remove_label_smoothing,
    softmax,
)
from indexer.model.decision_layer import Category, Decision


def test_softmax_in_values_and_safe_at_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[np.log(1.0), np.log(3.0)]])), [[0.25, 0.75]])
    np.testing.assert_allclose(softmax(np.array([[5000.0, 0.0]])), [[1.0, 0.0]])
    np.testing.assert_allclose(
        softmax(np.array([[2.0, 0.0]]), 2.0), softmax(np.array([[1.0, 0.0]]))
    )


def test_the_true_temperature_is_found() -> None:
    """Labels drawn from softmax(logits / 3) are best explained by a temperature of 3."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 4)) * 6
    chance = softmax(logits, 3.0)
    labels = (rng.random((len(chance), 1)) > np.cumsum(chance, axis=1)).sum(1)
    assert fit_temperature(logits, labels) == pytest.approx(3.0, rel=0.05)


def test_without_held_out_photos_nothing_is_scaled() -> None:
    assert fit_temperature(np.empty((0, 3)), np.empty(0, int)) == 1.0


def test_calibration_error_in_values() -> None:
    """Two bins of two: |1 - .9| and |0 - .5|, halves of the mass each."""
    confidence, correct = np.array([0.9, 0.9, 0.5, 0.5]), np.array([1.0, 1.0, 0.0, 0.0])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx((0.1 + 0.5) / 2)
    assert expected_calibration_error(np.array([1.0]), np.array([1.0])) == 0.0


def test_calibration_of_pairs_leaves_clear_negatives_out() -> None:
    """Ninety tags that nobody suggests would hide that the ten suggested ones are all wrong."""
    assert pair_calibration_error(np.full((1, 10), 0.9), np.ones((1, 10), bool)) == pytest.approx(
        0.1
    )
    assert pair_calibration_error(
        np.append(np.full(10, 0.9), np.zeros(90))[None], np.zeros((1, 100), bool)
    ) == (pytest.approx(0.9))


def test_categories_are_ranked_by_probability() -> None:
    decision = Decision(categories=(Category(0, ("a",)), Category(1, ("b", "c"))), temperature=2.0)
    (first, chance), (second, _) = rank_categories(np.array([0.0, 2 * np.log(3.0)]), decision)
    assert (first.label, first.path, chance) == ("c", ("b", "c"), pytest.approx(0.75))
    assert second.label == "a"


def test_unsmoothing_gives_back_what_smoothing_hid() -> None:
    """A head that learned (1 - s) p + s / C exactly says p again; order and log-sum-exp stay, so
    rows still compete."""
    true = np.array([[0.97, 0.02, 0.01, 0.0], [0.4, 0.3, 0.2, 0.1]])
    smooth = 0.9 * true + 0.1 / 4
    logits = np.log(smooth) + np.array([[2.0], [-1.0]])
    found = remove_label_smoothing(logits, 0.1)
    np.testing.assert_allclose(softmax(found), true, atol=0.003)
    np.testing.assert_allclose(logsumexp(found, axis=1), logsumexp(logits, axis=1), atol=1e-5)
    assert (np.argsort(found, axis=1) == np.argsort(logits, axis=1)).all()
    assert remove_label_smoothing(logits, 0.0) is logits


def test_the_floor_is_the_least_confidence_whose_answers_are_right_often_enough() -> None:
    """Of 20 answers the 15 surest hold 12 right ones; with two more wrong ones it is too few."""
    confidences = np.linspace(0.95, 0.0, 20)
    correct = np.array([1] * 12 + [0] * 8, bool)
    assert least_confidence(confidences, correct, 0.8) == confidences[14]
    assert least_confidence(confidences, np.ones(20, bool), 0.8) == 0.0
    assert least_confidence(confidences, ~correct, 0.8) > 1
    # Nine answers or fewer are no ground for a floor.
    assert least_confidence(confidences, np.arange(20) < 7, 0.8) > 1
    assert least_confidence(np.empty(0), np.empty(0, bool), 0.8) == 0.0
