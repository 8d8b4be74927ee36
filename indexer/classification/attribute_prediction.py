"""Attribute prediction: logits of attribute heads to the most probable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from indexer.model.calibration import remove_label_smoothing, softmax
from indexer.model.decision_layer import Decision
from indexer.model.spec import ModelSpec

# Of a list's values: the least probability that is said, and how many are.
_LEAST = 0.5
_MOST_VALUES = 20


@dataclass(frozen=True)
class PredictedValue:
    """The most probable value of one attribute."""

    name: str
    value: str
    probability: float


def predict_attributes(
    logits: Mapping[str, np.ndarray], decision: Decision, spec: ModelSpec
) -> list[PredictedValue]:
    """Return the most probable value of each attribute that has a head, most probable first.

    ``logits``: head name -> float32 [N, C] of the photos of one product, which count alike. A value
    less probable than the head's floor is not said. Of a list each value that reaches it, and that
    is more probable than not, is said, ``_MOST_VALUES`` at most.
    """
    found: list[PredictedValue] = []
    for head in spec.heads:
        values = decision.attributes.get(head.name)
        if values is None or head.name not in logits:
            continue
        floor = decision.attribute_floors.get(head.name, 0.0)
        mean = logits[head.name].mean(axis=0)
        if head.several:
            probabilities = label_probabilities(mean)
            best = np.argsort(-probabilities, kind="stable")[:_MOST_VALUES]
            floor = max(floor, _LEAST)
        else:
            probabilities = attribute_probabilities(mean, decision, head.name)
            best = np.array([int(probabilities.argmax())])
        found += [
            PredictedValue(head.name, values[head.classes[place]], float(probabilities[place]))
            for place in best.tolist()
            if probabilities[place] >= floor
        ]
    return sorted(found, key=lambda entry: -entry.probability)


def label_probabilities(logits: np.ndarray) -> np.ndarray:
    """Return probabilities [..., C] of the logits of a list's head, each value for itself; the head
    is stored calibrated."""
    return np.asarray(expit(np.asarray(logits, np.float64)))


def attribute_probabilities(logits: np.ndarray, decision: Decision, name: str) -> np.ndarray:
    """Return calibrated probabilities [..., C] of the logits of one attribute's head."""
    scores = remove_label_smoothing(logits, decision.smoothing)
    return softmax(scores, decision.attribute_temperatures.get(name, 1.0))
