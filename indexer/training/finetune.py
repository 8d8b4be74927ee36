"""Recipe ``finetune``: backbone, neck and heads trained on augmented photos."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import structlog

from indexer.core.atomic_files import written_aside
from indexer.core.errors import TrainingError
from indexer.core.native import torch
from indexer.core.progress import OnStage, no_progress
from indexer.feeds.dataset import DatasetRow
from indexer.model.backbones import find
from indexer.model.network import Network
from indexer.model.preprocessing import to_batch
from indexer.model.torch_runtime import OutOfMemoryError
from indexer.training.augmentation import (
    augment,
    decode_squares,
    draw_changes,
    training_square,
)
from indexer.training.cpu_kernels import kept_memory, quick_depthwise
from indexer.training.distributed import ALONE, TrainingProcesses
from indexer.training.linear import (
    Examples,
    FittedModel,
    category_temperature,
    heads_loss,
    one_hot,
    validation_metrics,
)
from indexer.training.optimiser import Optimiser
from indexer.training.options import FinetuneOptions, TrainingOptions
from indexer.training.parameter_groups import (
    parameter_groups,
    set_training,
    training_size,
    unfreeze_groups,
)
from indexer.training.targets import Target

log = structlog.get_logger(__name__)

AVERAGE_DECAY = 0.99
# photos of a batch, below which nothing is halved
LEAST_BATCH = 4
# photos at most among which a changed photo is to find itself
BANK = 4096
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
        taught = [rows[place] for place in trainer.pool.tolist()]
        shown = decode_squares(judged, preprocess, Path(folder) / "shown.npy")
        squares = decode_squares(taught, training_square(preprocess), Path(folder) / "squares.npy")
        for epoch in range(first, epochs):
            if team.broadcast(trainer.is_stuck(epoch)):
                break
            entry = trainer.train_epoch(epoch, squares, progress)
            # before, the learning rate is too high for an epoch to be the best
            if 2 * (epoch + 1) >= epochs:
                logits = _validate(trainer.optimiser.average, shown, options.device)
                found, rank = validation_metrics(logits, examples.targets, examples.validation_mask)
                entry |= found
                trainer.optimiser.keep_if_better(rank, epoch)
            history.append(entry)
            if checkpoint is not None and team.rank == 0:
                trainer.save(checkpoint, epoch, history)
        best = trainer.optimiser.restore_best()
        logits = _validate(network, shown, options.device)
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
        self._mixes = bool(examples.targets)
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
        bank = _Bank(fitted, examples.features, rows, self.pool, options.seed, options.device)
        self._objective = Objective(network, examples.targets, bank, options.finetuning, team.size)
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
        _save(checkpoint, {**self.optimiser.state(), "epoch": epoch + 1, "history": history})

    def is_stuck(self, epoch: int) -> bool:
        """Check whether validation has not been better for too long."""
        best = self.optimiser.best_epoch
        return best is not None and epoch - best > PATIENCE

    def train_epoch(self, epoch: int, squares: np.ndarray, progress: OnStage) -> dict[str, Any]:
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
        losses = []
        order = torch.randperm(len(self.pool), generator=generator).numpy()
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

    def _loss(self, places: np.ndarray, squares: np.ndarray, size: int, generator: Any) -> Any:
        """Compute the loss of the photos ``squares[places]`` [B], changed as ``generator`` says."""
        parts = self._options.finetuning
        changes = draw_changes(len(places), generator, backgrounds=parts.backgrounds)
        mine = self._team.shard(len(places))
        photos = augment(
            squares[places[mine]],
            changes.of(mine),
            size,
            self._network.spec.preprocess,
            self._options.device,
        )
        mix = self._mixes and float(torch.rand((), generator=generator)) < parts.mixed
        share = float(torch.rand((), generator=generator)) if mix else 1.0
        return self._shared(photos, self.pool[places], mine, share)


class _Bank:
    """Blocks g and t of the training photos as the frozen network saw them.

    Block ``g`` learns to find, for a changed photo, the unchanged one among all others, so that it
    keeps what no label names and learns what a camera changes. Block ``t`` stays where it was.
    """

    def __init__(
        self,
        fitted: FittedModel,
        features: np.ndarray,
        rows: Sequence[DatasetRow],
        pool: np.ndarray,
        seed: int,
        device: str,
    ) -> None:
        chosen = pool
        if len(pool) > BANK:
            chosen = np.sort(np.random.default_rng(seed).choice(pool, BANK, replace=False))
        number: dict[str, int] = {}
        product = np.array([number.setdefault(row.product_id, len(number)) for row in rows])
        blocks = fitted.blocks(features)
        self.general = torch.from_numpy(blocks["g"]).to(device)  # [N, dim], unit
        # [N, dim], unit; of no width without block t
        joint = blocks.get("t", np.empty((len(features), 0), np.float32))
        self.joint = torch.from_numpy(joint).to(device)
        self.product = torch.from_numpy(product).to(device)
        self.others = torch.from_numpy(chosen).to(device)

    def drifts(self, joint: Any, chosen: Any) -> Any:
        """Vectors [B, dim] of block t of changed photos ``chosen`` [B] -> [B], 1 - cosine with that
        of the unchanged photo in the frozen network."""
        return 1 - torch.nn.functional.cosine_similarity(joint, self.joint[chosen], dim=1)

    def losses(self, general: Any, chosen: Any, sharpness: float) -> Any:
        """Unit vectors [B, dim] of changed photos ``chosen`` [B] -> [B], -log of the chance to find
        the unchanged one.

        InfoNCE (van den Oord et al. 2018) against the bank; other photos of the same product are no
        mistake.
        """
        own = (general * self.general[chosen]).sum(1, keepdim=True)
        same = self.product[chosen][:, None] == self.product[self.others][None]
        rest = (general @ self.general[self.others].T).masked_fill(same, -torch.inf)
        scores = torch.cat([own, rest], dim=1) / sharpness
        return torch.logsumexp(scores, dim=1) - scores[:, 0]


class Objective(torch.nn.Module):
    """Loss of a batch of changed photos: the heads' cross-entropy, and InfoNCE for block g."""

    def __init__(
        self,
        network: Network,
        targets: Sequence[Target],
        bank: _Bank,
        parts: FinetuneOptions,
        size: int = 1,
    ) -> None:
        super().__init__()
        self.network = network
        self._targets = targets
        self._bank = bank
        self._parts = parts
        # of the team
        self._size = size
        weight = next(block.weight for block in network.spec.blocks if block.name == "g")
        self._length = weight**0.5

    def forward(self, photos: Any, batch: np.ndarray, mine: slice, share: float = 1.0) -> Any:
        """``photos``: the changed photos ``batch[mine]``. The mean over all parts is the loss of
        the whole batch.

        With a ``share`` below 1 each photo is mixed with the next one, and so are the labels.
        """
        device = photos.device
        chosen = batch[mine]
        if share < 1:
            photos = share * photos + (1 - share) * photos.roll(1, 0)
        with lower_precision(device.type):
            seen = self.network.describe(photos)
        blocks = self.network.neck.parts(seen.float())
        truth = [one_hot(target, chosen).to(device) for target in self._targets]
        if share < 1:
            truth = [share * target + (1 - share) * target.roll(1, 0) for target in truth]
        counts = [float((target.labels[batch] >= 0).sum()) / self._size for target in self._targets]
        loss = heads_loss(self.network.heads, blocks, truth, self._targets, counts=counts)
        if self._parts.general and share == 1:  # a mixture is no photo to be found again
            places = torch.from_numpy(chosen).to(device)
            kept = self._bank.losses(blocks["g"] / self._length, places, self._parts.sharpness)
            kept = self._parts.general * kept
            if "t" in blocks:
                kept = kept + self._parts.joint * self._bank.drifts(blocks["t"], places)
            return loss + kept.sum() * self._size / len(batch)
        # DistributedDataParallel wants a part of every parameter in each loss.
        return loss + 0.0 * blocks["g"].sum()


@contextmanager
def lower_precision(device: str) -> Iterator[None]:
    """Use bfloat16 where the hardware multiplies it, else change nothing."""
    with ExitStack() as stack:
        if device == "cuda":
            # Without the emulation of cards that cannot (T4, V100): it is slower than float32.
            if torch.cuda.is_bf16_supported(including_emulation=False):
                stack.enter_context(torch.autocast("cuda", torch.bfloat16))
        elif getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
            stack.enter_context(torch.autocast("cpu", torch.bfloat16))
            stack.enter_context(quick_depthwise())
        yield


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
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        torch.save(state, aside)
