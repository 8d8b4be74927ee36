"""Benchmark ``explain``: a photo's score once the warmest cells of its map are painted over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from indexer.core.native import torch
from indexer.imaging.decode import decode_photo
from indexer.model import backbones
from indexer.model.gradcam import category_map, pair_maps
from indexer.model.network import Network
from indexer.training.advise import frozen_runtime
from indexer.training.problem import read_problem
from tools.bench.harness.framework import BenchRow, Goal, figure, knob, real_data
from tools.output import log

PARTS = ("category", "pair")
# Cells of the last feature map that are painted over with the ground, of 49.
_CELLS = 10
_BACKBONE = "efficientnet_lite0"
_RIVALS = ("random", "centre", "ground")


def _lead(part: str, rival: str) -> Callable[[Sequence[BenchRow]], float | None]:
    """A reader of how far the map's fall is over a rival's, less two standard errors."""
    return figure(part, f"lead_over_{rival}")


GOALS = (
    *(
        Goal(f"{part}: fall by the map over {rival}, two standard errors below", ">=", 0.0, read)
        for part in PARTS
        for rival in _RIVALS
        for read in (_lead(part, rival),)
    ),
    *(
        Goal(f"{part}: rank correlation with a random network's map", "<=", 0.2, read)
        for part in PARTS
        for read in (figure(part, "randomised"),)
    ),
)


def measure(part: str, work: Path) -> BenchRow:
    """Validation photos of clothing, the frozen lite0: ten of 49 cells are painted in the ground's
    colour, the warmest first, or at random, from the centre, or by their distance from the ground.

    ``category``: the score is the cosine to the mean of the photo's kind less the mean of all
    others; ``pair``: to its nearest photo, where that is of its kind. ``CATALENS_BENCH_PHOTOS``:
    how many are drawn.
    """
    log(f"bench explain: {part}")
    runtime = frozen_runtime(_BACKBONE)
    torch.manual_seed(0)
    strange = Network(runtime.network.spec, backbones.build(_BACKBONE, random=True)).eval()
    rng = np.random.default_rng(0)
    problem = read_problem(real_data("clothing"), 0)
    files = problem.of("validation")
    rows = [files[place] for place in rng.permutation(len(files))[: knob("PHOTOS", 100)]]
    photos = [decode_photo(row.image.read_bytes()) for row in rows]
    vectors = np.concatenate([runtime.embed([photo]) for photo in photos])
    kinds = np.array([str(row.category) for row in rows])
    falls: dict[str, list[float]] = {}
    ranks: list[float] = []
    for place, other in _asked(part, vectors, kinds):
        photo = runtime.inputs([photos[place]])
        if other is None:
            target = _direction(vectors, kinds, place)
            heat, blind = (
                category_map(network, photo, target) for network in (runtime.network, strange)
            )
        else:
            target, beside = vectors[other], runtime.inputs([photos[other]])
            heat, blind = (
                pair_maps(network, photo, beside)[0].first for network in (runtime.network, strange)
            )
        ranks.append(float(np.nan_to_num(spearmanr(heat.ravel(), blind.ravel())[0])))
        for name, found in _orders(heat, photo, rng).items():
            painted = _score(runtime.network, _paint(photo, found, heat.shape), target)
            falls.setdefault(name, []).append(_score(runtime.network, photo, target) - painted)
    return {"recipe": measure.__doc__, "photos": len(ranks), **_figures(falls, ranks)}


def _figures(falls: dict[str, list[float]], ranks: list[float]) -> dict[str, Any]:
    row: dict[str, Any] = {"randomised": float(np.mean(ranks))}
    for name, found in falls.items():
        row[f"fall_{name}"] = float(np.mean(found))
        if name in _RIVALS:
            lead = np.array(falls["map"]) - np.array(found)
            error = float(lead.std(ddof=1) / np.sqrt(len(lead)))
            row |= {f"lead_over_{name}": float(lead.mean()) - 2 * error, f"error_{name}": error}
    log(", ".join(f"{name} {value:.3f}" for name, value in row.items()))
    return row


def _asked(part: str, vectors: np.ndarray, kinds: np.ndarray) -> list[tuple[int, int | None]]:
    """The photos that are asked about, each with its nearest of all where these are of one kind."""
    if part == "category":
        several = [place for place, kind in enumerate(kinds) if (kinds == kind).sum() > 1]
        return [(place, None) for place in several]
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    nearest = cosines.argmax(1).tolist()
    return [(place, other) for place, other in enumerate(nearest) if kinds[place] == kinds[other]]


def _direction(vectors: np.ndarray, kinds: np.ndarray, place: int) -> np.ndarray:
    """What speaks for the kind of a photo, by all photos but itself."""
    same = kinds == kinds[place]
    same[place] = False
    others = kinds != kinds[place]
    return np.asarray(vectors[same].mean(0) - vectors[others].mean(0), np.float32)


def _score(network: Any, photo: Any, target: np.ndarray) -> float:
    with torch.no_grad():
        return float(network(photo)[0][0].numpy() @ target)


def _orders(heat: np.ndarray, photo: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The cells that each way paints first."""
    height, width = heat.shape
    rows, columns = np.mgrid[:height, :width]
    away = np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2)
    apart = (photo - _ground(photo)).abs().sum(1, keepdim=True)
    cells = torch.nn.functional.adaptive_avg_pool2d(apart, heat.shape)[0, 0].numpy()
    ways = {"map": heat, "random": rng.random(heat.shape), "centre": -away, "ground": cells}
    return {
        name: np.argsort(-values.ravel(), kind="stable")[:_CELLS] for name, values in ways.items()
    }


def _paint(photo: Any, cells: np.ndarray, grid: tuple[int, ...]) -> Any:
    """The photo [1, 3, H, W] with cells of a grid in the colour of its ground."""
    painted, ground = photo.clone(), _ground(photo)
    height, width = (side // part for side, part in zip(photo.shape[2:], grid, strict=True))
    for cell in cells.tolist():
        row, column = divmod(cell, grid[1])
        painted[:, :, row * height : (row + 1) * height, column * width : (column + 1) * width] = (
            ground
        )
    return painted


def _ground(photo: Any) -> Any:
    """The median colour of the border, [1, 3, 1, 1]."""
    sides = (photo[:, :, 0], photo[:, :, -1], photo[:, :, :, 0], photo[:, :, :, -1])
    return torch.cat(sides, dim=2).median(dim=2).values[:, :, None, None]
