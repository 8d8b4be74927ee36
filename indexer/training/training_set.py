"""What a training works with: photos as features, what they teach, which of them judge, and what
was odd about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from indexer.core.errors import BadDataError
from indexer.model.decision_layer import Category
from indexer.model.runtime_base import Runtime
from indexer.training.block_weights import ReshotQueries, instance_rate
from indexer.training.distributed import Team
from indexer.training.feature_cache import (
    Features,
    OnCached,
    Reshots,
    photo_features,
    reshot_features,
)
from indexer.training.label_errors import LabelIssue, issue_notes, judged, label_issues
from indexer.training.linear import FittedModel, Pairs
from indexer.training.problem import (
    TrainingProblem,
    categories_of,
    find_leaks,
    label_notes,
    require_rows,
)
from indexer.training.tag_samples import TaggedPhotos
from indexer.training.targets import CATEGORY, Target, attribute_targets, category_target

PAIRS = 400  # training photos whose re-shots say what block g should not see
HELD_RESHOTS = 200  # validation photos that are looked for by a re-shot, to choose block weights


@dataclass(frozen=True)
class TrainingSet:
    """The photos of the splits train and validation; arrays are of their number N."""

    features: Features
    reshots: Reshots  # of some train and some validation photos
    split: np.ndarray  # str [N]
    categories: tuple[Category, ...]
    targets: list[Target]  # the category first, where there is one
    train: np.ndarray  # bool [N], photos that teach
    held: np.ndarray  # bool [N], photos that judge; no copies of training photos
    frozen: float  # share of the held re-shots that find their photo by the frozen features
    notes: list[str]
    issues: list[LabelIssue]

    @cached_property
    def described(self) -> np.ndarray:
        """float32 [N, F + K]."""
        return self.features.values.astype(np.float32)

    @property
    def category(self) -> np.ndarray:
        """int64 [N], -1 for none."""
        return next(
            (t.columns for t in self.targets if t.name == CATEGORY), np.full(len(self.split), -1)
        )

    @property
    def pairs(self) -> Pairs:
        """Training photos with their re-shots."""
        shots = self.reshots.of(self.split == "train")
        return Pairs(self.described[shots.places], shots.values)

    def again(self, fitted: FittedModel) -> ReshotQueries | None:
        """Re-shots of validation photos in the blocks of ``fitted``; None where there are none."""
        shots = self.reshots.of(self.held)
        return (
            ReshotQueries(shots.places, fitted.blocks(shots.values), self.frozen)
            if len(shots.places)
            else None
        )

    def photos(self, split: str, embed: Callable[[np.ndarray], np.ndarray]) -> TaggedPhotos:
        """The photos of one split as search has them, by ``embed`` [n, F + K] -> [n, D]."""
        chosen = np.flatnonzero(self.split == split)
        rows = [self.features.rows[number] for number in chosen]
        return TaggedPhotos(rows, embed(self.described[chosen]), self.features.pixels[chosen])

    def seen_by(
        self,
        runtime: Runtime,
        *,
        seed: int,
        cache: Path | None,
        progress: OnCached | None,
        team: Team,
    ) -> TrainingSet:
        """The same photos with the features of another backbone. Raises ``BadDataError`` where one
        can no longer be read."""
        with team.first():
            features = photo_features(self.features.rows, runtime, cache=cache, progress=progress)
            if len(features.rows) != len(self.split):
                raise BadDataError(
                    f"photos became unreadable while training: {features.skipped[0].reason}"
                )
            reshots = _reshots(
                features, self.split == "train", self.held, runtime, seed, cache, progress
            )
        return replace(self, features=features, reshots=reshots)


def load_training_set(
    problem: TrainingProblem,
    data: Path,
    runtime: Runtime,
    *,
    seed: int,
    cache: Path | None,
    progress: OnCached | None,
    team: Team,
) -> TrainingSet:
    """Everything that ``problem`` (read from ``data``) gives a training. Raises ``BadDataError``,
    ``TrainingError``."""
    categories = categories_of(problem.of("train"))
    notes = [*problem.notes, *label_notes(problem, categories)]
    wanted = problem.of("train") + problem.of("validation")
    with team.first():  # the others find its features in the cache
        features = photo_features(wanted, runtime, cache=cache, progress=progress)
    split = np.array([problem.split[row.product_id] for row in features.rows])
    category = category_target(features.rows, categories)
    leaks = find_leaks(split, features.pixels, category.columns)
    train, held = split == "train", (split == "validation") & ~leaks.leaked
    with team.first():
        reshots = _reshots(features, train, held, runtime, seed, cache, progress)
    width = runtime.spec.feature_dim
    described = features.values.astype(np.float32)
    named = np.flatnonzero(category.columns >= 0)
    issues = []
    if categories:
        issues = label_issues(
            [features.rows[number] for number in named],
            features.values[named, :width],
            category.columns[named],
            features.pixels[named],
            categories,
        )
    attributes, dropped = attribute_targets(
        features.rows, described, train, held, problem.dataset.types
    )
    notes += [*leaks.notes, *issue_notes(issues, judged(len(named), len(categories))), *dropped]
    targets = [*([category] if categories else []), *attributes]
    if targets:
        labelled = np.logical_or.reduce([target.columns >= 0 for target in targets])
        train, held = train & labelled, held & labelled
    require_rows(
        [row for row, use in zip(features.rows, train, strict=True) if use], "labelled train", data
    )
    if targets and not (held & (targets[0].columns >= 0)).any():
        notes.append(
            "no validation photos: the last epoch is kept, probabilities are not calibrated"
        )
    shots = reshots.of(held)
    frozen = 0.0
    if len(shots.places):
        frozen = instance_rate(
            shots.values[:, :width], described[:, :width], shots.places, features.pixels
        )
    return TrainingSet(
        features, reshots, split, categories, targets, train, held, frozen, notes, issues
    )


def _reshots(
    features: Features,
    train: np.ndarray,
    held: np.ndarray,
    runtime: Runtime,
    seed: int,
    cache: Path | None,
    progress: OnCached | None,
) -> Reshots:
    drawn = [(train, PAIRS), (held, HELD_RESHOTS)]
    return reshot_features(features, runtime, drawn, seed=seed, cache=cache, progress=progress)
