"""Which category a photo shows: logits to ranked categories."""

from __future__ import annotations

import numpy as np

from indexer.decisions.calibration import probabilities
from indexer.model.decision import Category, Decision


def rank_categories(logits: np.ndarray, decision: Decision, *, top: int = 5) -> list[tuple[Category, float]]:
    """Logits [C] in the order of ``decision.categories`` -> the ``top`` most probable, best first; in [0, 1]."""
    chances = probabilities(logits, decision.temperature)
    order = np.argsort(-chances, kind="stable")[:top]
    return [(decision.categories[column], float(chances[column])) for column in order]
