"""Arrays of an evaluation, summed up as figures and drawn by the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from indexer.model.calibration import softmax
from indexer.training.tag_samples import TaggedPhotos

FEW_PHOTOS = 30  # below that counts are told, not shares


@dataclass(frozen=True)
class FigureGroup:
    """Some keys of the evaluation's JSON document, with the intervals that belong to them."""

    values: dict[str, Any]
    intervals: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Classified:
    """The category head on the N query photos that have a category."""

    numbers: np.ndarray  # int [N], which query each is
    # category paths: the model's classes first, then those it does not know
    names: list[tuple[str, ...]]
    truth: np.ndarray  # int [N], into names
    logits: np.ndarray  # float32 [N, C], C classes of the model
    temperature: float

    @property
    def probabilities(self) -> np.ndarray:
        """Calibrated probabilities [N, C]."""
        return softmax(self.logits, self.temperature)

    @property
    def predicted(self) -> np.ndarray:
        """int [N], into names."""
        return self.logits.argmax(1)

    @property
    def known(self) -> np.ndarray:
        """bool [N]: the true category is one of the model's."""
        return self.truth < self.logits.shape[1]


@dataclass(frozen=True)
class Nearest:
    """The ten nearest gallery photos of every query photo; -1 where the gallery has fewer."""

    numbers: np.ndarray  # int [Q, 10]
    scores: np.ndarray  # float32 [Q, 10]


@dataclass(frozen=True)
class Tagged:
    """Suggested tags of P held-out products, over T tags."""

    tags: list[str]
    actual: np.ndarray  # bool [P, T]
    confidence: np.ndarray  # float [P, T]
    suggested: np.ndarray  # bool [P, T]


@dataclass(frozen=True)
class EvaluationResults:
    """Everything about one model on one split."""

    figures: dict[str, Any]  # the JSON document
    queries: TaggedPhotos
    gallery: TaggedPhotos
    classified: Classified | None
    nearest: Nearest
    tagged: Tagged | None
