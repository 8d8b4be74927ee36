"""Calibration of labels: each one's slope and offset, folded into the rows of its head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.special import expit

from indexer.core.native import torch
from indexer.model.network import Heads
from indexer.training.label_loss import judged_products
from indexer.training.label_targets import LabelTarget
from indexer.training.linear import FittedModel

# How strongly a label is held to the slope and offset of all: as by a normal distribution of this
# precision around them.
_HELD = np.array([4.0, 1.0])
_STEPS = 25
# Of a slope: labels that say the opposite of what was learned say nothing.
_LEAST_SLOPE = 0.05
_CHUNK = 512


def calibrate_labels(
    fitted: FittedModel,
    logits: Mapping[str, np.ndarray],
    labels: Sequence[LabelTarget],
    validation_mask: np.ndarray,
) -> FittedModel:
    """Make the sigmoids of the labels' heads probabilities, by photos that taught nothing.

    ``logits`` (head name -> [n, L]) are of the validation photos, judged by product. The vector is
    as it was.
    """
    heads = Heads(fitted.spec)
    heads.load_state_dict(fitted.heads.state_dict())
    for target in labels:
        found, actual = judged_products(logits[target.name], target, validation_mask)
        if not actual.any():
            continue
        slope, offset = fit_slopes(found, actual)
        linear: Any = heads.linear[heads.names.index(target.name)]
        with torch.no_grad():
            steep = torch.from_numpy(slope).float()
            linear.weight.mul_(steep[:, None])
            linear.bias.mul_(steep).add_(torch.from_numpy(offset).float())
    return replace(fitted, heads=heads.eval())


def fit_slopes(logits: np.ndarray, actual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit slope and offset [L] of each label's logits [P, L] by least log-loss (Platt 1999).

    First those of all labels together; each label's own are held to them, so that few photos move
    them little.
    """
    whole = logits.ravel()[:, None], actual.ravel()[:, None].astype(np.float64)
    start = np.array([[1.0], [0.0]])
    common = _newton(*whole, start, np.array([1e-3, 1e-3]))
    found = [
        _newton(
            logits[:, place : place + _CHUNK],
            actual[:, place : place + _CHUNK].astype(np.float64),
            np.repeat(common, min(_CHUNK, logits.shape[1] - place), axis=1),
            _HELD,
        )
        for place in range(0, logits.shape[1], _CHUNK)
    ]
    slope, offset = np.concatenate(found, axis=1)
    return np.maximum(slope, _LEAST_SLOPE), offset


def _newton(
    logits: np.ndarray, actual: np.ndarray, start: np.ndarray, held: np.ndarray
) -> np.ndarray:
    """Slopes and offsets [2, L] of least log-loss, held to ``start`` [2, L] with precision ``held``
    [2]; damped Newton steps, all labels at once."""
    found = start.copy()
    for _ in range(_STEPS):
        chance = expit(found[0] * logits + found[1])
        missed = chance - actual
        bent = chance * (1 - chance)
        slope = (missed * logits).sum(0) + held[0] * (found[0] - start[0])
        offset = missed.sum(0) + held[1] * (found[1] - start[1])
        h00 = (bent * logits * logits).sum(0) + held[0]
        h01 = (bent * logits).sum(0)
        h11 = bent.sum(0) + held[1]
        size = np.maximum(h00 * h11 - h01 * h01, 1e-12)
        step = np.stack([h11 * slope - h01 * offset, h00 * offset - h01 * slope]) / size
        found -= np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-4:
            break
    return found
