"""Rule by which two photos show one product: a cosine threshold, with its measured precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Cosine of block g: a photo's crop is nearer.
NEAR_COSINE = 0.8
# Of the photos above a threshold that may be claimed, and of all photos that have another one.
PRECISION = 0.9
LEAST_RECALL = 0.05
LEAST_PHOTOS = 30


@dataclass(frozen=True)
class ProductRule:
    """Cosine of the embedding from which two photos show one product, and how it was measured.

    ``threshold`` None: it is not known here, ``reason`` says why, and nobody may claim it.
    """

    threshold: float | None
    reason: str
    # Of the nearest photos above the threshold.
    precision: float | None = None
    # Of the photos that have another photo of their product.
    recall: float | None = None
    photos: int = 0
    # Where the pairs of one product come from.
    positives: str = ""
    # Of the index it was fitted on.
    version: str = ""


def product_rule(
    own: np.ndarray, other: np.ndarray, *, positives: str, precision: float = PRECISION
) -> ProductRule:
    """Find the least cosine from which on at least ``precision`` of all that is found is right.

    ``own`` float [n]: each query's cosine to a photo of its own product, ``other`` [n]: to the
    nearest photo of another one. From a threshold t on there are hits (own >= t) and false alarms
    (other >= t), counted alike. A product that is listed twice counts as an alarm, so the truth is
    rather better.
    """
    count = len(own)
    if count < LEAST_PHOTOS:
        return ProductRule(
            None, f"{count} photos to measure with, {LEAST_PHOTOS} are needed", photos=count
        )
    values = np.sort(np.unique(np.concatenate([own, other])))
    hits = count - np.searchsorted(np.sort(own), values, side="left")
    alarms = count - np.searchsorted(np.sort(other), values, side="left")
    good = np.flatnonzero((hits >= precision * (hits + alarms)) & (hits >= LEAST_RECALL * count))
    if not len(good):
        reason = (
            f"no threshold finds {LEAST_RECALL:.0%} of repeats at a precision of {precision:.0%}: "
            "others look as alike"
        )
        return ProductRule(None, reason, photos=count, positives=positives)
    least = int(good[0])
    found = hits[least] / (hits[least] + alarms[least])
    return ProductRule(
        float(values[least]), "", float(found), float(hits[least] / count), count, positives
    )


def block_cosines(first: np.ndarray, second: np.ndarray, block: slice) -> np.ndarray:
    """Return the cosines float32 [N] of one block of embeddings [N, D], row by row."""
    a, b = (np.asarray(side[:, block], np.float32) for side in (first, second))
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(1) / np.maximum(length, 1e-9))
