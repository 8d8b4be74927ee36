"""A vote of the nearest photos beside the category head, where kinds have few photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexer.classification.ranking import category_logits
from indexer.core.category_path import format_path
from indexer.evaluation.evaluate import evaluation_photos
from indexer.feeds.dataset import DatasetRow
from indexer.model.bundle import load_bundle
from indexer.model.calibration import softmax
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.feature_cache import photo_features
from indexer.training.options import TrainingOptions
from indexer.training.train import train
from tools.bench.data.fold_split import write_manifest
from tools.bench.harness.framework import BenchRow
from tools.output import log

_VOTERS = 5
_TEMPERATURE = 0.07
_STRENGTHS = (0.5, 1.0)
_FLOOR = 0.05  # share of the vote that all kinds have alike
_TINY = 1e-9


def vote_shares(
    asked: np.ndarray, gallery: np.ndarray, labels: np.ndarray, kinds: int
) -> np.ndarray:
    """Sum the weights of the nearest photos by kind: [Q, kinds], rows sum to 1.

    ``asked`` [Q, D] and ``gallery`` [N, D]: unit rows; ``labels`` int [N]. The weights are a
    softmax of the cosines.
    """
    cosines = asked @ gallery.T
    count = min(_VOTERS, len(gallery))
    nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
    weights = softmax(np.take_along_axis(cosines, nearest, 1), _TEMPERATURE)
    shares = np.zeros((len(asked), kinds))
    np.add.at(shares, (np.arange(len(asked))[:, None], labels[nearest]), weights)
    return shares


def beside_head(head: np.ndarray, vote: np.ndarray, strength: float) -> np.ndarray:
    """Mix probabilities [Q, K] of the head with shares of the vote on a log scale: [Q, K]."""
    floored = (1 - _FLOOR) * vote + _FLOOR / vote.shape[1]
    logs = (np.log(head + _TINY) + strength * np.log(floored)) / (1 + strength)
    return softmax(logs, 1.0)


def _drawn(rows: Sequence[DatasetRow], each: int, rng: np.random.Generator) -> np.ndarray:
    """Bool [N]: ``each`` rows of every kind."""
    kind = np.array([format_path(row.category or ()) for row in rows])
    chosen = np.zeros(len(rows), bool)
    for name in np.unique(kind):
        chosen[rng.permutation(np.flatnonzero(kind == name))[:each]] = True
    return chosen


def measure_vote(
    learn: Sequence[DatasetRow],
    judges: Sequence[DatasetRow],
    sizes: Sequence[int],
    draws: int,
    work: Path,
) -> BenchRow:
    """Models of so many drawn train photos of each kind: validation accuracy and NLL by the head,
    by the vote of the nearest train photos, and by both.

    ``linear`` as ``train`` makes it; a fifth as many validation photos, two at least, are for
    training, the others are asked.
    """
    samples: list[BenchRow] = []
    for each in sizes:
        for draw in range(draws):
            rng = np.random.default_rng(draw)
            mine = [learn[at] for at in np.flatnonzero(_drawn(learn, each, rng)).tolist()]
            checks = _drawn(judges, max(2, each // 5), rng)
            validation = [judges[at] for at in np.flatnonzero(checks).tolist()]
            asked = [judges[at] for at in np.flatnonzero(~checks).tolist()]
            split = ["train"] * len(mine) + ["validation"] * len(validation)
            manifest = write_manifest(work / "vote.csv", [*mine, *validation], split)
            train(manifest, work / "vote-model", TrainingOptions(seed=draw))
            found = _judged(work / "vote-model", mine, asked)
            samples.append({"photos": each, "draw": draw, **found})
            log(f"{each} photos a kind, draw {draw}: {found}")
    gains = np.array([_gains(one) for one in samples])
    error = gains.std(axis=0, ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else gains[0] * 0
    for name, gain, spread in zip(("head", "vote"), gains.mean(0), error, strict=True):
        log(f"both over the {name}: {gain:+.4f} +- {spread:.4f}")
    return {"recipe": measure_vote.__doc__, "samples": samples}


def _gains(sample: BenchRow) -> list[float]:
    return [sample["both 0.5"] - sample[by] for by in ("head", "vote")]


def _judged(
    model: Path, mine: Sequence[DatasetRow], asked: Sequence[DatasetRow]
) -> dict[str, float]:
    """Accuracy of the head, of the vote and of both; NLL of the head and of both."""
    bundle = load_bundle(model)
    runtime = TorchRuntime(bundle.network())
    features = photo_features([*mine, *asked], runtime)
    ours = {row.image for row in mine}
    taught = np.array([row.image in ours for row in features.rows])
    gallery, queries = (evaluation_photos(features, runtime, use) for use in (taught, ~taught))
    numbers = {category.path: at for at, category in enumerate(bundle.decision.categories)}
    known = np.array([numbers[row.category or ()] for row in gallery.rows])
    truth = np.array([numbers[row.category or ()] for row in queries.rows])
    logits = runtime.logits(queries.vectors)["category"]
    head = softmax(
        category_logits(logits, queries.vectors, bundle.decision), bundle.decision.temperature
    )
    vote = vote_shares(queries.vectors, gallery.vectors, known, len(numbers))
    mixed = {f"both {strength}": beside_head(head, vote, strength) for strength in _STRENGTHS}
    place = np.arange(len(truth))
    found = {
        name: round(float((one.argmax(1) == truth).mean()), 4)
        for name, one in {"head": head, "vote": vote, **mixed}.items()
    }
    for name, one in {"head": head, **mixed}.items():
        found[f"{name} NLL"] = round(float(-np.log(one[place, truth] + _TINY).mean()), 4)
    return found
