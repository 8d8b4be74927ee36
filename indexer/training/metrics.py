"""Metrics of classification, retrieval and tags, with 95% intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from indexer.core.proportions import clopper_pearson

_CHUNK = 256  # queries at a time, so that the score matrix stays small


@dataclass(frozen=True)
class ClassCounts:
    """Per-class counts of one or many resamples: arrays [..., C]."""

    hit: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray

    def precision(self) -> np.ndarray:
        """hit / predicted; 0 where nothing was predicted."""
        return _ratio(self.hit, self.predicted)

    def recall(self) -> np.ndarray:
        """hit / actual; 0 where the class has no test photo."""
        return _ratio(self.hit, self.actual)

    def f1(self) -> np.ndarray:
        """2 hit / (predicted + actual); 0 where both are 0."""
        return _ratio(2 * self.hit, self.predicted + self.actual)

    def macro(self, values: np.ndarray) -> np.ndarray:
        """Mean over the classes that have a test photo (a class only predicted counts in others'
        precision)."""
        present = self.actual > 0
        return _ratio(np.where(present, values, 0.0).sum(-1), present.sum(-1))


def class_counts(
    actual: np.ndarray, predicted: np.ndarray, classes: int, weights: np.ndarray | None = None
) -> ClassCounts:
    """Counts from class numbers [N]; ``weights`` [B, N] gives B weighted countings at once
    (bootstrap)."""
    rows = np.ones((1, len(actual))) if weights is None else weights

    def count(numbers: np.ndarray, mask: np.ndarray) -> np.ndarray:
        photos = np.flatnonzero(mask)
        table = csr_array(
            (np.ones(len(photos)), (numbers[photos], photos)), shape=(classes, len(numbers))
        )
        return np.asarray((table @ rows.T).T)

    everywhere = np.ones(len(actual), bool)
    counts = ClassCounts(
        hit=count(actual, actual == predicted),
        predicted=count(predicted, everywhere),
        actual=count(actual, everywhere),
    )
    if weights is None:
        return ClassCounts(counts.hit[0], counts.predicted[0], counts.actual[0])
    return counts


@dataclass(frozen=True)
class RankedGallery:
    """Groups and pixel hashes of queries and gallery: what a query must not find."""

    query_group: np.ndarray  # int [Q], product of the query
    gallery_group: np.ndarray  # int [G]
    query_pixels: np.ndarray  # [Q], hash of the photo's pixels
    gallery_pixels: np.ndarray  # [G]


def ranked_neighbours(
    queries: np.ndarray, gallery: np.ndarray, rules: RankedGallery
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """For every query: (its number, gallery numbers best first, their scores).

    Unit vectors [Q, D] and [G, D]. The query's own product and exact copies of its photo (same
    pixels) are left out.
    """
    for start in range(0, len(queries), _CHUNK):
        scores = queries[start : start + _CHUNK] @ gallery.T
        for offset, row in enumerate(scores):
            number = start + offset
            other_product = rules.gallery_group != rules.query_group[number]
            allowed = np.flatnonzero(
                other_product & (rules.gallery_pixels != rules.query_pixels[number])
            )
            order = allowed[np.argsort(-row[allowed], kind="stable")]
            yield number, order, row[order]


def hit_at_k(relevant: np.ndarray, k: int) -> bool:
    """``hit_rate_at_k`` of one query: is any of the first k relevant (metric-learning papers say
    Recall@k).

    >>> hit_at_k(np.array([False, True]), 1), hit_at_k(np.array([False, True]), 2)
    (False, True)
    """
    return bool(relevant[:k].any())


def average_precision(relevant: np.ndarray) -> float:
    """Full-gallery AP of one query: mean over its relevant items of the precision at their rank; 0
    where it has none.

    >>> average_precision(np.array([True, False, True]))
    0.8333333333333333
    """
    ranks = np.flatnonzero(relevant)
    if len(ranks) == 0:
        return 0.0
    return float((np.arange(1, len(ranks) + 1) / (ranks + 1)).mean())


@dataclass(frozen=True)
class TagCounts:
    """Per product and tag: boolean [P, T] of what is true and what was suggested."""

    actual: np.ndarray
    suggested: np.ndarray

    def micro(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(precision, recall, F1) over product-tag pairs; with ``weights`` [B, P] arrays [B]."""
        rows = np.ones((1, len(self.actual))) if weights is None else weights
        hit = rows @ (self.actual & self.suggested).sum(1)
        suggested = rows @ self.suggested.sum(1)
        actual = rows @ self.actual.sum(1)
        found = _ratio(hit, suggested), _ratio(hit, actual), _ratio(2 * hit, suggested + actual)
        return found if weights is not None else tuple(part[0] for part in found)

    def macro_f1(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Mean F1 over the tags that some test product carries; with ``weights`` [B, P] an array
        [B]."""
        rows = np.ones((1, len(self.actual))) if weights is None else weights
        hit = rows @ (self.actual & self.suggested)
        suggested = rows @ self.suggested
        actual = rows @ self.actual
        present = actual > 0
        f1 = np.where(present, _ratio(2 * hit, suggested + actual), 0.0)
        macro = _ratio(f1.sum(1), present.sum(1))
        return macro if weights is not None else macro[0]


def tag_map(actual: np.ndarray, confidence: np.ndarray) -> float | None:
    """Mean over tags with a test positive of the AP of products ranked by that tag's confidence;
    [P, T] both."""
    tags = np.flatnonzero(actual.any(0))
    if len(tags) == 0:
        return None
    order = np.argsort(-confidence, axis=0, kind="stable")
    return float(np.mean([average_precision(actual[order[:, tag], tag]) for tag in tags]))


@dataclass(frozen=True)
class Bootstrap:
    """Resampling of held-out products with replacement; photos of one product stay together."""

    weights: np.ndarray  # float64 [B, N]: how often each of the N photos was drawn
    products: int

    def interval(self, value: float, drawn: np.ndarray) -> list[float]:
        """Compute the 95% interval of a figure from 0 to 1; ``drawn`` [B] are its resamples.

        Clopper and Pearson's with an effective sample size (Korn and Graubard 1998): as many
        photos as would give the resamples' variance if each were drawn alone. Where nothing
        varies, as many as there are products: 0 of 4 reaches to .60, not to 0.
        """
        variance = float(np.var(drawn))
        spread = value * (1 - value)
        size = spread / variance if min(variance, spread) > 1e-12 else float(self.products)
        return clopper_pearson(value * size, size)

    def means(self, per_photo: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
        """Compute intervals of means: name -> values [N] from 0 to 1 (right or wrong, or AP)."""
        total = np.maximum(self.weights.sum(1), 1e-12)
        return {
            name: self.interval(
                float(np.mean(values)), self.weights @ np.asarray(values, np.float64) / total
            )
            for name, values in per_photo.items()
        }


def bootstrap(
    groups: Sequence[object] | np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> Bootstrap:
    """Draw the products of N photos again; ``groups`` [N] names each photo's."""
    _, numbers = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    products = int(numbers.max()) + 1 if len(numbers) else 0
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(products, np.full(products, 1 / max(products, 1)), size=resamples)
    return Bootstrap(drawn[:, numbers].astype(np.float64), products)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    above = np.asarray(above, np.float64)
    below = np.asarray(below, np.float64)
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)
