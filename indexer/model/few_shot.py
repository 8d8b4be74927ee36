"""Few-shot classes: linear rows fitted to a few photos against a catalog's background."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from indexer.core.vectors import log_sum_exp
from indexer.model.decision_layer import FewShot
from indexer.model.spec import Block

MAX_PHOTOS = 20
# Article and style (a) was bent towards the trained classes and says little about others; the
# general block says what a kind is. Colour (c) is no part of what a category is, but may be all of
# what a tag is.
CATEGORY_SHARES = {"a": 0.2, "g": 0.8}
# A few more photos say more in the general block than the other one helps with.
_MORE = 5
_SHARES_OF_MORE = {"a": 0.1, "g": 0.9}
# Of the covariance towards a sphere.
_SHRINKAGE = 0.9
# Nats of score per unit of within-class spread, found by likelihood on held-out classes.
_SHARPNESS = 16.0
# Share of the catalog's other photos that a new class must leave alone.
_RARE = 0.99
# Spread of unit vectors within a kind where no catalog shows it.
_ALONE = 0.5
_TAG_BAR = 0.5


@dataclass(frozen=True)
class LinearRow:
    """A linear score of photos: ``weight @ embedding + bias``."""

    # float32 [D], the mean of the examples
    prototype: np.ndarray
    # float32 [D]
    weight: np.ndarray
    bias: float
    # Score that only 1% of the others reach.
    threshold: float


@dataclass(frozen=True)
class Background:
    """Distribution of a catalog's kinds in the embedding; rows of many classes share one."""

    # float64 [D], what the embedding is multiplied by first
    scale: np.ndarray
    # float64 [D], of the scaled catalog
    mean: np.ndarray
    # float64 [D, D], inverse covariance within a kind, so that its photos' mean square is 1
    precision: np.ndarray


def category_shares(photos: int) -> Mapping[str, float]:
    """Return the weights of the blocks for a category that is made from so many photos."""
    return CATEGORY_SHARES if photos < _MORE else _SHARES_OF_MORE


def background(
    catalog: np.ndarray,
    groups: np.ndarray,
    blocks: tuple[Block, ...],
    shares: Mapping[str, float] | None = None,
    *,
    general: np.ndarray | None = None,
) -> Background:
    """Estimate the background of ``catalog`` [M, D].

    ``groups`` int [M] is the kind of each (-1: not known), ``shares`` are weights of the blocks.
    The covariance is that within the known kinds, shrunk to a sphere. M may be 0: then the sphere
    is all there is. ``general`` [dim, dim] (``Bundle.general_spread``) is what the projection of
    block g makes of a sphere of features: with it the sphere is one of features, so that what the
    block presses, because a camera changes it, still tells kinds apart.
    """
    scale = _scales(blocks, shares or {})
    width = len(scale)
    scaled = catalog * scale
    mean = scaled.mean(0) if len(catalog) else np.zeros(width)
    residual = scaled - mean
    for group in np.unique(groups):
        residual[groups == group] -= residual[groups == group].mean(0)
    covariance = residual.T @ residual / max(len(residual), 1)
    sphere = np.trace(covariance) / width
    ball = np.zeros((width, width))
    start = 0
    for block in blocks:
        part = _ball(block, general)
        end = start + len(part)
        ball[start:end, start:end] = part
        start = end
    if sphere <= 1e-9:
        covariance = ball * _ALONE / width
        sphere = _ALONE / width
    inverse = np.linalg.inv((1 - _SHRINKAGE) * covariance + _SHRINKAGE * sphere * ball)
    return Background(scale, mean, inverse / float((inverse * covariance).sum()))


def fit_category(
    examples: np.ndarray,
    behind: Background,
    catalog: np.ndarray,
    *,
    logits: np.ndarray | None = None,
    temperature: float = 1.0,
) -> LinearRow:
    """Fit a row that stands among the category head's logits, in their units.

    ``examples`` [n, D]; ``catalog`` [M, D], vectors of other kinds; ``logits`` [M, C], what the
    head gives them. The threshold is how far the row's score over the head's own (its log-sum-exp)
    reaches in 1% of the catalog; 0 without a head, where rows compete among themselves alone.
    """
    weight, bias = _discriminant(examples, behind)
    weight = weight * temperature
    bias = bias * temperature
    threshold = 0.0
    if logits is not None and len(catalog):
        of_head = temperature * log_sum_exp(logits / temperature, axis=1)
        threshold = float(np.quantile(catalog @ weight + bias - of_head, _RARE))
    return LinearRow(
        examples.mean(0).astype(np.float32), weight.astype(np.float32), bias, threshold
    )


def fit_tag(examples: np.ndarray, behind: Background, catalog: np.ndarray) -> LinearRow:
    """Fit a row whose sigmoid is a tag's confidence; 1% of the others reach the threshold 0.5.

    Arguments as ``fit_category``. Without a catalog the bar stands where the discriminant puts it,
    half-way to the examples.
    """
    weight, bias = _discriminant(examples, behind)
    bar = float(np.quantile(catalog @ weight + bias, _RARE)) if len(catalog) else 0.0
    return LinearRow(
        examples.mean(0).astype(np.float32), weight.astype(np.float32), bias - bar, _TAG_BAR
    )


def _discriminant(examples: np.ndarray, behind: Background) -> tuple[np.ndarray, float]:
    """Return the linear discriminant (Fisher 1936) of the examples' mean: weight [D] and bias.

    A mean of n photos is itself uncertain by 1/n of the spread, which the factor n / (n + 1) of
    scale and bias allows for.
    """
    certainty = len(examples) / (len(examples) + 1)
    direction = (examples * behind.scale).mean(0) - behind.mean
    weight = behind.precision @ direction * (_SHARPNESS * certainty)
    return weight * behind.scale, float(
        -0.5 * certainty * weight @ direction - weight @ behind.mean
    )


def _scales(blocks: tuple[Block, ...], shares: Mapping[str, float]) -> np.ndarray:
    """Return factors float [D] that re-weigh an embedding's blocks by ``shares``.

    One block alone keeps its weight; one without weight holds nothing and gets no share.
    """
    given = [shares.get(block.name, 0.0) if block.weight else 0.0 for block in blocks]
    if not sum(given) or len(blocks) == 1:
        given = [block.weight for block in blocks]
    parts = [
        np.full(block.dim, (share / sum(given) / (block.weight or 1.0)) ** 0.5)
        for block, share in zip(blocks, given, strict=True)
    ]
    return np.concatenate(parts)


def _ball(block: Block, general: np.ndarray | None) -> np.ndarray:
    """Return what a sphere becomes in a block: [dim, dim] with a mean square of 1."""
    if block.name != "g" or general is None:
        return np.eye(block.dim)
    return general * (block.dim / np.trace(general))


def few_shot_scores(vectors: np.ndarray, entries: list[FewShot]) -> np.ndarray:
    """Return scores float64 [N, K]: weight @ vector + bias of each entry."""
    weights = np.stack([entry.weight for entry in entries]).astype(np.float64)
    return np.asarray(vectors, np.float64) @ weights.T + np.array([entry.bias for entry in entries])
