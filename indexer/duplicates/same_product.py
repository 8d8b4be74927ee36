"""Rule by which two photos show one product: a cosine threshold, with its measured precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from indexer.core.proportions import clopper_pearson

# Cosine of block g: a photo's crop is nearer.
NEAR_COSINE = 0.8
# Of the photos above a threshold that may be claimed, and of all photos that have another one.
PRECISION = 0.9
LEAST_RECALL = 0.05
LEAST_PHOTOS = 30
# Where second photos of products come from: only the catalog's own say what may be claimed.
OWN_PHOTOS = "photos of one product"
RECAPTURES = "photos shot again"


@dataclass(frozen=True)
class ProductRule:
    """Cosine of the embedding from which two photos show one product, and how it was measured.

    ``threshold`` None: it is not known here, and ``reason`` says why. Without ``is_claimed`` what
    lies above it is a suggestion only, and ``reason`` says on what it stands.
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
    # Lower end of the precision's 95% interval.
    least_precision: float | None = None
    is_claimed: bool = False

    def evidence(self) -> dict[str, float | int | None]:
        """Return what speaks for a pair above the threshold, beside its cosine."""
        return {
            "threshold": self.threshold,
            "precision": self.precision,
            "least_precision": self.least_precision,
            "measured_on": self.photos,
        }


def product_rule(
    own: np.ndarray, other: np.ndarray, *, positives: str, precision: float = PRECISION
) -> ProductRule:
    """Find the least cosine from which on at least ``precision`` of all that is found is right.

    If there is one by the lower end of the 95% interval, that is taken, and claimed where the
    positives are ``OWN_PHOTOS``; else the least by what was counted, which is a suggestion.

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
    bounds = np.array([clopper_pearson(hits[at], hits[at] + alarms[at])[0] for at in good])
    sure = np.flatnonzero(bounds >= precision)
    if not len(good):
        reason = (
            f"no threshold finds {LEAST_RECALL:.0%} of repeats at a precision of {precision:.0%}: "
            "others look as alike"
        )
        return ProductRule(None, reason, photos=count, positives=positives)
    place = int(sure[0]) if len(sure) else 0
    least, bound = int(good[place]), float(bounds[place])
    found = hits[least] / (hits[least] + alarms[least])
    is_claimed = len(sure) > 0 and positives == OWN_PHOTOS
    return ProductRule(
        float(values[least]),
        "" if is_claimed else _doubt(positives, count, bound),
        float(found),
        float(hits[least] / count),
        count,
        positives,
        least_precision=bound,
        is_claimed=is_claimed,
    )


def _doubt(positives: str, count: int, bound: float) -> str:
    """Why what a threshold finds is a suggestion only."""
    if positives != OWN_PHOTOS:
        return (
            f"the threshold stands on {count} photos that were shot again by simulation, which are "
            "easier than second photos of a product; at least 36 products with several photos are "
            "needed for a claim"
        )
    return (
        f"the threshold stands on {count} products with several photos: its precision may be as "
        f"low as {bound:.1%}"
    )


def block_cosines(first: np.ndarray, second: np.ndarray, block: slice) -> np.ndarray:
    """Return the cosines float32 [N] of one block of embeddings [N, D], row by row."""
    a, b = (np.asarray(side[:, block], np.float32) for side in (first, second))
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.asarray((a * b).sum(1) / np.maximum(length, 1e-9))
