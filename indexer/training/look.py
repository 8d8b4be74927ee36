"""Choice of what of its photos a network is shown, on features of the frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from indexer.core.category_path import format_path
from indexer.core.errors import BadDataError, BadRequestError
from indexer.core.progress import OnStage, no_progress
from indexer.core.vectors import evenly_spaced, unit_rows
from indexer.feeds.dataset import DatasetRow
from indexer.model.backbone import Backbone
from indexer.model.backbones import find
from indexer.model.network import Network
from indexer.model.preprocessing import LOOK_COST, with_look
from indexer.model.spec import LOOKS, Preprocess
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.distributed import ALONE, TrainingProcesses
from indexer.training.feature_cache import features_of_looks, photo_features
from indexer.training.options import AUTO, TrainingOptions
from indexer.training.problem import TrainingProblem
from indexer.training.targets import CATEGORY

# What is taken where no categories can judge.
USUAL = "crop"
# Looks that are judged. ``rect`` is taken where it is asked for: frozen weights, which have seen
# larger things, gained nothing by it.
JUDGED = ("crop", "whole", "both")
# photos that judge, at most and at least
MOST_PHOTOS = 800
LEAST_PHOTOS = 100
# The same of fine-tuned networks, which have learned how large things are in squares.
TUNED = ("whole", "rect", "both")
_FOLDS = 5
# of the mean square of a feature, on the diagonal of the ridge regression
_RIDGE = 0.5


@dataclass(frozen=True)
class LookScore:
    """How well the frozen features of one look tell categories apart."""

    # of photos held out of a ridge regression, five-fold
    accuracy: float
    # share of the photos whose nearest photo of another product has their category
    hit_rate_at_1: float


@dataclass(frozen=True)
class LookChoice:
    """The look that is taken, and why."""

    # one of ``spec.LOOKS``
    look: str
    # photos that judged
    photos: int
    scores: dict[str, LookScore]
    reason: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def choose_look(
    problem: TrainingProblem,
    network: Network,
    options: TrainingOptions,
    *,
    progress: OnStage = no_progress,
    team: TrainingProcesses = ALONE,
) -> LookChoice:
    """Choose the look of a model: the one asked for, or the cheapest within one standard error of
    the best.

    Looks are judged on train and validation photos, by five-fold accuracy and ``hit_rate_at_1`` of
    the features of ``network``'s backbone, photo by photo, so the error is that of a paired
    difference (the one-standard-error rule, Breiman et al. 1984).
    """
    if options.look != AUTO:
        return LookChoice(options.look, 0, {}, "asked for")
    if options.recipe == "finetune":
        return LookChoice(USUAL, 0, {}, "chosen after fine-tuning, where photos have labels")
    rows = [row for row in problem.of("train") + problem.of("validation") if row.category]
    rows = [rows[place] for place in evenly_spaced(len(rows), MOST_PHOTOS)]
    right: dict[str, np.ndarray] = {}
    scores: dict[str, LookScore] = {}
    judged = JUDGED if len(rows) >= LEAST_PHOTOS else ()
    runtimes = [show_frozen(network, look, options.device) for look in judged]
    with team.first():
        features = features_of_looks(rows, runtimes, cache=options.cache, progress=progress)
    for look, found in zip(judged, features, strict=True):
        if len(found.rows) < LEAST_PHOTOS or len({row.category for row in found.rows}) < 2:
            break
        labels = np.unique(
            [format_path(row.category or ()) for row in found.rows], return_inverse=True
        )[1]
        products = np.unique([row.product_id for row in found.rows], return_inverse=True)[1]
        values = found.values[:, : network.spec.feature_dim]
        by_ridge = ridge_hits(values, labels, products)
        by_nearest = nearest_hits(values, labels, products)
        right[look] = (by_ridge.astype(float) + by_nearest) / 2
        scores[look] = LookScore(float(by_ridge.mean()), float(by_nearest.mean()))
    if not right:
        return LookChoice(
            USUAL, 0, {}, f"fewer than {LEAST_PHOTOS} photos of two categories to judge by"
        )
    chosen = cheapest_of_best(right)
    best = max(right, key=lambda look: float(right[look].mean()))
    reason = "best" if chosen == best else f"within one standard error of {best}"
    return LookChoice(chosen, len(right[chosen]), scores, reason)


def choose_tuned_look(
    rows: Sequence[DatasetRow],
    labels: np.ndarray,
    network: Network,
    options: TrainingOptions,
    *,
    progress: OnStage = no_progress,
) -> LookChoice:
    """Choose what a fine-tuned ``network``, trained on squares, is shown: the look asked for, or
    the cheapest within one standard error of the best.

    ``rows``: validation photos with ``labels`` int [M], none negative. Right is what its head says
    and the nearest of the other photos, by the embedding that search compares.
    """
    square = network.spec.preprocess
    if options.look != AUTO:
        return LookChoice(options.look, 0, {}, "asked for")
    if not options.framed:
        return LookChoice(square.look, 0, {}, "fine-tuning shows squares")
    few = len(rows) < LEAST_PHOTOS
    if few or len(np.unique(labels)) < 2 or CATEGORY not in network.heads.names:
        reason = f"fewer than {LEAST_PHOTOS} validation photos of two categories to judge by"
        return LookChoice(square.look, 0, {}, reason)
    products = np.unique([row.product_id for row in rows], return_inverse=True)[1]
    looks = [look for look in TUNED if look != "rect" or find(network.spec.backbone).any_shape]
    right: dict[str, np.ndarray] = {}
    scores: dict[str, LookScore] = {}
    for look in looks:
        runtime = TorchRuntime(shown_by(network, with_look(square, look)), device=options.device)
        found = photo_features(rows, runtime, cache=options.cache, progress=progress)
        if len(found.rows) < len(rows):
            raise BadDataError(
                f"photos became unreadable while training: {found.skipped[0].reason}"
            )
        vectors = runtime.embed_features(found.values.astype(np.float32))
        by_head = runtime.logits(vectors)[CATEGORY].argmax(1) == labels
        by_nearest = nearest_hits(vectors, labels, products, centred=True)
        right[look] = (by_head.astype(float) + by_nearest) / 2
        scores[look] = LookScore(float(by_head.mean()), float(by_nearest.mean()))
    chosen = cheapest_of_best(right)
    best = max(right, key=lambda look: float(right[look].mean()))
    reason = "best" if chosen == best else f"within one standard error of {best}"
    return LookChoice(chosen, len(rows), scores, f"{reason}, on validation photos")


def show_frozen(network: Network, look: str, device: str) -> TorchRuntime:
    """Return a runtime of the frozen ``network`` that is shown its photos by ``look``."""
    spec = network.spec.with_preprocess(with_look(network.spec.preprocess, look))
    return TorchRuntime(Network(spec, network.backbone), device=device)


def shown_by(network: Network, preprocess: Preprocess) -> Network:
    """Return the same weights for photos shown by ``preprocess``."""
    found = Network(network.spec.with_preprocess(preprocess), network.backbone)
    found.neck.load_state_dict(network.neck.state_dict())
    found.heads.load_state_dict(network.heads.state_dict())
    return found


def look_notes(made: dict[str, Any]) -> list[str]:
    """Say which look was chosen by figures and what it costs, from ``LookChoice.to_json``."""
    if not made["scores"]:
        return []
    scores = ", ".join(
        f"{name} {score['accuracy']:.3f} / {score['hit_rate_at_1']:.3f}"
        for name, score in made["scores"].items()
    )
    times = LOOK_COST[made["look"]]
    cost = f", which costs {times:g} times as much for each photo" if times > 1 else ""
    return [
        f"look {made['look']!r} of {scores} (accuracy / hit rate@1 of frozen features, "
        f"{made['photos']} photos): {made['reason']}{cost}; --look chooses another"
    ]


def take_look(network: Network, backbone: Backbone, look: str) -> None:
    """Show the pretrained ``network`` of ``backbone`` its photos so.

    Raises ``BadRequestError`` with the looks that it takes for another one.
    """
    if look == "rect" and not backbone.any_shape:
        others = ", ".join(name for name in LOOKS if name != "rect")
        raise BadRequestError(
            f"backbone {backbone.name!r} reads squares of {backbone.preprocess.crop} px alone, so "
            f"look 'rect' is not for it: use {others}"
        )
    network.spec = network.spec.with_preprocess(with_look(backbone.preprocess, look))


def cheapest_of_best(right: dict[str, np.ndarray]) -> str:
    """Choose the cheapest look within one standard error of the best, which is paired.

    ``right``: look -> how right each photo is, float [n].
    """
    best = max(right.values(), key=lambda hits: float(hits.mean()))
    for look in sorted(right, key=LOOK_COST.__getitem__):
        behind = best - right[look]
        if behind.mean() <= behind.std() / len(behind) ** 0.5:
            return look
    raise AssertionError("the best is within any error of itself")


def ridge_hits(features: np.ndarray, labels: np.ndarray, products: np.ndarray) -> np.ndarray:
    """Tell which photos a ridge regression to one-hot labels gets right, each held out: bool [n].

    Five folds; photos of one product stay together.
    """
    rows = unit_rows(features)
    fold = np.random.default_rng(0).permutation(products.max() + 1)[products] % _FOLDS
    right = np.zeros(len(rows), bool)
    for number in range(_FOLDS):
        train, held = fold != number, fold == number
        if not train.any() or not held.any():
            continue
        hot = np.eye(labels.max() + 1, dtype=np.float32)[labels[train]]
        centre, usual = rows[train].mean(0), hot.mean(0)
        inputs = rows[train] - centre
        scatter = inputs.T @ inputs
        # relative to the mean eigenvalue of the Gram matrix of as many photos
        ridge = _RIDGE * np.trace(scatter) / len(inputs)
        scatter[np.diag_indices_from(scatter)] += ridge
        weights = np.linalg.solve(scatter, inputs.T @ (hot - usual))
        found = (rows[held] - centre) @ weights + usual
        right[held] = found.argmax(1) == labels[held]
    return right


def nearest_hits(
    features: np.ndarray, labels: np.ndarray, products: np.ndarray, *, centred: bool = False
) -> np.ndarray:
    """Tell whose nearest photo of another product has the same label, by cosine: bool [n].

    Features that are not ``centred`` are.
    """
    rows = unit_rows(features)
    if not centred:
        rows = unit_rows(rows - rows.mean(0))
    scores = rows @ rows.T
    scores[products[:, None] == products[None]] = -np.inf
    return np.asarray(labels[scores.argmax(1)] == labels)
