"""Recipe ``finetune``: backbone, neck and heads trained on augmented photos."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import structlog

from indexer.core.atomic_files import make_folder, written_aside
from indexer.core.errors import TrainingError
from indexer.core.native import torch
from indexer.core.progress import OnStage, no_progress
from indexer.feeds.dataset import DatasetRow
from indexer.model.backbones import find
from indexer.model.network import Network
from indexer.model.preprocessing import to_batch
from indexer.model.torch_runtime import OutOfMemoryError
from indexer.training.augmentation import (
    DecodedPhotos,
    augment,
    decode_squares,
    draw_changes,
    squashed_photo,
    training_square,
)
from indexer.training.batches import epoch_order, photo_kinds
from indexer.training.cpu_kernels import kept_memory
from indexer.training.distributed import ALONE, TrainingProcesses
from indexer.training.epoch_weights import EpochWeights, average_network, choose_epochs
from indexer.training.finetune_loss import FrozenBank, Objective
from indexer.training.linear import (
    Examples,
    FittedModel,
    category_temperature,
    rank_of,
)
from indexer.training.optimiser import Optimiser, Rank
from indexer.training.options import ACCURACY, BEST, TrainingOptions
from indexer.training.parameter_groups import (
    parameter_groups,
    set_training,
    training_size,
    unfreeze_groups,
)

log = structlog.get_logger(__name__)

AVERAGE_DECAY = 0.99
# photos of a batch, below which nothing is halved
LEAST_BATCH = 4
# judged epochs without a better validation before it stops
PATIENCE = 4
_CLIP = 5.0
_WARM_UP = 0.15


def finetune(
    network: Network,
    fitted: FittedModel,
    rows: Sequence[DatasetRow],
    examples: Examples,
    options: TrainingOptions,
    *,
    checkpoint: Path | None = None,
    progress: OnStage = no_progress,
    team: TrainingProcesses = ALONE,
) -> FittedModel:
    """Train ``network`` (its neck and heads are ``fitted``) in place on the photos of ``rows``; the
    best epoch stays.

    ``examples`` hold the frozen network's features of the same photos, which block ``g`` learns to
    find again (``_Bank``). BatchNorm statistics stay as they were. Photos are smaller than served
    ones while training (a part of a photo shows things larger), and validation sees them as they
    are served. With ``checkpoint`` a killed run goes on after its last epoch with the result of an
    unbroken one. A ``team`` of processes shares each batch; the result is that of one process but
    for rounding, dropout and what is mixed. On a GPU the backbone is compiled (not run on one yet).
    Raises ``TrainingError`` for a loss that is not finite.
    """
    torch.manual_seed(options.seed)
    network = _prepared(network, options)
    preprocess = network.spec.preprocess
    epochs = options.schedule.epochs
    validation = np.flatnonzero(examples.validation_mask)
    trainer = _Trainer(network, fitted, rows, examples, options, team)
    first, history = trainer.resume(checkpoint)
    with tempfile.TemporaryDirectory() as folder, kept_memory():
        progress("photos", 0, len(trainer.pool) + len(validation))
        judged = [rows[place] for place in validation.tolist()]
        # of a finished training only the choice among its epochs is left
        taught = [rows[place] for place in trainer.pool.tolist()] if first < epochs else []
        shown = decode_squares(judged, preprocess, Path(folder) / "shown.npy").pixels
        judges = _Judges(shown, examples, options)
        framing = squashed_photo if options.framed else training_square
        squares = decode_squares(taught, framing(preprocess), Path(folder) / "squares.npy")
        for epoch in range(first, epochs):
            if team.broadcast(trainer.is_stuck(epoch)):
                break
            entry = trainer.train_epoch(epoch, squares, progress)
            # before, the learning rate is too high for an epoch to be the best
            if 2 * (epoch + 1) >= epochs:
                entry |= judges.figures(trainer.optimiser.average)
                trainer.keep(epoch, rank_of(entry, options.measure))
            history.append(entry)
            if checkpoint is not None and team.rank == 0:
                trainer.save(checkpoint, epoch, history)
        best = trainer.settle(history, judges)
        logits = judges.logits(network)
    network.eval().to("cpu")
    return replace(
        fitted,
        neck=network.neck,
        heads=network.heads,
        temperature=category_temperature(logits, examples.targets, examples.validation_mask),
        best_epoch=best + 1,
        history=history,
    )


def finetune_within_memory(
    network: Network,
    fitted: FittedModel,
    rows: Sequence[DatasetRow],
    examples: Examples,
    options: TrainingOptions,
    *,
    checkpoint: Path | None = None,
    progress: OnStage = no_progress,
    team: TrainingProcesses = ALONE,
) -> FittedModel:
    """As ``finetune``; where a GPU runs out of memory it begins anew with half of the batch.

    Raises ``OutOfMemoryError`` as ``halve_batch``, and what ``finetune`` raises.
    """
    before: dict[str, Any] = {}
    if options.device == "cuda":
        state = network.state_dict()
        before = {name: value.to("cpu", copy=True) for name, value in state.items()}
    while True:
        try:
            return finetune(
                network,
                fitted,
                rows,
                examples,
                options,
                checkpoint=checkpoint,
                progress=progress,
                team=team,
            )
        except torch.cuda.OutOfMemoryError:
            options = halve_batch(options, team)
        # Not in the handler: the error holds the tensors of its frames.
        torch.cuda.empty_cache()
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)
        network.load_state_dict(before)


def checkpoint_file(out: Path) -> Path:
    """Return where a training to the model folder ``out`` keeps its checkpoint."""
    return out.absolute().with_name(f".{out.name}.checkpoint")


def halve_batch(options: TrainingOptions, team: TrainingProcesses = ALONE) -> TrainingOptions:
    """The options for another try after the device ran out of memory: half of the batch.

    Raises ``OutOfMemoryError`` where nothing is left to halve, and in a team, whose other processes
    wait for this one's gradients.
    """
    size = options.schedule.batch_size
    if size < 2 * LEAST_BATCH or team.size > 1:
        raise OutOfMemoryError(
            f"{options.device} has no memory for a batch of {size} photos: try a smaller "
            "--batch-size, or fewer stages (--unfreeze)"
        )
    log.warning("out of memory: fine-tuning begins anew", batch_size=size // 2, before=size)
    return replace(options, batch_size=size // 2)


def _prepared(network: Network, options: TrainingOptions) -> Network:
    """Move the network to its device, compiled where that is possible."""
    network = network.to(options.device)
    network.to(memory_format=torch.channels_last)
    if options.device == "cuda" and find_spec("triton"):
        # in place: names of tensors stay, each size of photos is compiled once
        network.backbone.compile()
    network.neck.set_dropout(options.finetuning.dropout)
    return network


class _Judges:
    """Validation photos as they are served, uint8 [M, S, S, 3], and what they show."""

    def __init__(self, shown: np.ndarray, examples: Examples, options: TrainingOptions) -> None:
        self._shown = shown
        self._examples = examples
        self._options = options

    def logits(self, network: Any) -> dict[str, np.ndarray]:
        """Compute the heads' logits [M, C]."""
        return _validate(network, self._shown, self._options.device)

    def figures(self, network: Any) -> dict[str, Any]:
        """Compute what a history says of an epoch."""
        return self._examples.judge(self.logits(network))

    def rank(self, network: Any) -> Rank | None:
        """Rank a network as epochs are ranked."""
        return rank_of(self.figures(network), self._options.measure)


class _Trainer:
    """One process's part of the fine-tuning: epochs over the training photos."""

    def __init__(
        self,
        network: Network,
        fitted: FittedModel,
        rows: Sequence[DatasetRow],
        examples: Examples,
        options: TrainingOptions,
        team: TrainingProcesses,
    ) -> None:
        schedule = options.schedule
        self.pool = np.flatnonzero(examples.train_mask)
        self._network = network
        self._options = options
        self._team = team
        self._mixes = bool(examples.targets or examples.labels)
        self._backbone = find(network.spec.backbone)
        self._groups = parameter_groups(network, schedule.lr, options.unfreeze)
        self.optimiser = Optimiser(
            network,
            self._groups,
            lr=schedule.lr,
            steps=schedule.epochs * (-(-len(self.pool) // schedule.batch_size)),
            average_decay=AVERAGE_DECAY,
            warm_up=_WARM_UP,
            clip=_CLIP,
        )
        bank = FrozenBank(fitted, examples.features, rows, self.pool, options.seed, options.device)
        self._objective = Objective(
            network,
            examples.targets,
            bank,
            options.finetuning,
            self.pool,
            team.size,
            examples.labels,
        )
        self._kinds = photo_kinds(rows, examples.targets, self.pool)
        # of every judged epoch, where more than the best one is asked for
        self._epochs: EpochWeights | None = None
        if options.keep_checkpoint or options.finetuning.kept != BEST:
            self._epochs = EpochWeights()
        # the objective as the team shares it, and which stages it trains
        self._shared: Any = None
        self._half: bool | None = None

    def resume(self, checkpoint: Path | None) -> tuple[int, list[dict[str, Any]]]:
        """Restore the next epoch and the history before it from ``checkpoint``, where it exists.

        Raises ``TrainingError`` for one that this training cannot go on from.
        """
        if checkpoint is None or not checkpoint.is_file():
            return 0, []
        try:
            state = torch.load(checkpoint, map_location=self._options.device, weights_only=True)
            self.optimiser.load_state(state)
            if self._epochs is not None:
                self._epochs.load_state(state["epochs"])
            elif (measure := state.get("measure", ACCURACY)) != self._options.measure:
                raise ValueError(f"its best epoch is the best by {measure}")
            return state["epoch"], state["history"]
        except torch.cuda.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, LookupError, EOFError, UnpicklingError) as error:
            raise TrainingError(
                f"{checkpoint} is of a training with other options, of another release, or "
                "damaged: train without --resume to begin anew"
            ) from error

    def save(self, checkpoint: Path, epoch: int, history: list[dict[str, Any]]) -> None:
        """Write what ``resume`` reads, after ``epoch``."""
        state = {
            **self.optimiser.state(),
            "epoch": epoch + 1,
            "history": history,
            "measure": self._options.measure,
        }
        if self._epochs is not None:
            state["epochs"] = self._epochs.state()
        _save(checkpoint, state)

    def keep(self, epoch: int, rank: Rank | None) -> None:
        """Remember the averaged weights of a judged epoch, where they may be asked for."""
        self.optimiser.keep_if_better(rank, epoch)
        if self._epochs is not None:
            self._epochs.add(epoch, self.optimiser.average)

    def settle(self, history: list[dict[str, Any]], judges: _Judges) -> int:
        """Give the network the weights that stay; returns the place of their entry in ``history``.

        A mean of several epochs is a last entry of its own.
        """
        weights = self._epochs
        if weights is None:
            return self.optimiser.restore_best()
        network = self._network

        def rank(epochs: Sequence[int]) -> Rank | None:
            average_network(network, weights, epochs)
            return judges.rank(network)

        measure = self._options.measure
        ranks = {epoch: rank_of(history[epoch], measure) for epoch in weights.state()}
        chosen = choose_epochs(self._options.finetuning.kept, ranks, rank)
        average_network(network, weights, chosen)
        if len(chosen) == 1:
            return chosen[0]
        mean = {"epochs": [epoch + 1 for epoch in chosen], **judges.figures(network)}
        history.append({**history[chosen[0]], **mean})
        return len(history) - 1

    def is_stuck(self, epoch: int) -> bool:
        """Check whether validation has not been better for too long, and nothing else is asked for.

        The mean of epochs is of those without a better one too.
        """
        if self._epochs is not None:
            return False
        best = self.optimiser.best_epoch
        return best is not None and epoch - best > PATIENCE

    def train_epoch(self, epoch: int, squares: DecodedPhotos, progress: OnStage) -> dict[str, Any]:
        """Train on all photos once, in an order of this epoch; loss and size in px.

        An epoch is the same after a restart, dropout too.
        """
        schedule = self._options.schedule
        parts = self._options.finetuning
        crop = self._network.spec.preprocess.crop
        size = training_size(self._backbone, crop, epoch, schedule.epochs, parts.sizes)
        self._unfreeze(half=epoch < parts.top_first * schedule.epochs)
        seed = self._options.seed * 10_007 + epoch
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        set_training(self._network, drops=self._backbone.drops)
        # so that it is the same after a restart
        self._objective.memory.clear()
        losses = []
        order = epoch_order(self._kinds, parts.alike, generator)
        for start in range(0, len(order), schedule.batch_size):
            places = np.sort(order[start : start + schedule.batch_size])
            # a last batch that cannot be shared
            if len(places) < self._team.size:
                continue
            loss = self._loss(places, squares, size, generator)
            losses.append(self.optimiser.step(loss, epoch))
            if self._team.rank == 0:
                done = epoch * len(order) + min(start + schedule.batch_size, len(order))
                progress("fine-tuning", done, schedule.epochs * len(order))
        return {"loss": float(np.mean(losses)), "size": size}

    def _unfreeze(self, *, half: bool) -> None:
        if half != self._half:
            unfreeze_groups(self._groups, half=half)
            self._shared = self._team.wrap_ddp(self._objective)
            self._half = half

    def _loss(self, places: np.ndarray, squares: DecodedPhotos, size: int, generator: Any) -> Any:
        """Compute the loss of the photos ``places`` [B], changed as ``generator`` says."""
        parts = self._options.finetuning
        changes = draw_changes(
            len(places), generator, backgrounds=parts.backgrounds, framed=self._options.framed
        )
        mine = self._team.shard(len(places))
        photos = augment(
            squares.at(places[mine]),
            changes.of(mine),
            size,
            self._network.spec.preprocess,
            self._options.device,
        )
        mix = self._mixes and float(torch.rand((), generator=generator)) < parts.mixed
        share = float(torch.rand((), generator=generator)) if mix else 1.0
        return self._shared(photos, self.pool[places], mine, share)


def _validate(network: Any, shown: np.ndarray, device: str) -> dict[str, np.ndarray]:
    """Compute logits of photos as served, uint8 [M, S, S, 3]."""
    network.eval()
    preprocess = network.spec.preprocess
    outputs = []
    with torch.inference_mode():
        for start in range(0, len(shown), 8):
            photos = np.ascontiguousarray(shown[start : start + 8])
            outputs.append(network(to_batch(photos, preprocess, device))[1])
    if not outputs:
        return {name: np.empty((0, 1), np.float32) for name in network.heads.names}
    found = {}
    for name in outputs[0]:
        found[name] = np.concatenate([out[name].float().cpu().numpy() for out in outputs])
    return found


def _save(path: Path, state: dict[str, Any]) -> None:
    make_folder(path.parent)
    with written_aside(path) as aside:
        torch.save(state, aside)
