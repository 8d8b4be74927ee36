"""Attribute prediction: logits of attribute heads to the most probable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from indexer.model.calibration import remove_label_smoothing, softmax
from indexer.model.decision_layer import Decision
from indexer.model.spec import ModelSpec


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
    less probable than the head's floor is not said.
    """
    found = []
    for head in spec.heads:
        values = decision.attributes.get(head.name)
        if values is None or head.name not in logits:
            continue
        probabilities = attribute_probabilities(logits[head.name].mean(axis=0), decision, head.name)
        best = int(probabilities.argmax())
        if probabilities[best] < decision.attribute_floors.get(head.name, 0.0):
            continue
        found.append(
            PredictedValue(head.name, values[head.classes[best]], float(probabilities[best]))
        )
    return sorted(found, key=lambda entry: -entry.probability)


def attribute_probabilities(logits: np.ndarray, decision: Decision, name: str) -> np.ndarray:
    """Return calibrated probabilities [..., C] of the logits of one attribute's head."""
    scores = remove_label_smoothing(logits, decision.smoothing)
    return softmax(scores, decision.attribute_temperatures.get(name, 1.0))
