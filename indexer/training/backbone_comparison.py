"""Comparison of frozen backbones on the photos of one data set, and what each would cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.core.category_path import format_path
from indexer.core.errors import BadDataError, CatalensError, WeightsUnavailableError
from indexer.core.progress import OnStage, no_progress
from indexer.core.vectors import evenly_spaced
from indexer.feeds.dataset import DatasetRow
from indexer.model import backbones
from indexer.model.hub_weights import cached_networks
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.advise import costs, decode_some, frozen_runtime, measure_speed
from indexer.training.feature_cache import Features, photo_features
from indexer.training.look import LEAST_PHOTOS, MOST_PHOTOS, nearest_hits, ridge_hits
from indexer.training.problem import TrainingProblem, read_problem

# every network whose weights are on this machine
LOCAL = "local"
# of the minutes, what embedding may take; the rest is for reading, timing and the regressions
_EMBEDDING = 0.7
_SPREAD = 1.96


@dataclass(frozen=True)
class BackboneScore:
    """One backbone on the compared photos, each held out of what judges it."""

    backbone: str
    # of a ridge regression to categories, five-fold
    accuracy: float
    # share of photos whose nearest photo of another product has their category
    hit_rate_at_1: float
    # of the mean of both to the first backbone's, with its 95% interval; None for the first
    difference: float | None
    interval: tuple[float, float] | None
    # seconds of embedding 1,000 photos, ms of one photo, MB of weights
    seconds_per_1000: float
    query_ms: float
    weights_mb: float
    # minutes that the recipes would take here: linear, and one epoch of finetune
    linear_minutes: float
    finetune_epoch_minutes: float

    @property
    def within_noise(self) -> bool:
        """Whether the difference may be none."""
        return self.interval is not None and self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class BackboneComparison:
    """Backbones on the same photos, in the order they were named."""

    photos: int
    products: int
    scores: list[BackboneScore]
    # what was left out, and what the figures say
    notes: list[str]


@dataclass(frozen=True)
class _Candidate:
    runtime: TorchRuntime
    speed: dict[str, float]
    query_ms: float
    weights_mb: float


def local_backbones() -> list[str]:
    """Names of all backbones whose weights are on this machine, the offered ones first."""
    offered = [
        name for name, row in backbones.BACKBONES.items() if row.weights.local_file() is not None
    ]
    return [*offered, *cached_networks()]


def compare_backbones(
    data: Path,
    names: Sequence[str],
    *,
    weights: Path | None = None,
    minutes: float = 15.0,
    seed: int = 0,
    device: str = "auto",
    cache: Path | None = None,
    progress: OnStage = no_progress,
) -> BackboneComparison:
    """Judge frozen backbones by the train and validation photos of DATA, photo by photo.

    The first name is what the others are compared with, and ``weights`` are its; ``local`` stands
    for all that are on this machine. ``minutes`` bound the run: fewer photos are compared where
    networks are slow. Test photos are not read. A network that cannot be had is named in ``notes``.
    Raises ``BadDataError`` where too few photos have a category.
    """
    problem = read_problem(data, seed)
    rows = [row for row in problem.of("train") + problem.of("validation") if row.category]
    if len(rows) < LEAST_PHOTOS or len({row.category for row in rows}) < 2:
        raise BadDataError(
            f"{data}: {len(rows)} photos with a category to compare networks by; {LEAST_PHOTOS} "
            "of two categories are needed"
        )
    notes: list[str] = []
    found = _candidates(names, rows, weights, device, notes)
    if not found:
        raise BadDataError(f"no network to compare: {'; '.join(notes)}")
    rows = _within_time(rows, found, minutes)
    if len(rows) < LEAST_PHOTOS:
        raise BadDataError(
            f"{minutes:g} minutes are enough for {len(rows)} photos with these networks: name "
            "fewer, or give more minutes (--minutes)"
        )
    features = {
        name: photo_features(rows, one.runtime, cache=cache, progress=progress)
        for name, one in found.items()
    }
    return _compared(problem, found, features, notes)


def _candidates(
    names: Sequence[str],
    rows: Sequence[DatasetRow],
    weights: Path | None,
    device: str,
    notes: list[str],
) -> dict[str, _Candidate]:
    """Open and time what is there; the reason of what is not goes into ``notes``."""
    wanted: list[str] = []
    for name in names:
        wanted += local_backbones() if name == LOCAL else [name]
    found: dict[str, _Candidate] = {}
    for name in dict.fromkeys(wanted):
        try:
            own = weights if name == names[0] else None
            if own is None and backbones.weights_source(backbones.find(name)) is None:
                raise WeightsUnavailableError(
                    "its weights are not on this machine, and a comparison downloads none "
                    "(catalens model fetch, or train with it)"
                )
            runtime = frozen_runtime(name, weights=own, device=device)
        except CatalensError as error:
            notes.append(f"{name} is left out: {error}")
            continue
        photo = decode_some(runtime, rows)[:1]
        passes = []
        for _ in range(3):
            started = time.perf_counter()
            runtime.extract_features(photo)
            passes.append(time.perf_counter() - started)
        speed = measure_speed(runtime, rows)
        rates = {name: speed[name] for name in ("forward_per_s", "training_per_s")}
        numbers = sum(tensor.numel() for tensor in runtime.network.backbone.state_dict().values())
        found[name] = _Candidate(runtime, rates, 1000 * min(passes), 4 * numbers / 1e6)
    return found


def _within_time(
    rows: list[DatasetRow], found: dict[str, _Candidate], minutes: float
) -> list[DatasetRow]:
    """As many rows, evenly spaced, as all networks embed in the time."""
    each = sum(1 / one.speed["forward_per_s"] for one in found.values())
    most = int(_EMBEDDING * 60 * minutes / each)
    return [rows[place] for place in evenly_spaced(len(rows), min(most, MOST_PHOTOS))]


def _compared(
    problem: TrainingProblem,
    found: dict[str, _Candidate],
    features: dict[str, Features],
    notes: list[str],
) -> BackboneComparison:
    """Judge the photos that every network has read."""
    places = [_places(one) for one in features.values()]
    everywhere = set(places[0]).intersection(*places)
    rows = [row for row in next(iter(features.values())).rows if row.where in everywhere]
    labels = np.unique([format_path(row.category or ()) for row in rows], return_inverse=True)[1]
    products = np.unique([row.product_id for row in rows], return_inverse=True)[1]
    counts = {name: len(problem.of(name)) for name in ("train", "validation")}
    scores: list[BackboneScore] = []
    first: np.ndarray | None = None
    for (name, one), place in zip(found.items(), places, strict=True):
        at = [place[row.where] for row in rows]
        values = features[name].values[at, : one.runtime.spec.feature_dim]
        by_ridge = ridge_hits(values, labels, products)
        by_nearest = nearest_hits(values, labels, products)
        right = (by_ridge.astype(float) + by_nearest) / 2
        difference, interval = (None, None) if first is None else _paired(right - first, products)
        first = right if first is None else first
        cost = costs(counts, one.speed)
        scores.append(
            BackboneScore(
                name,
                float(by_ridge.mean()),
                float(by_nearest.mean()),
                difference,
                interval,
                1000 / one.speed["forward_per_s"],
                one.query_ms,
                one.weights_mb,
                cost["linear"] / 60,
                cost["finetune_epoch"] / 60,
            )
        )
    notes = [*notes, *_verdicts(scores)]
    return BackboneComparison(len(rows), len(set(products.tolist())), scores, notes)


def _places(features: Features) -> dict[str, int]:
    """Where each row stands among the features."""
    return {row.where: at for at, row in enumerate(features.rows)}


def _paired(change: np.ndarray, products: np.ndarray) -> tuple[float, tuple[float, float]]:
    """The mean change of photos [n] with its 95% interval; photos of one product vary together."""
    mean = float(change.mean())
    sums = np.bincount(products, change - mean)
    error = float(np.sqrt((sums**2).sum()) / len(change))
    return mean, (mean - _SPREAD * error, mean + _SPREAD * error)


def _verdicts(scores: Sequence[BackboneScore]) -> list[str]:
    """What each difference says, in words."""
    said = []
    for score in scores[1:]:
        low, high = score.interval or (0.0, 0.0)
        if score.within_noise:
            judged = "within noise of"
        else:
            judged = "better than" if low > 0 else "worse than"
        said.append(
            f"{score.backbone} is {judged} {scores[0].backbone}: {score.difference:+.3f} "
            f"({low:+.3f} to {high:+.3f}), and takes {score.query_ms / scores[0].query_ms:.1f} "
            "times as long for a photo"
        )
    return said
