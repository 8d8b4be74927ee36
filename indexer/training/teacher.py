"""Teacher of the heads: probes on frozen features, out of fold, in the place of doubtful labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from indexer.core.progress import OnStage, no_progress
from indexer.feeds.dataset import DatasetRow
from indexer.model import backbones
from indexer.model.network import Network
from indexer.model.torch_runtime import TorchRuntime
from indexer.training.feature_cache import Features, photo_features
from indexer.training.label_errors import judged_count, linked_groups, out_of_fold
from indexer.training.options import TeacherOptions, TrainingOptions
from indexer.training.split import near_duplicate_groups
from indexer.training.targets import Target

# of folds, whose probabilities are averaged
_DRAWS = 3


def teach(
    extracted: Features,
    width: int,
    targets: Sequence[Target],
    train: np.ndarray,
    options: TrainingOptions,
    *,
    progress: OnStage = no_progress,
) -> tuple[list[Target], list[str]]:
    """Give ``targets`` what ``options.teacher`` makes of the labels of the photos ``train`` (bool
    [N]); also notes.

    A ridge probe for the model's own frozen features (the first ``width`` of ``extracted``) and for
    each of the teacher's backbones; each photo's probabilities are of probes that saw neither it,
    its product nor copies of them (``out_of_fold``), averaged. Validation photos teach nothing.
    """
    teacher = options.teacher
    learn = np.flatnonzero(train)
    if not teacher.any or not targets or not len(learn):
        return list(targets), []
    rows = [extracted.rows[place] for place in learn.tolist()]
    features = [extracted.values[learn, :width]]
    notes = []
    for name in teacher.backbones:
        found = _features(name, rows, options, progress)
        if found is None:
            notes.append(f"{name} teaches nothing: it could not read every photo")
        else:
            features.append(found)
    copies = near_duplicate_groups(rows)
    groups = linked_groups([row.product_id for row in rows], copies)
    taught = []
    for target in targets:
        known = np.flatnonzero(target.labels[learn] >= 0)
        if judged_count(len(known), len(target.values)) < len(known):
            notes.append(f"{target.name} has too many photos and values to be taught by a teacher")
            taught.append(target)
            continue
        places = learn[known]
        probability = teacher_probability(
            [one[known] for one in features],
            target.labels[places],
            groups[known],
            len(target.values),
        )
        soft = np.zeros((len(train), len(target.values)), np.float32)
        soft[places] = soften(target.labels[places], probability, teacher)
        taught.append(replace(target, soft=soft))
    return taught, notes


def teacher_probability(
    features: Sequence[np.ndarray], labels: np.ndarray, groups: np.ndarray, classes: int
) -> np.ndarray:
    """Mean over networks' ``features`` ([n, F] each) and draws of folds of the probabilities of
    probes that did not see a photo's group: [n, C]; NaN rows where none could."""
    draws = [
        out_of_fold(one, labels, groups, classes, seed=seed)
        for one in features
        for seed in range(_DRAWS)
    ]
    return np.asarray(np.mean(draws, axis=0))


def soften(labels: np.ndarray, probability: np.ndarray, teacher: TeacherOptions) -> np.ndarray:
    """Mix labels [n] with the teacher's ``probability`` [n, C]: rows that add up to 1.

    ``teacher.doubted`` is the teacher's share where it holds another value for more probable,
    ``teacher.agreed`` where it does not. A NaN row leaves the label alone.
    """
    hard = np.eye(probability.shape[1], dtype=np.float32)[labels]
    known = np.isfinite(probability[:, 0])
    smooth = np.where(known[:, None], probability, hard) ** (1 / teacher.temperature)
    smooth /= smooth.sum(1, keepdims=True)
    doubted = known & (smooth.argmax(1) != labels)
    share = np.where(doubted, teacher.doubted, teacher.agreed)[:, None]
    return np.asarray((1 - share) * hard + share * smooth, np.float32)


def _features(
    name: str, rows: Sequence[DatasetRow], options: TrainingOptions, progress: OnStage
) -> np.ndarray | None:
    """Frozen features [n, F] of the network ``name``; None where it cannot read every photo."""
    spec = Network.frozen_spec(name)
    runtime = TorchRuntime(Network(spec, backbones.build(name)), device=options.device)
    found = photo_features(rows, runtime, cache=options.cache, progress=progress)
    if len(found.rows) < len(rows):
        return None
    return found.values[:, : spec.feature_dim]
