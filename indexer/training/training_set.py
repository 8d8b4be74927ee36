"""Training set: features, targets, validation mask, data warnings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from pathlib import Path

import numpy as np

from indexer.core.errors import BadDataError
from indexer.core.progress import OnStage, no_progress
from indexer.feeds.dataset import DatasetRow
from indexer.model.decision_layer import Category
from indexer.model.runtime_base import Runtime
from indexer.training.block_weights import RecaptureQueries, instance_rate
from indexer.training.colour_column import mark_colour
from indexer.training.distributed import ALONE, TrainingProcesses
from indexer.training.feature_cache import (
    Features,
    Recaptures,
    photo_features,
    recapture_features,
)
from indexer.training.label_errors import NO_LABELS, LabelCheck, check_labels, issue_notes
from indexer.training.label_targets import LabelTarget, label_targets
from indexer.training.linear import Examples, FittedModel, Pairs
from indexer.training.options import TrainingOptions
from indexer.training.problem import (
    TrainingProblem,
    categories_of,
    find_leaks,
    label_notes,
    require_lesson,
    require_rows,
)
from indexer.training.tag_samples import TaggedPhotos
from indexer.training.targets import CATEGORY, Target, attribute_targets, category_target
from indexer.training.teacher import teach

# training photos whose recaptures say what block g should not see
PAIRS = 400
# validation photos that are looked for by a recapture, to choose block weights
VALIDATION_RECAPTURES = 200


@dataclass(frozen=True)
class TrainingSet:
    """The photos of the splits train and validation; arrays are of their number N."""

    extracted: Features
    recaptures: Recaptures  # of some train and some validation photos
    split: np.ndarray  # str [N]
    categories: tuple[Category, ...]
    targets: list[Target]  # the category first, where there is one
    train_mask: np.ndarray  # bool [N], photos that teach
    validation_mask: np.ndarray  # bool [N], photos that judge; no copies of training photos
    leaked: np.ndarray  # bool [N], validation photos that copy training photos
    frozen: float  # share of the validation recaptures that find their photo by frozen features
    notes: list[str]
    checked: LabelCheck
    labels: list[LabelTarget]  # heads of which several labels may be true

    @cached_property
    def features(self) -> np.ndarray:
        """float32 [N, F + K]."""
        return self.extracted.values.astype(np.float32)

    @property
    def category(self) -> np.ndarray:
        """int64 [N], -1 for none."""
        nothing = np.full(len(self.split), -1)
        return next((t.labels for t in self.targets if t.name == CATEGORY), nothing)

    @property
    def counts(self) -> dict[str, int]:
        """Photos by split."""
        return {name: int((self.split == name).sum()) for name in ("train", "validation")}

    @property
    def pairs(self) -> Pairs:
        """Training photos with their recaptures."""
        found = self.recaptures.of(self.split == "train")
        return Pairs(self.features[found.places], found.values, found.places)

    @property
    def examples(self) -> Examples:
        """What the recipes learn from."""
        return Examples(
            self.features,
            self.targets,
            self.train_mask,
            self.validation_mask,
            self.pairs,
            self.labels,
        )

    def recapture_queries(self, fitted: FittedModel) -> RecaptureQueries | None:
        """Embed recaptures of validation photos in the blocks of ``fitted``; None without any."""
        found = self.recaptures.of(self.validation_mask)
        if not len(found.places):
            return None
        return RecaptureQueries(found.places, fitted.blocks(found.values), self.frozen)

    def embed_split(self, split: str, embed: Callable[[np.ndarray], np.ndarray]) -> TaggedPhotos:
        """Embed the photos of one split as search has them, by ``embed`` [n, F + K] -> [n, D]."""
        chosen = np.flatnonzero(self.split == split)
        rows = [self.extracted.rows[number] for number in chosen]
        vectors = embed(self.features[chosen])
        return TaggedPhotos(rows, vectors, self.extracted.pixels[chosen], self.leaked[chosen])

    def with_backbone(
        self,
        runtime: Runtime,
        options: TrainingOptions,
        *,
        progress: OnStage = no_progress,
        team: TrainingProcesses = ALONE,
    ) -> TrainingSet:
        """Extract the features of another backbone for the same photos.

        Raises ``BadDataError`` where one can no longer be read.
        """
        rows = self.extracted.rows
        with team.first():
            extracted = photo_features(rows, runtime, cache=options.cache, progress=progress)
            if len(extracted.rows) != len(self.split):
                raise BadDataError(
                    f"photos became unreadable while training: {extracted.skipped[0].reason}"
                )
            groups = [(self.split == "train", PAIRS), (self.validation_mask, VALIDATION_RECAPTURES)]
            recaptures = _recaptures(extracted, groups, runtime, options, progress)
        return replace(self, extracted=extracted, recaptures=recaptures)


def load_training_set(
    problem: TrainingProblem,
    data: Path,
    runtime: Runtime,
    options: TrainingOptions,
    *,
    progress: OnStage = no_progress,
    team: TrainingProcesses = ALONE,
) -> TrainingSet:
    """Load everything that ``problem`` (read from ``data``) gives a training.

    Raises ``BadDataError``, ``TrainingError``.
    """
    categories = categories_of(problem.of("train"))
    notes = [*problem.notes, *label_notes(problem, categories)]
    rows = problem.of("train") + problem.of("validation")
    # the others of the team find its features in the cache
    with team.first():
        extracted = photo_features(rows, runtime, cache=options.cache, progress=progress)
    notes += extracted.notes
    split = np.array([problem.split[row.product_id] for row in extracted.rows])
    category = category_target(extracted.rows, categories)
    leaks = find_leaks(split, extracted.pixels, category.labels)
    train = split == "train"
    validation = (split == "validation") & ~leaks.leaked
    with team.first():
        groups = [(train, PAIRS), (validation, VALIDATION_RECAPTURES)]
        recaptures = _recaptures(extracted, groups, runtime, options, progress)
    masks = train, validation
    width = runtime.spec.feature_dim
    checked = _check_labels(extracted, category, categories, width)
    features = extracted.values.astype(np.float32)
    attributes, dropped, colours = _attributes(
        problem, extracted.rows, features, masks, width, options
    )
    targets = [*([category] if categories else []), *attributes]
    labels, untold = label_targets(extracted.rows, features, masks, problem.dataset.types, targets)
    notes += [*leaks.notes, *issue_notes(checked), *dropped, *colours, *untold]
    require_lesson(categories, [*attributes, *labels], [*dropped, *untold])
    train, validation = _labelled(targets, labels, masks)
    require_rows(list(compress(extracted.rows, train)), "labelled train", data)
    with team.first():
        targets, unable = teach(extracted, width, targets, train, options, progress=progress)
    notes += [*unable, *_unjudged(targets, labels, validation)]
    return TrainingSet(
        extracted,
        recaptures,
        split,
        categories,
        targets,
        train,
        validation,
        leaks.leaked,
        _frozen_rate(recaptures.of(validation), features, extracted.pixels, width),
        notes,
        checked,
        labels,
    )


def _labelled(
    targets: Sequence[Target],
    labels: Sequence[LabelTarget],
    masks: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Photos that have a label, of those that teach and that judge; without targets all."""
    train, validation = masks
    known = _known(targets, labels)
    if not known:
        return train, validation
    labelled = np.logical_or.reduce(known)
    return train & labelled, validation & labelled


def _unjudged(
    targets: Sequence[Target], labels: Sequence[LabelTarget], validation: np.ndarray
) -> list[str]:
    known = _known(targets, labels)
    if not known or (validation & known[0]).any():
        return []
    return ["no validation photos: the last epoch is kept, probabilities are not calibrated"]


def _known(targets: Sequence[Target], labels: Sequence[LabelTarget]) -> list[np.ndarray]:
    """Which photos each head is taught by, bool [N] each."""
    return [*(one.labels >= 0 for one in targets), *(one.known for one in labels)]


def _attributes(
    problem: TrainingProblem,
    rows: Sequence[DatasetRow],
    features: np.ndarray,
    masks: tuple[np.ndarray, np.ndarray],
    width: int,
    options: TrainingOptions,
) -> tuple[list[Target], list[str], list[str]]:
    """Targets of attributes, one of them perhaps the colour; why others have no head, and what
    there is to say about colours."""
    types = problem.dataset.types
    targets, dropped = attribute_targets(rows, features, *masks, types)
    train, validation = masks
    targets, colours = mark_colour(
        targets,
        rows,
        features,
        width,
        train | validation,
        types,
        named=options.colour_attribute,
    )
    return targets, dropped, colours


def _check_labels(
    extracted: Features, category: Target, categories: Sequence[Category], width: int
) -> LabelCheck:
    """Find likely label errors among photos that have a category."""
    if len(categories) < 2:
        return NO_LABELS
    named = np.flatnonzero(category.labels >= 0)
    return check_labels(
        [extracted.rows[number] for number in named],
        extracted.values[named, :width],
        category.labels[named],
        extracted.pixels[named],
        categories,
    )


def _frozen_rate(
    recaptures: Recaptures, features: np.ndarray, pixels: np.ndarray, width: int
) -> float:
    """Measure the share of recaptures that find their photo by the frozen features."""
    if not len(recaptures.places):
        return 0.0
    return instance_rate(
        recaptures.values[:, :width], features[:, :width], recaptures.places, pixels
    )


def _recaptures(
    extracted: Features,
    groups: Sequence[tuple[np.ndarray, int]],
    runtime: Runtime,
    options: TrainingOptions,
    progress: OnStage,
) -> Recaptures:
    return recapture_features(
        extracted, runtime, groups, seed=options.seed, cache=options.cache, progress=progress
    )
