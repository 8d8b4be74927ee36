"""Softmax, temperature scaling and calibration errors of classifiers."""

from __future__ import annotations

import numpy as np

from indexer.core.vectors import log_sum_exp

# Of a probability that is less than what smoothing added.
_KEPT = 0.1
# Above every probability.
NEVER = 2.0
# Answers that must be right often enough together, for a floor to stand on them.
_FEWEST = 10


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return probabilities of logits [..., C] / temperature (> 0), float64, rows sum to 1."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    exponent = np.exp(scaled)
    return exponent / exponent.sum(axis=-1, keepdims=True)


def remove_label_smoothing(logits: np.ndarray, smoothing: float) -> np.ndarray:
    """Undo the bias of label smoothing (Szegedy et al. 2016) on logits [..., C].

    Order and log-sum-exp stay. Trained towards (1 - s) p + s / C a softmax lies s / C too high
    everywhere: it is underconfident on clear photos, and a single temperature then overconfidently
    sharpens uncertain ones. What would fall below 0 keeps a tenth of its probability.
    """
    if not smoothing:
        return logits
    given = np.asarray(logits, np.float64)
    smoothed = softmax(given)
    corrected = np.maximum(smoothed - smoothing / given.shape[-1], _KEPT * smoothed)
    corrected /= corrected.sum(axis=-1, keepdims=True)
    total = log_sum_exp(given, axis=-1, keepdims=True)
    return np.asarray(total + np.log(np.maximum(corrected, 1e-30)), np.float32)


def negative_log_likelihood(
    logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0
) -> float:
    """Return the mean -log p(label) in nats of logits [N, C] and labels int [N]."""
    chosen = softmax(logits, temperature)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fit the temperature in [0.05, 20] of least NLL; 1.0 without photos or for a single class.

    Guo et al. 2017, "On Calibration of Modern Neural Networks".
    """
    from scipy.optimize import minimize_scalar  # slow to load, and serving does without

    if len(labels) == 0 or logits.shape[-1] < 2:
        return 1.0
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, labels, float(np.exp(log_t))),
        bounds=(np.log(0.05), np.log(20.0)),
        method="bounded",
    )
    return float(np.exp(found.x))


def least_confidence(confidences: np.ndarray, correct: np.ndarray, precision: float) -> float:
    """Return the least confidence at which answers are right in the share ``precision``.

    ``confidences`` [N] and ``correct`` bool [N] of held-out photos; 0 where all answers together
    are right that often, or without photos; above 1, so that nothing is answered, where none of
    ``_FEWEST`` surest or more are.
    """
    if len(confidences) == 0:
        return 0.0
    order = np.argsort(-np.asarray(confidences), kind="stable")
    share = np.cumsum(np.asarray(correct, float)[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(share >= precision)
    if not len(enough) or enough[-1] + 1 < min(_FEWEST, len(order)):
        return NEVER
    return 0.0 if enough[-1] + 1 == len(order) else float(confidences[order[enough[-1]]])


def expected_calibration_error(
    confidences: np.ndarray, correct: np.ndarray, bins: int = 10
) -> float:
    """Return the mean |accuracy - confidence| over bins of equal mass, by size; in [0, 1]."""
    gaps = [
        count * abs(right - sure)
        for sure, right, count in reliability_bins(confidences, correct, bins)
    ]
    return float(sum(gaps) / max(len(confidences), 1))


def pair_calibration_error(
    confidence: np.ndarray, actual: np.ndarray, *, least: float = 0.01
) -> float:
    """Return the ECE over product-tag pairs [P, T] of at least ``least`` confidence.

    The many clear negatives would hide it.
    """
    about = confidence >= least
    return expected_calibration_error(confidence[about], actual[about].astype(np.float64))


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean squared distance in [0, 2] of probabilities [N, C] to one-hot labels [N].

    Brier 1950.
    """
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(((probabilities**2).sum(1) - 2 * chosen + 1).mean())


def reliability_bins(
    confidences: np.ndarray, correct: np.ndarray, bins: int = 10
) -> list[tuple[float, float, int]]:
    """Return (mean confidence, accuracy, photos) of each bin of equal mass."""
    order = np.argsort(confidences, kind="stable")
    return [
        (float(confidences[part].mean()), float(correct[part].mean()), len(part))
        for part in np.array_split(order, min(bins, max(len(order), 1)))
        if len(part)
    ]


def perfect_calibration_error(
    confidences: np.ndarray, *, bins: int = 10, quantile: float = 0.9, draws: int = 500
) -> float:
    """Return the ``quantile`` of the ECE of a perfectly calibrated model of these confidences.

    Even such a model has an ECE above 0, since so few photos are drawn; a measured ECE below this
    is no evidence of miscalibration. Answers are drawn right with exactly the confidence's
    probability; seeded.
    """
    rng = np.random.default_rng(0)
    found = [
        expected_calibration_error(
            confidences, (rng.random(len(confidences)) < confidences).astype(float), bins
        )
        for _ in range(draws)
    ]
    return float(np.quantile(found, quantile))
