"""Recipe ``finetune``: from a fitted linear model on, the backbone is unfrozen from the top and
trained on photos."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.dataset import DatasetRow
from indexer.core.errors import BadRequestError, TrainingError
from indexer.core.native import torch
from indexer.model.network import Network
from indexer.model.preprocessing import to_batch
from indexer.training.augmentation import (
    BACKGROUNDS,
    augment,
    decode_squares,
    draw_changes,
    training_square,
)
from indexer.training.cpu_kernels import kept_memory, quick_depthwise
from indexer.training.distributed import ALONE, Team
from indexer.training.feature_cache import OnCached
from indexer.training.linear import FittedModel, category_temperature, heads_loss, judge, one_hot
from indexer.training.targets import Target

WEIGHT_DECAY = 1e-2
AVERAGE_DECAY = 0.99
LAYER_DECAY = 0.95  # learning rate of each stage relative to the one above it
FROZEN_SHARE = (
    0.1  # of the stages, from the input on: edges are the same for all photos, and cost most
)
BANK = 4096  # photos at most that a changed photo is to be told from
PATIENCE = 4  # judged epochs without a better validation before it stops


@dataclass(frozen=True)
class FinetuneOptions:
    """What the recipe is made of, each of which an ablation can leave out."""

    general: float = (
        0.3  # weight of the loss that holds g to the frozen network; 0: g follows the labels' trunk
    )
    sharpness: float = 0.07  # temperature of telling a photo from all others by g
    backgrounds: float = BACKGROUNDS
    sizes: tuple[tuple[float, float], ...] = (
        (0.6, 5 / 7),
        (1.0, 6 / 7),
    )  # until this share of epochs: of the crop
    top_first: float = (
        0.2  # share of the epochs that train the upper half of the unfrozen stages only
    )
    dropout: float = 0.2
    mixed: float = 0.5  # share of the steps that mix photos (mixup, Zhang et al. 2018)


def finetune(
    network: Network,
    fitted: FittedModel,
    rows: Sequence[DatasetRow],
    described: np.ndarray,
    targets: Sequence[Target],
    train: np.ndarray,
    held: np.ndarray,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int,
    unfreeze: int | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    progress: OnCached | None = None,
    parts: FinetuneOptions | None = None,
    team: Team = ALONE,
) -> FittedModel:
    """Train ``network`` (its neck and heads are ``fitted``) in place on the photos of ``rows``; the
    best epoch stays.

    ``described`` [N, F + K] are the frozen network's features of the same photos: block ``g``
    learns to find, for a changed photo, the unchanged one among all others as the frozen network
    saw them, so that it keeps what no label names and learns what a camera changes. ``unfreeze``:
    how many stages from the top are trained (None: all but the first tenth); the upper half of them
    first. BatchNorm statistics stay as they were. Photos are smaller than served ones while
    training (a part of a photo shows things larger), and validation sees them as they are served.
    With ``checkpoint`` a killed run goes on after its last epoch with the result of an unbroken
    one. A ``team`` of processes shares each batch; the result is that of one process but for
    rounding, dropout and what is mixed. On a GPU the backbone is compiled (not run on one yet).
    Raises ``TrainingError`` for a loss that is not finite.
    """
    parts = parts or FinetuneOptions()
    preprocess = network.spec.preprocess
    torch.manual_seed(seed)
    network = network.to(device)
    network.to(memory_format=torch.channels_last)
    if device == "cuda" and find_spec("triton"):
        # in place: names of tensors stay, each size of photos is compiled once
        network.backbone.compile()
    network.neck.set_dropout(parts.dropout)
    trained = _groups(network, lr, unfreeze)
    optimiser = torch.optim.AdamW(trained, lr=lr, weight_decay=WEIGHT_DECAY)
    pool, checks = np.flatnonzero(train), np.flatnonzero(held)
    steps = max(epochs * (-(-len(pool) // batch_size)), 2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in trained], total_steps=steps, pct_start=0.15
    )
    average: Any = torch.optim.swa_utils.AveragedModel(
        network,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY),
        use_buffers=False,
    )
    objective = Objective(
        network, targets, _Bank(fitted, described, rows, pool, seed, device), parts, team.size
    )
    history: list[dict[str, Any]] = []
    best: tuple[tuple[float, float], int, Any] | None = None
    first = 0
    if checkpoint is not None and checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first, history, best = state["epoch"], state["history"], state["best"]
    with tempfile.TemporaryDirectory() as folder, kept_memory():
        if progress:
            progress("photos", 0, len(pool) + len(checks))
        shown = decode_squares(
            [rows[place] for place in checks.tolist()], preprocess, Path(folder) / "shown.npy"
        )
        taught = [rows[place] for place in pool.tolist()]
        squares = decode_squares(taught, training_square(preprocess), Path(folder) / "squares.npy")
        for epoch in range(first, epochs):
            if team.agree(best is not None and epoch - best[1] > PATIENCE):
                break
            size = _size(preprocess.crop, epoch, epochs, parts.sizes)
            half = epoch < parts.top_first * epochs
            if epoch == first or half != (epoch - 1 < parts.top_first * epochs):
                _unfreeze(trained, half=half)
                shared = team.shared(objective)
            torch.manual_seed(
                seed * 10_007 + epoch
            )  # an epoch is the same after a restart, dropout too
            generator = torch.Generator().manual_seed(seed * 10_007 + epoch)
            network.eval()  # BatchNorm keeps its statistics
            network.neck.train()
            losses = []
            order = torch.randperm(len(pool), generator=generator).numpy()
            for start in range(0, len(order), batch_size):
                places = np.sort(order[start : start + batch_size])
                chosen = pool[places]
                if len(chosen) < team.size:
                    continue  # a last batch that cannot be shared
                changes = draw_changes(len(chosen), generator, backgrounds=parts.backgrounds)
                mine = team.part(len(chosen))
                photos = augment(squares[places[mine]], changes.of(mine), size, preprocess, device)
                mix = bool(targets) and float(torch.rand((), generator=generator)) < parts.mixed
                loss = shared(
                    photos, chosen, mine, float(torch.rand((), generator=generator)) if mix else 1.0
                )
                if not torch.isfinite(loss):
                    raise TrainingError(
                        f"the loss is {loss.item()} in epoch {epoch + 1}: try a smaller --lr than "
                        f"{lr}"
                    )
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                optimiser.step()
                schedule.step()
                average.update_parameters(network)
                losses.append(loss.item())
                if progress and team.rank == 0:
                    done = epoch * len(pool) + min(start + batch_size, len(order))
                    progress("fine-tuning", done, epochs * len(pool))
            entry: dict[str, Any] = {"loss": float(np.mean(losses)), "size": size}
            if (
                2 * (epoch + 1) >= epochs
            ):  # before, the learning rate is too high for an epoch to be the best
                found, rank = judge(_validate(average.module, shown, device), targets, held)
                entry |= found
                if best is None or rank is None or rank > best[0]:
                    best = (
                        rank or (0.0, float(epoch)),
                        epoch,
                        copy.deepcopy(average.module.state_dict()),
                    )
            history.append(entry)
            if checkpoint is not None and team.rank == 0:
                modules = {
                    "network": network,
                    "average": average,
                    "optimiser": optimiser,
                    "schedule": schedule,
                }
                states = {name: module.state_dict() for name, module in modules.items()}
                _save(checkpoint, {**states, "epoch": epoch + 1, "history": history, "best": best})
        assert best is not None
        network.load_state_dict(best[2])
        logits = _validate(network, shown, device)
    network.eval().to("cpu")
    return replace(
        fitted,
        neck=network.neck,
        heads=network.heads,
        temperature=category_temperature(logits, targets, held),
        best_epoch=best[1] + 1,
        history=history,
    )


class _Bank:
    """Block g of the training photos as the frozen network saw them: what changed photos must find
    themselves in."""

    def __init__(
        self,
        fitted: FittedModel,
        described: np.ndarray,
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
        general = fitted.blocks(described)["g"]
        self.general = torch.from_numpy(general).to(device)  # [N, dim], unit
        self.product = torch.from_numpy(product).to(device)
        self.others = torch.from_numpy(chosen).to(device)

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
    """The whole loss of a batch of changed photos: the heads' cross-entropy, and what keeps block g
    general."""

    def __init__(
        self,
        network: Network,
        targets: Sequence[Target],
        bank: _Bank,
        parts: FinetuneOptions,
        size: int = 1,
    ) -> None:
        super().__init__()
        self.network, self._size = network, size  # of the team
        self._targets, self._bank, self._parts = targets, bank, parts
        self._length = (
            next(block.weight for block in network.spec.blocks if block.name == "g") ** 0.5
        )

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
        counts = [
            float((target.columns[batch] >= 0).sum()) / self._size for target in self._targets
        ]
        loss = heads_loss(self.network.heads, blocks, truth, self._targets, counts=counts)
        if self._parts.general and share == 1:  # a mixture is no photo to be found again
            places = torch.from_numpy(chosen).to(device)
            kept = self._bank.losses(blocks["g"] / self._length, places, self._parts.sharpness)
            return loss + self._parts.general * kept.sum() * self._size / len(batch)
        # DistributedDataParallel wants a part of every parameter in each loss.
        return loss + 0.0 * blocks["g"].sum()


def _stages(backbone: Any) -> list[Any]:
    """The backbone's modules in the order of the data, sequences opened once: what is unfrozen step
    by step."""
    found = []
    for child in backbone.children():
        found += (
            list(child.children())
            if isinstance(child, torch.nn.Sequential) and len(child) > 1
            else [child]
        )
    return [stage for stage in found if any(True for _ in stage.parameters())]


def _groups(network: Network, lr: float, unfreeze: int | None) -> list[dict[str, Any]]:
    """Optimiser groups: neck and heads at ``lr``, each unfrozen stage below at 0.95 of the one
    above; others frozen."""
    stages = _stages(network.backbone)
    count = len(stages) - round(FROZEN_SHARE * len(stages)) if unfreeze is None else unfreeze
    if not count >= 0:
        raise BadRequestError(f"unfreeze must not be negative: {count}")
    frozen = max(len(stages) - count, 0)
    for parameter in network.backbone.parameters():
        parameter.requires_grad_(False)
    groups = [{"params": [*network.neck.parameters(), *network.heads.parameters()], "lr": lr}]
    for depth, stage in enumerate(reversed(stages[frozen:]), start=1):
        groups.append({"params": list(stage.parameters()), "lr": lr * LAYER_DECAY**depth})
    return groups


def _unfreeze(groups: Sequence[dict[str, Any]], *, half: bool) -> None:
    """Neck and heads are trained, and of the stages below all, or with ``half`` the upper half."""
    until = 1 + (len(groups) // 2 if half else len(groups))
    for number, group in enumerate(groups):
        for parameter in group["params"]:
            parameter.requires_grad_(number < until)
            parameter.grad = None


def _size(crop: int, epoch: int, epochs: int, sizes: Sequence[tuple[float, float]]) -> int:
    """Progressive size (Tan & Le 2021) in px, a multiple of 32 below the crop.

    It stays below the served size to the end: in a crop of a photo things look larger than in the
    whole (Touvron et al. 2019), so a smaller crop shows them at the size that the served network
    will see, and costs less.
    """
    share = next(share for until, share in sizes if epoch < until * epochs or until >= 1)
    return round(crop * share / 32) * 32 if share < 1 else crop


@contextmanager
def lower_precision(device: str) -> Iterator[None]:
    """bfloat16 where the hardware multiplies it, else nothing."""
    with ExitStack() as stack:
        if device == "cuda":
            if torch.cuda.is_bf16_supported():
                stack.enter_context(torch.autocast("cuda", torch.bfloat16))
        elif getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
            stack.enter_context(torch.autocast("cpu", torch.bfloat16))
            stack.enter_context(quick_depthwise())
        yield


def _validate(network: Any, shown: np.ndarray, device: str) -> dict[str, np.ndarray]:
    """Logits of photos as served, uint8 [M, S, S, 3]."""
    network.eval()
    preprocess = network.spec.preprocess
    outputs = []
    with torch.inference_mode():
        for start in range(0, len(shown), 8):
            outputs.append(
                network(
                    to_batch(np.ascontiguousarray(shown[start : start + 8]), preprocess, device)
                )[1]
            )
    if not outputs:
        return {name: np.empty((0, 1), np.float32) for name in network.heads.names}
    return {
        name: np.concatenate([out[name].float().cpu().numpy() for out in outputs])
        for name in outputs[0]
    }


def _save(path: Path, state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save(state, aside)
    os.replace(aside, path)
