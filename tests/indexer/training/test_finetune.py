"""Fine-tuning: what is trained, what stays, and what a restart or a bad learning rate does."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indexer.core.errors import TrainingError
from indexer.core.native import torch
from indexer.core.progress import OnStage, no_progress
from indexer.feeds.dataset import DatasetRow
from indexer.imaging.decode import decode_photo
from indexer.model import backbones
from indexer.model.bundle import Bundle, load_bundle
from indexer.model.preprocessing import photos_to_pixels, shrink_to
from indexer.model.torch_runtime import OutOfMemoryError, TorchRuntime
from indexer.training import finetune, finetune_loss
from indexer.training.augmentation import (
    DecodedPhotos,
    augment,
    decode_squares,
    draw_changes,
    training_square,
)
from indexer.training.distributed import ALONE, TrainingProcesses
from indexer.training.epoch_weights import EpochWeights
from indexer.training.finetune import checkpoint_file
from indexer.training.optimiser import Optimiser
from indexer.training.options import MACRO_F1, UNIFORM, FinetuneOptions, TrainingOptions
from indexer.training.train import train
from tests.indexer.model.timm_folders import random_folder

PREPROCESS = backbones.find("efficientnet_lite0").preprocess


class Killed(Exception):
    """Stands for kill -9: raised in the middle of an epoch."""


def tuned(
    few_shapes: Path, cache: Path, out: Path, progress: OnStage = no_progress, **options: Any
) -> Bundle:
    numbers = {"epochs": 2, "batch_size": 4, "lr": 1e-3, "unfreeze": 3, "seed": 1, **options}
    chosen = TrainingOptions(recipe="finetune", device="cpu", cache=cache, **numbers)
    report = train(few_shapes, out, chosen, progress=progress)
    return load_bundle(report.model)


@pytest.fixture(scope="module")
def unbroken(
    few_shapes: Path, feature_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    out = tmp_path_factory.mktemp("tuned") / "model"
    return tuned(few_shapes, feature_cache, out, keep_checkpoint=True)


def test_only_the_unfrozen_stages_change_and_no_batchnorm_statistics(unbroken: Bundle) -> None:
    before, after = (
        backbones.build("efficientnet_lite0").state_dict(),
        unbroken.network().backbone.state_dict(),
    )
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(("blocks.6.", "conv_head.", "bn2.")) for name in moved), sorted(
        moved
    )[:5]
    assert not any("running" in name for name in moved)
    assert unbroken.training["recipe"] == "finetune"


def test_a_checkpoint_of_another_training_is_named(tmp_path: Path) -> None:
    """As where a release groups a network's layers otherwise, or --unfreeze is another number."""

    def made(groups: int) -> Optimiser:
        module = torch.nn.Linear(2, 1)
        parts = [[module.weight, module.bias]] if groups == 1 else [[module.weight], [module.bias]]
        several = [{"params": part, "lr": 0.1} for part in parts]
        return Optimiser(module, several, lr=0.1, steps=8, average_decay=0.5)

    checkpoint = tmp_path / "checkpoint"
    torch.save({**made(1).state(), "epoch": 1, "history": []}, checkpoint)
    options = TrainingOptions(device="cpu")
    trainer: Any = SimpleNamespace(optimiser=made(2), _options=options, _epochs=None)
    with pytest.raises(TrainingError, match=r"other options, of another release.*without --resume"):
        finetune._Trainer.resume(trainer, checkpoint)
    trainer.optimiser = made(1)
    assert finetune._Trainer.resume(trainer, checkpoint) == (1, [])
    trainer._options = TrainingOptions(device="cpu", measure=MACRO_F1)
    with pytest.raises(TrainingError, match="other options"):
        finetune._Trainer.resume(trainer, checkpoint)
    trainer._epochs = EpochWeights()
    with pytest.raises(TrainingError, match="other options"):
        finetune._Trainer.resume(trainer, checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(TrainingError, match="damaged"):
        finetune._Trainer.resume(trainer, checkpoint)


@pytest.mark.long
def test_a_killed_run_resumes_to_the_result_of_an_unbroken_one(
    unbroken: Bundle, few_shapes: Path, feature_cache: Path, tmp_path: Path
) -> None:
    photos = unbroken.training["photos"]["train"]

    def kill_in_the_second_epoch(stage: str, done: int, total: int) -> None:
        if stage == "fine-tuning" and done > photos + 4:
            raise Killed

    with pytest.raises(Killed):
        tuned(few_shapes, feature_cache, tmp_path / "m", progress=kill_in_the_second_epoch)
    assert not (tmp_path / "m").exists()
    resumed = tuned(few_shapes, feature_cache, tmp_path / "m", resume=True)
    assert resumed.model_version == unbroken.model_version
    assert not list(tmp_path.glob(".m.checkpoint"))


def test_a_kept_checkpoint_gives_another_choice_of_its_epochs_without_training(
    unbroken: Bundle, few_shapes: Path, feature_cache: Path, tmp_path: Path
) -> None:
    """The mean of both epochs after the best one, of a single training."""

    def never(stage: str, done: int, total: int) -> None:
        assert stage != "fine-tuning"

    shutil.copyfile(checkpoint_file(unbroken.path), checkpoint_file(tmp_path / "m"))
    states = torch.load(checkpoint_file(tmp_path / "m"), weights_only=True)["epochs"]
    assert sorted(states) == [0, 1]
    parts = FinetuneOptions(kept=UNIFORM)
    mean = tuned(few_shapes, feature_cache, tmp_path / "m", never, resume=True, finetuning=parts)
    name = "backbone.conv_head.weight"
    expected = (states[0][name] + states[1][name]) / 2
    assert torch.allclose(mean.network().backbone.conv_head.weight, expected)
    assert not list(tmp_path.glob(".*.checkpoint"))


def test_a_loss_that_is_not_finite_stops_and_writes_nothing(
    few_shapes: Path, feature_cache: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"the loss is .* in epoch"):
        tuned(few_shapes, feature_cache, tmp_path / "m", lr=1e30)
    assert not (tmp_path / "m").exists()


def test_a_finetuned_model_sees_the_whole_square_in_validation_and_in_service(
    unbroken: Bundle, few_shapes: Path, tmp_path: Path
) -> None:
    """Nothing of the middle square is cut off, and what validation judges is pixel for pixel what
    the service sees."""
    preprocess = unbroken.spec.preprocess
    assert (preprocess.resize, preprocess.crop) == (224, 224)
    assert training_square(preprocess).crop == training_square(preprocess).resize == 256
    files = sorted(few_shapes.rglob("*.png"))[:3]
    rows = [DatasetRow(file.name, file.stem, file, None, None, (), None, {}) for file in files]
    shown = decode_squares(rows, preprocess, tmp_path / "shown.npy")
    photos = [decode_photo(file.read_bytes(), shrink_to=shrink_to(preprocess)) for file in files]
    assert np.array_equal(shown.pixels, photos_to_pixels(photos, preprocess))


def as_they_are(squares: np.ndarray) -> DecodedPhotos:
    return DecodedPhotos(squares, np.ones(len(squares), np.float32))


def changed(squares: np.ndarray, seed: int, **options: float) -> torch.Tensor:
    changes = draw_changes(len(squares), torch.Generator().manual_seed(seed), **options)
    return augment(as_they_are(squares), changes, 160, PREPROCESS, "cpu")


def test_augmentation_is_repeatable_and_keeps_the_hue() -> None:
    """Colour is a label: red stays red, whatever light and place do."""
    squares = np.full((6, 256, 256, 3), (180, 30, 30), np.uint8)
    first, again = (changed(squares, 3, backgrounds=0.0) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (6, 3, 160, 160)
    red, green, blue = (first * 128 + 127).unbind(1)
    assert float((red - torch.maximum(green, blue)).min()) > 60
    assert float((green - blue).abs().max()) < 30


def test_only_a_plain_background_is_replaced() -> None:
    """The product's own pixels stay, and a busy photo keeps what is behind it."""
    studio = np.full((8, 256, 256, 3), 255, np.uint8)
    studio[:, 96:160, 96:160] = (20, 20, 160)
    busy = np.random.default_rng(0).integers(0, 256, (8, 256, 256, 3)).astype(np.uint8)
    for squares, touched in ((studio, True), (busy, False)):
        kept, replaced = (changed(squares, 5, backgrounds=share) for share in (0.0, 1.0))
        assert torch.equal(kept, replaced) is not touched
    kept, replaced = (changed(studio, 5, backgrounds=share) * 128 + 127 for share in (0.0, 1.0))
    middle = (slice(None), slice(None), slice(78, 82), slice(78, 82))
    dark = kept[middle].amax(dim=(1, 2, 3)) < 200  # the crop has the product in the middle
    assert dark.any()
    assert float((kept[middle] - replaced[middle])[dark].abs().mean()) < 12


def test_a_batch_changes_alike_however_it_is_shared_out() -> None:
    """Two processes with half a batch each see what one process with all of it sees."""
    squares = np.random.default_rng(1).integers(0, 256, (6, 256, 256, 3)).astype(np.uint8)
    changes = draw_changes(6, torch.Generator().manual_seed(2))
    whole = augment(as_they_are(squares), changes, 96, PREPROCESS, "cpu")
    parts = [
        augment(as_they_are(squares[part]), changes.of(part), 96, PREPROCESS, "cpu")
        for part in (slice(0, 3), slice(3, 6))
    ]
    torch.testing.assert_close(torch.cat(parts), whole)


def test_emulated_bfloat16_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """T4 and V100 say that they support it, by emulation that is slower than float32."""
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    with finetune_loss.lower_precision("cuda"):
        assert not torch.is_autocast_enabled("cuda")


def test_a_gpu_out_of_memory_halves_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins anew from the weights before, without the checkpoint of the larger batch; where
    nothing is left to halve, or others wait, the option is named."""
    network = torch.nn.Linear(2, 1)
    start = {name: value.clone() for name, value in network.state_dict().items()}
    checkpoint = tmp_path / "checkpoint"
    tried: list[int] = []

    def train_once(given: Any, *rest: Any, **_: Any) -> str:
        assert all(torch.equal(start[name], value) for name, value in given.state_dict().items())
        assert not checkpoint.exists()
        tried.append(rest[3].schedule.batch_size)
        checkpoint.touch()
        torch.nn.init.zeros_(given.weight)
        if len(tried) < 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return "fitted"

    monkeypatch.setattr(finetune, "finetune", train_once)
    options = TrainingOptions(recipe="finetune", device="cuda", batch_size=32)
    rest: Any = (None, (), None, options)
    made = finetune.finetune_within_memory(network, *rest, checkpoint=checkpoint)  # type: ignore[arg-type]
    assert (made, tried) == ("fitted", [32, 16, 8])
    for size, team in ((7, ALONE), (32, TrainingProcesses(0, 2))):
        small = TrainingOptions(recipe="finetune", device="cuda", batch_size=size)
        with pytest.raises(OutOfMemoryError, match="--batch-size"):
            finetune.halve_batch(small, team)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU: not proven here")
@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_efficientnet"])
def test_a_gpu_fine_tunes_any_network(name: str, few_shapes: Path, tmp_path: Path) -> None:
    """Of each kind: trained there, the bundle gives on a processor what it gives there."""
    folder = random_folder(tmp_path / "weights", name)
    options = TrainingOptions(
        backbone=f"timm:{name}",
        weights=folder,
        recipe="finetune",
        epochs=2,
        batch_size=4,
        device="cuda",
        cache=tmp_path / "cache",
    )
    bundle = load_bundle(train(few_shapes, tmp_path / "model", options).model)
    photos = [decode_photo(file.read_bytes()) for file in sorted(few_shapes.rglob("*.png"))[:6]]
    there, here = (
        TorchRuntime(bundle.network(), device=device).embed(photos) for device in ("cuda", "cpu")
    )
    assert (there * here).sum(1).min() > 0.9999
