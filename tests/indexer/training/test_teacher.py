"""The teacher: what it makes of labels, and that nothing it says of a photo saw that photo."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from indexer.training.advise import frozen_runtime
from indexer.training.options import TeacherOptions, TrainingOptions
from indexer.training.problem import read_problem
from indexer.training.teacher import soften, teacher_probability
from indexer.training.training_set import TrainingSet, load_training_set

PROBABILITY = np.array([[0.8, 0.2], [0.9, 0.1], [np.nan, np.nan]])


def test_only_a_label_that_is_doubted_is_softened() -> None:
    found = soften(np.array([0, 1, 1]), PROBABILITY, TeacherOptions(doubted=0.5))
    assert found == pytest.approx(np.array([[1, 0], [0.45, 0.55], [0, 1]]))


def test_a_warm_teacher_is_less_sure_and_teaches_everywhere() -> None:
    teacher = TeacherOptions(doubted=1.0, agreed=0.5, temperature=2.0)
    found = soften(np.array([0, 1, 1]), PROBABILITY, teacher)
    root = np.sqrt(PROBABILITY[:2]) / np.sqrt(PROBABILITY[:2]).sum(1, keepdims=True)
    assert found[0] == pytest.approx((root[0] + [1, 0]) / 2)
    assert found[1] == pytest.approx(root[1])
    assert found[2].tolist() == [0, 1]
    assert found.sum(1) == pytest.approx(1.0)


def test_a_photo_and_its_copy_do_not_teach_each_other() -> None:
    """Two copies under the wrong label would confirm one another."""
    rng = np.random.default_rng(0)
    labels = np.append(np.arange(60) % 2, [1, 1])
    axis = np.append(np.arange(60) % 2, [2, 2])
    features = (4 * np.eye(3)[axis] + rng.normal(size=(62, 3))).astype(np.float32)
    features[61] = features[60]
    together = np.append(np.arange(60), [60, 60])
    kept = teacher_probability([features], labels, together, 2)[60:, 1]
    leaked = teacher_probability([features], labels, np.arange(62), 2)[60:, 1]
    assert (kept < leaked - 0.05).all(), (kept, leaked)


def test_a_wrong_label_is_softened_and_validation_teaches_nothing(
    few_shapes: Path, feature_cache: Path, tmp_path: Path
) -> None:
    """A photo of one kind under another: its target leans to what the others say it shows."""
    data = tmp_path / "data"
    shutil.copytree(few_shapes, data)
    kinds = sorted(path.name for path in (data / "train").iterdir())
    moved = min((data / "train" / kinds[0]).iterdir())
    moved.rename(data / "train" / kinds[1] / f"moved{moved.suffix}")

    def load(teacher: TeacherOptions) -> TrainingSet:
        options = TrainingOptions(teacher=teacher, device="cpu", cache=feature_cache)
        problem = read_problem(data, 0)
        return load_training_set(problem, data, frozen_runtime(device="cpu"), options)

    plain = load(TeacherOptions())
    assert all(target.soft is None for target in plain.targets)
    taught = load(TeacherOptions(doubted=0.5))
    soft = taught.targets[0].soft
    assert soft is not None
    wrong = [row.image.stem == "moved" for row in taught.extracted.rows]
    assert soft[wrong][0, 0] > 0.3
    assert soft[wrong][0, 1] < 0.7
    # half of what is learned at least is the label; validation photos teach nothing
    assert soft.sum(1) == pytest.approx(taught.train_mask.astype(float))
    own = soft[np.arange(len(soft)), taught.category]
    assert (own[taught.train_mask] >= 0.5).all()
