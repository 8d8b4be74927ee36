"""Block weights of the embedding, chosen on validation photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.core.vectors import unit_rows
from indexer.training.linear import JOINT_WEIGHT
from indexer.training.sampling import sample_indices
from indexer.training.targets import CATEGORY, Target, colour_target

_STEP = 0.05
# g stays: it knows what no label names, and finds the same thing again
_LEAST = {"a": 0.1, "c": 0.05, "g": 0.2}
# of t, least first
_JOINT = (JOINT_WEIGHT, 0.3, 0.5)
_NEAREST = 10
# photos; a draw of more: each of a hundred mixtures ranks all pairs
_QUERIES = 1500
_GALLERY = 15_000
# of recaptures that find their photo: what is above does not buy less agreement
_ENOUGH = 0.9

Weights = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class RecaptureQueries:
    """Recaptures of validation photos, which must find their photo among all."""

    places: np.ndarray  # int [R], the photo of each
    blocks: Mapping[str, np.ndarray]  # name -> unit vectors [R, dim]
    frozen: float  # share that finds its photo by the frozen features (``instance_rate``)


def instance_rate(
    query_vectors: np.ndarray, vectors: np.ndarray, places: np.ndarray, pixels: np.ndarray
) -> float:
    """Measure the share of recaptures [R, D] whose nearest of [N, D] is their own photo.

    ``places`` [R] says which photo is meant; an exact copy of it counts too.
    """
    return _recall_at_1(unit_rows(query_vectors) @ unit_rows(vectors).T, places, pixels)


def choose_weights(
    blocks: Mapping[str, np.ndarray],
    targets: Sequence[Target],
    train_mask: np.ndarray,
    validation_mask: np.ndarray,
    pixels: np.ndarray,
    recaptures: RecaptureQueries | None = None,
) -> dict[str, float] | None:
    """Choose block weights (sum 1) on validation photos; None where there is nothing to choose.

    Maximises the sum of two shares: of the ten nearest, those alike in category (and colour, where
    there is a colour block), and of recaptures, those that find their photo, up to 90%. Only
    weights count that find the right category first at least as often as ``g`` alone does, and
    photos again at least as often as the frozen features; where none does, those that lose least,
    photos again before category.

    ``blocks``: name -> vectors [N, dim], unit length; the masks are bool [N], of many photos a
    draw; exact copies (equal ``pixels``) are not to be found.
    """
    colour = colour_target(targets) if "c" in blocks else None
    category = next((target for target in targets if target.name == CATEGORY), None)
    learnt = tuple(name for name in blocks if name != "t")
    if category is None or len(learnt) < 2:
        return None
    alike = [category] if colour is None else [category, colour]
    labelled = np.logical_and.reduce([target.labels >= 0 for target in alike])
    gallery = sample_indices(train_mask & labelled, _GALLERY)
    queries = sample_indices(validation_mask & labelled, _QUERIES)
    if not len(gallery) or not len(queries):
        return None
    trial = _WeightTrial(blocks, alike, queries, gallery, pixels, recaptures)
    floor = trial.measure({"g": 1.0}).category_first
    frozen = 0.0 if recaptures is None else recaptures.frozen
    tried: dict[Weights, _Shares] = {
        tuple(weights.items()): trial.measure(weights) for weights in _grid(learnt)
    }

    def objective(weights: Weights) -> tuple[float, float, float]:
        found = tried[weights]
        lost_photos = min(round(found.recaptures - frozen, 2), 0.0)
        lost_categories = min(round(found.category_first - floor, 2), 0.0)
        return lost_photos, lost_categories, found.precision_at_10 + min(found.recaptures, _ENOUGH)

    good = [
        weights
        for weights, found in tried.items()
        if found.category_first >= floor and found.recaptures >= frozen
    ]
    chosen: Weights = max(good or list(tried), key=objective)
    best = dict(chosen)
    if "t" not in blocks:
        return best
    # Block t is there to be asked by words: photos get more of it only where that pays.
    shared = [_with_joint(best, share) for share in _JOINT]
    tried |= {tuple(weights.items()): trial.measure(weights) for weights in shared}
    told: list[Weights] = [tuple(weights.items()) for weights in shared]
    chosen = max(told, key=objective)
    return dict(chosen)


@dataclass(frozen=True)
class _Shares:
    """What some weights reach on validation photos."""

    category_first: float  # queries whose nearest has their category
    precision_at_10: float  # of the ten nearest, alike in all targets
    recaptures: float  # recaptures that find their photo


class _WeightTrial:
    """Cosines of each block, computed once, that any weights can be measured with."""

    def __init__(
        self,
        blocks: Mapping[str, np.ndarray],
        targets: Sequence[Target],
        queries: np.ndarray,
        gallery: np.ndarray,
        pixels: np.ndarray,
        recaptures: RecaptureQueries | None,
    ) -> None:
        self._targets = targets
        self._queries = queries
        self._gallery = gallery
        self._recaptures = recaptures
        self._cosine = {
            name: vectors[queries] @ vectors[gallery].T for name, vectors in blocks.items()
        }
        # numbers compare a hundred times as fast
        _, self._pixels = np.unique(np.asarray(pixels, str), return_inverse=True)
        self._copies = self._pixels[queries][:, None] == self._pixels[gallery][None, :]
        self._seen: dict[str, np.ndarray] = {}
        if recaptures is not None:
            self._seen = {
                name: recaptures.blocks[name] @ vectors.T for name, vectors in blocks.items()
            }

    def measure(self, weights: Mapping[str, float]) -> _Shares:
        """Measure the shares that the ``weights`` reach."""
        mixed = sum(weight * self._cosine[name] for name, weight in weights.items())
        scores = np.where(self._copies, -2.0, mixed)
        near = np.argpartition(-scores, min(_NEAREST, scores.shape[1]) - 1, axis=1)[:, :_NEAREST]
        same = np.ones(near.shape, bool)
        for target in self._targets:
            given = target.labels[self._queries][:, None]
            same &= target.labels[self._gallery][near] == given
        first = near[np.arange(len(near)), np.take_along_axis(scores, near, 1).argmax(1)]
        category = self._targets[0].labels
        right = category[self._gallery][first] == category[self._queries]
        found = 1.0
        if self._recaptures is not None:
            seen = np.asarray(sum(weight * self._seen[name] for name, weight in weights.items()))
            found = _recall_at_1(seen, self._recaptures.places, self._pixels)
        return _Shares(float(right.mean()), float(same.mean()), found)


def _with_joint(weights: Mapping[str, float], share: float) -> dict[str, float]:
    """The other blocks' weights with block t beside them."""
    return {**{name: weight * (1 - share) for name, weight in weights.items()}, "t": share}


def _recall_at_1(scores: np.ndarray, places: np.ndarray, pixels: np.ndarray) -> float:
    return float((pixels[scores.argmax(1)] == pixels[places]).mean())


def _grid(names: Sequence[str]) -> list[dict[str, float]]:
    """List all weights of the blocks, a, g and perhaps c, in steps that sum to 1."""
    steps = round(1 / _STEP)
    found = []
    for a in range(steps + 1):
        for c in range(steps + 1 - a) if "c" in names else (0,):
            weights = {"a": a * _STEP, "c": c * _STEP, "g": 1 - (a + c) * _STEP}
            weights = {name: round(weights[name], 2) for name in names}
            if all(weights[name] >= _LEAST[name] - 1e-9 for name in names):
                found.append(weights)
    return found
