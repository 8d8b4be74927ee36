"""How much each block of the embedding counts in "similar": chosen on validation photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from indexer.training.targets import CATEGORY, Target, colour_target

_STEP = 0.05
_LEAST = {"a": 0.3, "c": 0.1, "g": 0.2}  # g stays: it knows what no label names, and finds the same thing again
_NEAREST = 10


def choose_weights(
    blocks: Mapping[str, np.ndarray], targets: Sequence[Target], train: np.ndarray, held: np.ndarray, pixels: np.ndarray
) -> dict[str, float] | None:
    """Block weights (sum 1) with the most of the ten nearest alike in category and colour; None: keep the spec's own.

    ``blocks``: name -> vectors [N, dim], unit length; ``train`` and ``held`` bool [N]; exact copies (equal ``pixels``)
    are not to be found. Among weights that find the right category first at least as often as ``g`` alone does; where
    none does, those that lose least. Without a colour block there is nothing to trade.
    """
    colour = colour_target(targets)
    category = next((target for target in targets if target.name == CATEGORY), None)
    if colour is None or category is None or "c" not in blocks:
        return None
    gallery = train & (category.columns >= 0) & (colour.columns >= 0)
    queries = held & (category.columns >= 0) & (colour.columns >= 0)
    if not gallery.any() or not queries.any():
        return None
    cosine = {name: vectors[queries] @ vectors[gallery].T for name, vectors in blocks.items()}
    copies = pixels[queries][:, None] == pixels[gallery][None, :]

    def figures(weights: Mapping[str, float]) -> tuple[float, float]:
        """(right category first, share of the ten nearest alike in both)."""
        scores = np.where(copies, -2.0, sum(weight * cosine[name] for name, weight in weights.items()))
        near = np.argpartition(-scores, min(_NEAREST, scores.shape[1]) - 1, axis=1)[:, :_NEAREST]
        first = near[np.arange(len(near)), np.take_along_axis(scores, near, 1).argmax(1)]
        alike = [target.columns[gallery][near] == target.columns[queries][:, None] for target in (category, colour)]
        right = category.columns[gallery][first] == category.columns[queries]
        return float(right.mean()), float((alike[0] & alike[1]).mean())

    floor = figures({"g": 1.0})[0]
    tried = {tuple(weights.items()): figures(weights) for weights in _grid()}
    good = {weights: found for weights, found in tried.items() if found[0] >= floor}
    if good:
        best = max(good, key=lambda weights: good[weights][1])
    else:
        best = max(tried, key=lambda weights: (round(tried[weights][0], 2), tried[weights][1]))
    return dict(best)


def _grid() -> list[dict[str, float]]:
    steps = round(1 / _STEP)
    found = []
    for a in range(steps + 1):
        for c in range(steps + 1 - a):
            weights = {"a": a * _STEP, "c": c * _STEP, "g": 1 - (a + c) * _STEP}
            weights = {name: round(weight, 2) for name, weight in weights.items()}
            if all(weights[name] >= least - 1e-9 for name, least in _LEAST.items()):
                found.append(weights)
    return found
