"""Rows of classes that words describe: a suggestion that no photo has judged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from indexer.core.errors import BadRequestError
from indexer.core.vectors import log_sum_exp
from indexer.model.few_shot import LinearRow
from indexer.text.zero_shot import DescribedKind, rare_score

# Vectors of the catalog below which nothing says how far words reach.
LEAST = 16
_TAG_BAR = 0.5


@dataclass(frozen=True)
class DescribedRow:
    """A row, and the share of the catalog's photos not known to be of the class that get it."""

    row: LinearRow
    suggested: float


def fit_described_category(
    kind: DescribedKind, catalog: np.ndarray, *, logits: np.ndarray | None, temperature: float
) -> DescribedRow:
    """Fit a row that stands among the category head's logits, in their units.

    ``catalog`` [M, D], vectors not known to be of the class; ``logits`` [M, C], what the head gives
    them, None without one. Raises ``BadRequestError`` for a small catalog.
    """
    scores = _scores(kind, catalog) * temperature
    bias = -float(np.median(scores))
    threshold, over = 0.0, scores + bias
    if logits is not None:
        over = over - temperature * log_sum_exp(logits / temperature, axis=1)
        threshold = rare_score(over)
    row = _row(kind, temperature, bias, threshold)
    return DescribedRow(row, float((over > threshold).mean()))


def fit_described_tag(kind: DescribedKind, catalog: np.ndarray) -> DescribedRow:
    """Fit a row whose sigmoid is a tag's confidence. Raises ``BadRequestError`` as above."""
    scores = _scores(kind, catalog)
    bar = rare_score(scores)
    return DescribedRow(_row(kind, 1.0, -bar, _TAG_BAR), float((scores > bar).mean()))


def _scores(kind: DescribedKind, catalog: np.ndarray) -> np.ndarray:
    """In nats [M]."""
    if len(catalog) < LEAST:
        raise BadRequestError(
            f"how far words reach is seen on the catalog's photos: {len(catalog)} are embedded for "
            f"this model, at least {LEAST} are needed; give photos of the class instead"
        )
    return np.asarray(catalog @ kind.direction, np.float64) * kind.scale


def _row(kind: DescribedKind, temperature: float, bias: float, threshold: float) -> LinearRow:
    weight = (kind.direction * kind.scale * temperature).astype(np.float32)
    return LinearRow(kind.example, weight, bias, threshold)
