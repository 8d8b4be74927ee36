"""Logits to probabilities, and how honest they are."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax of logits [..., C] / temperature (> 0), float64, rows sum to 1."""
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    exponent = np.exp(scaled)
    return exponent / exponent.sum(axis=-1, keepdims=True)


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Mean -log p(label) in nats of logits [N, C] and label columns [N]."""
    chosen = probabilities(logits, temperature)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in [0.05, 20] of least NLL (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    1.0 where there is nothing to fit on.
    """
    if len(labels) == 0:
        return 1.0
    found = minimize_scalar(
        lambda log_t: negative_log_likelihood(logits, labels, float(np.exp(log_t))),
        bounds=(np.log(0.05), np.log(20.0)),
        method="bounded",
    )
    return float(np.exp(found.x))


def expected_calibration_error(confidences: np.ndarray, correct: np.ndarray, bins: int = 10) -> float:
    """Mean |accuracy - confidence| over bins of equal mass, weighted by their size; in [0, 1]."""
    order = np.argsort(confidences, kind="stable")
    gaps = [
        len(part) * abs(float(correct[part].mean()) - float(confidences[part].mean()))
        for part in np.array_split(order, min(bins, max(len(order), 1)))
        if len(part)
    ]
    return float(sum(gaps) / max(len(order), 1))
