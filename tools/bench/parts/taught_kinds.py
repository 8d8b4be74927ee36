"""Models that were taught some kinds alone, and paired intervals over photos of the others.

``CATALENS_BENCH_RECIPE``: ``linear``, or ``finetune`` with ``CATALENS_BENCH_EPOCHS`` epochs.
``CATALENS_BENCH_MODELS``: a folder of ready models, named by the kinds they were taught
(``taught-hat-shirt``); those that are not there are trained and kept in it.
``CATALENS_BENCH_SPLIT``: the photos that are asked, ``test`` or ``validation``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexer.core.csv_text import CsvWriter
from indexer.core.errors import BadRequestError
from indexer.model.bundle import Bundle, load_bundle
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.feature_cache import Features, photo_features
from indexer.training.metrics import bootstrap
from indexer.training.options import TrainingOptions
from indexer.training.problem import TrainingProblem
from indexer.training.train import train
from tools.bench.harness.framework import knob

_RESAMPLES = 2000


@dataclass(frozen=True)
class PhotoVectors:
    """All photos of the data: their features, split and class."""

    features: Features
    split: np.ndarray  # str [N]
    label: np.ndarray  # str [N]

    def of(self, split: str, classes: Sequence[str]) -> np.ndarray:
        """Places of the photos of one split and some classes."""
        return np.flatnonzero((self.split == split) & np.isin(self.label, classes))


def recipe() -> str:
    """The recipe that is measured."""
    return os.environ.get("CATALENS_BENCH_RECIPE", "linear")


def asked_split() -> str:
    """The split whose photos are asked. Raises ``BadRequestError``."""
    split = os.environ.get("CATALENS_BENCH_SPLIT", "test")
    if split not in ("test", "validation"):
        raise BadRequestError(f"CATALENS_BENCH_SPLIT is test or validation, not {split!r}")
    return split


def fit_classes(
    folder: Path, problem: TrainingProblem, classes: Sequence[str], *, epochs: int | None = None
) -> Bundle:
    """Train on the train and validation photos of ``classes`` alone, or open the model that is
    ready. ``epochs``: of ``linear``."""
    kept = os.environ.get("CATALENS_BENCH_MODELS")
    model = folder / "model"
    if kept:
        model = Path(kept).absolute() / f"taught-{'-'.join(sorted(classes))}"
        if model.is_dir():
            return load_bundle(model)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "photos.csv"
    with manifest.open("w", newline="", encoding="utf-8") as stream:
        writer = CsvWriter(stream)
        writer.writerow(("product_id", "image", "category", "split"))
        for row in problem.rows:
            split = problem.split[row.product_id]
            if row.category and row.category[-1] in classes and split != "test":
                writer.writerow((row.product_id, row.image.absolute(), row.category[-1], split))
    if recipe() != "linear":
        epochs = knob("EPOCHS", 0) or None
    train(manifest, model, TrainingOptions(recipe=recipe(), epochs=epochs))
    return load_bundle(model)


def all_photos(problem: TrainingProblem, bundle: Bundle) -> PhotoVectors:
    """Every photo of the data as the bundle's backbone sees it."""
    features = photo_features(problem.rows, TorchRuntime(bundle.network()))
    return PhotoVectors(
        features,
        np.array([problem.split[row.product_id] for row in features.rows]),
        np.array([row.category[-1] if row.category else "" for row in features.rows]),
    )


def paired_interval(
    photos: Sequence[str] | np.ndarray, gains: Sequence[float] | np.ndarray
) -> list[float]:
    """The 95% interval of the mean of paired gains, one entry for each photo asked in each draw.

    Photos are drawn again, all that was asked about one together; which kinds were left out is not.
    """
    drawn = bootstrap(photos, resamples=_RESAMPLES)
    means = drawn.weights @ np.asarray(gains) / np.maximum(drawn.weights.sum(1), 1)
    return [float(bound) for bound in np.percentile(means, (2.5, 97.5))]
