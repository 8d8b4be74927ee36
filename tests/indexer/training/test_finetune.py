"""Fine-tuning: what is trained, what stays, and what a restart or a bad learning rate does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.errors import TrainingFailed
from indexer.model import backbones
from indexer.model.bundle import Bundle, load_bundle
from indexer.native import torch
from indexer.training import finetune
from indexer.training.pixels import augment
from indexer.training.run import train

PREPROCESS = backbones.find("efficientnet_lite0").preprocess


class Killed(Exception):
    """Stands for kill -9: raised in the middle of an epoch."""


def tuned(shapes: Path, cache: Path, out: Path, **options: object) -> Bundle:
    chosen = {"epochs": 2, "batch_size": 8, "lr": 1e-3, "unfreeze": 3, "seed": 1, **options}
    report = train(shapes, out, recipe="finetune", device="cpu", cache=cache, **chosen)  # type: ignore[arg-type]
    return load_bundle(report.model)


@pytest.fixture(scope="module")
def unbroken(shapes: Path, feature_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tuned(shapes, feature_cache, tmp_path_factory.mktemp("tuned") / "model")


def test_only_the_unfrozen_stages_change_and_no_batchnorm_statistics(unbroken: Bundle) -> None:
    before, after = backbones.build("efficientnet_lite0").state_dict(), unbroken.network().backbone.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(("blocks.6.", "conv_head.", "bn2.")) for name in moved), sorted(moved)[:5]
    assert not any("running" in name for name in moved)
    assert unbroken.training["recipe"] == "finetune"


def test_a_killed_run_resumes_to_the_result_of_an_unbroken_one(
    unbroken: Bundle, shapes: Path, feature_cache: Path, tmp_path: Path
) -> None:
    photos = unbroken.training["photos"]["train"]

    def kill_in_the_second_epoch(stage: str, done: int, total: int) -> None:
        if stage == "fine-tuning" and done > photos + 8:
            raise Killed

    with pytest.raises(Killed):
        tuned(shapes, feature_cache, tmp_path / "m", progress=kill_in_the_second_epoch)
    assert not (tmp_path / "m").exists()
    resumed = tuned(shapes, feature_cache, tmp_path / "m", resume=True)
    assert resumed.model_version == unbroken.model_version
    assert not list(tmp_path.glob(".m.checkpoint"))


def test_a_loss_that_is_not_finite_stops_and_writes_nothing(shapes: Path, feature_cache: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"the loss is .* in epoch"):
        tuned(shapes, feature_cache, tmp_path / "m", lr=1e30)
    assert not (tmp_path / "m").exists()


def test_learning_rates_fall_from_stage_to_stage(unbroken: Bundle) -> None:
    groups = finetune._groups(unbroken.network(), 1.0, 3)
    assert [round(group["lr"], 6) for group in groups] == [1.0, 0.85, 0.7225, 0.614125]
    everything = finetune._groups(unbroken.network(), 1.0, 10**6)
    assert len(everything) == len(finetune._stages(unbroken.network().backbone)) + 1


def test_photos_grow_to_full_size() -> None:
    assert [finetune._size(224, epoch, 9) for epoch in (0, 2, 3, 5, 6, 8)] == [160, 160, 192, 192, 224, 224]
    assert finetune._size(224, 0, 1) == 160


def test_augmentation_is_repeatable_and_keeps_the_hue() -> None:
    """Colour is a label: red stays red, whatever light and place do."""
    squares = np.full((6, 256, 256, 3), (180, 30, 30), np.uint8)
    first, again = (augment(squares, 160, PREPROCESS, torch.Generator().manual_seed(3), "cpu") for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (6, 3, 160, 160)
    red, green, blue = (first * 128 + 127).unbind(1)
    assert float((red - green).min()) > 60
    torch.testing.assert_close(green, blue)
