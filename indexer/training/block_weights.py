"""How much each block of the embedding counts in "similar": chosen on validation photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.core.vectors import unit_rows
from indexer.training.sampling import sample_indices
from indexer.training.targets import CATEGORY, Target, colour_target

_STEP = 0.05
_LEAST = {
    "a": 0.1,
    "c": 0.05,
    "g": 0.2,
}  # g stays: it knows what no label names, and finds the same thing again
_NEAREST = 10
_ASKED, _SEARCHED = (
    1500,
    15_000,
)  # photos; a draw of more: each of a hundred mixtures ranks all pairs
_ENOUGH = 0.9  # of re-shots that find their photo: what is above does not buy less agreement


@dataclass(frozen=True)
class ReshotQueries:
    """Re-shots of validation photos, which must find their photo among all."""

    places: np.ndarray  # int [R], the photo of each
    blocks: Mapping[str, np.ndarray]  # name -> unit vectors [R, dim]
    frozen: float  # share that finds its photo by the frozen features (``instance_rate``)


def instance_rate(
    asked: np.ndarray, vectors: np.ndarray, places: np.ndarray, pixels: np.ndarray
) -> float:
    """Share of re-shots [R, D] whose nearest of [N, D] is their own photo ``places`` [R], or an
    exact copy of it."""
    return _found(unit_rows(asked) @ unit_rows(vectors).T, places, pixels)


def choose_weights(
    blocks: Mapping[str, np.ndarray],
    targets: Sequence[Target],
    train: np.ndarray,
    held: np.ndarray,
    pixels: np.ndarray,
    again: ReshotQueries | None = None,
) -> dict[str, float] | None:
    """Block weights (sum 1) by validation photos; None: nothing to choose, keep the spec's own.

    Sought is the most of two shares together: of the ten nearest, those alike in category (and
    colour, where there is a colour block), and of re-shots, those that find their photo, up to 90%.
    Only weights count that find the right category first at least as often as ``g`` alone does, and
    photos again at least as often as the frozen features; where none does, those that lose least,
    photos again before category.

    ``blocks``: name -> vectors [N, dim], unit length; ``train`` and ``held`` bool [N], of many
    photos a draw; exact copies (equal ``pixels``) are not to be found.
    """
    colour = colour_target(targets) if "c" in blocks else None
    category = next((target for target in targets if target.name == CATEGORY), None)
    if category is None or len(blocks) < 2:
        return None
    alike = [category] if colour is None else [category, colour]
    labelled = np.logical_and.reduce([target.columns >= 0 for target in alike])
    gallery, queries = (
        sample_indices(train & labelled, _SEARCHED),
        sample_indices(held & labelled, _ASKED),
    )
    if not len(gallery) or not len(queries):
        return None
    cosine = {name: vectors[queries] @ vectors[gallery].T for name, vectors in blocks.items()}
    _, pixels = np.unique(
        np.asarray(pixels, str), return_inverse=True
    )  # numbers compare a hundred times as fast
    copies = pixels[queries][:, None] == pixels[gallery][None, :]
    seen = (
        {}
        if again is None
        else {name: again.blocks[name] @ vectors.T for name, vectors in blocks.items()}
    )

    def figures(weights: Mapping[str, float]) -> tuple[float, float, float]:
        """(right category first, share of the ten nearest alike in all, share of re-shots that find
        their photo)."""
        scores = np.where(
            copies, -2.0, sum(weight * cosine[name] for name, weight in weights.items())
        )
        near = np.argpartition(-scores, min(_NEAREST, scores.shape[1]) - 1, axis=1)[:, :_NEAREST]
        first = near[np.arange(len(near)), np.take_along_axis(scores, near, 1).argmax(1)]
        same = [
            target.columns[gallery][near] == target.columns[queries][:, None] for target in alike
        ]
        right = category.columns[gallery][first] == category.columns[queries]
        found = 1.0
        if again is not None:
            found = _found(
                np.asarray(sum(w * seen[name] for name, w in weights.items())), again.places, pixels
            )
        return float(right.mean()), float(np.logical_and.reduce(same).mean()), found

    floor = figures({"g": 1.0})[0]
    frozen = 0.0 if again is None else again.frozen
    tried = {tuple(weights.items()): figures(weights) for weights in _grid(tuple(blocks))}

    def worth(weights: tuple[tuple[str, float], ...]) -> tuple[float, float, float]:
        right, agreed, found = tried[weights]
        lost = min(round(found - frozen, 2), 0.0), min(round(right - floor, 2), 0.0)
        return *lost, agreed + min(found, _ENOUGH)

    good = [
        weights
        for weights, (right, _, found) in tried.items()
        if right >= floor and found >= frozen
    ]
    best = max(good or list(tried), key=worth)
    return dict(best)


def _found(scores: np.ndarray, places: np.ndarray, pixels: np.ndarray) -> float:
    return float((pixels[scores.argmax(1)] == pixels[places]).mean())


def _grid(names: Sequence[str]) -> list[dict[str, float]]:
    """All weights of the blocks, a, g and perhaps c, in steps that sum to 1."""
    steps = round(1 / _STEP)
    found = []
    for a in range(steps + 1):
        for c in range(steps + 1 - a) if "c" in names else (0,):
            weights = {"a": a * _STEP, "c": c * _STEP, "g": 1 - (a + c) * _STEP}
            weights = {name: round(weights[name], 2) for name in names}
            if all(weights[name] >= _LEAST[name] - 1e-9 for name in names):
                found.append(weights)
    return found
