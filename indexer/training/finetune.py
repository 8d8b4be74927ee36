"""Recipe ``finetune``: from a fitted linear model on, the backbone is unfrozen from the top and trained on photos."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from indexer.catalog.dataset import Row
from indexer.decisions.calibration import fit_temperature
from indexer.errors import BadRequest, TrainingFailed
from indexer.model.network import Network
from indexer.model.preprocess import to_batch
from indexer.native import torch
from indexer.training.features import Progress
from indexer.training.linear import Fitted, heads_loss, judge, one_hot
from indexer.training.pixels import augment, decode_squares
from indexer.training.targets import CATEGORY, Target

WEIGHT_DECAY = 1e-2
AVERAGE_DECAY = 0.99
LAYER_DECAY = 0.85  # learning rate of each stage relative to the one above it
GENERAL = 2.0  # weight of keeping g what the frozen network saw
FROZEN_SHARE = 0.3  # of the stages, from the input on: edges and textures are the same for all photos, and cost most
PATIENCE = 4  # epochs without a better validation before it stops


def finetune(
    network: Network,
    fitted: Fitted,
    rows: Sequence[Row],
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
    progress: Progress | None = None,
) -> Fitted:
    """Train ``network`` (its neck and heads are ``fitted``) in place on the photos of ``rows``; the best epoch stays.

    ``described`` [N, F + K] are the frozen network's features of the same photos: block ``g`` learns to give, for a
    changed photo, what it gave for the unchanged one, so that it keeps what no label names. ``unfreeze``: how many
    stages from the top are trained (None: all but the first 30%). BatchNorm statistics stay as they were. Photos grow
    from 160 px (of 224) to full size. With ``checkpoint`` a killed run goes on after its last epoch with the result
    of an unbroken one. Raises ``TrainingFailed`` for a loss that is not finite.
    """
    preprocess = network.spec.preprocess
    general = next(block for block in network.spec.blocks if block.name == "g")
    torch.manual_seed(seed)
    network = network.to(device)
    network.to(memory_format=torch.channels_last)
    trained = _groups(network, lr, unfreeze)
    optimiser = torch.optim.AdamW(trained, lr=lr, weight_decay=WEIGHT_DECAY)
    pool, checks = np.flatnonzero(train), np.flatnonzero(held)
    steps = max(epochs * (-(-len(pool) // batch_size)), 2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in trained], total_steps=steps, pct_start=0.15
    )
    average: Any = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY), use_buffers=False
    )
    wanted = [one_hot(target) for target in targets]
    teacher = torch.from_numpy(fitted.blocks(described)["g"])
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
    with tempfile.TemporaryDirectory() as folder:
        if progress:
            progress("photos", 0, len(rows))
        squares = decode_squares(rows, preprocess, Path(folder) / "squares.npy")
        for epoch in range(first, epochs):
            if best is not None and epoch - best[1] > PATIENCE:
                break
            size = _size(preprocess.crop, epoch, epochs)
            generator = torch.Generator().manual_seed(seed * 10_007 + epoch)  # an epoch is the same after a restart
            network.eval()  # BatchNorm keeps its statistics
            network.neck.train()
            losses = []
            order = pool[torch.randperm(len(pool), generator=generator).numpy()]
            for start in range(0, len(order), batch_size):
                chosen = np.sort(order[start : start + batch_size])
                photos = augment(squares[chosen], size, preprocess, generator, device)
                with _lower_precision(device):
                    seen = network.describe(photos)
                parts = network.neck.parts(seen.float())
                truth = [target[chosen].to(device) for target in wanted]
                kept = 1 - (parts["g"] * teacher[chosen].to(device)).sum(1) / general.weight**0.5
                loss = heads_loss(network.heads, parts, truth, targets) + GENERAL * kept.mean()
                if not torch.isfinite(loss):
                    raise TrainingFailed(
                        f"the loss is {loss.item()} in epoch {epoch + 1}: try a smaller --lr than {lr}"
                    )
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
                optimiser.step()
                schedule.step()
                average.update_parameters(network)
                losses.append(loss.item())
                if progress:
                    done = epoch * len(pool) + min(start + batch_size, len(order))
                    progress("fine-tuning", done, epochs * len(pool))
            logits = _validate(average.module, squares, checks, device)
            entry, rank = judge(logits, targets, held)
            history.append({"loss": float(np.mean(losses)), "size": size, **entry})
            rank = rank or (0.0, float(epoch))
            if best is None or rank > best[0]:
                best = rank, epoch, copy.deepcopy(average.module.state_dict())
            if checkpoint is not None:
                modules = {"network": network, "average": average, "optimiser": optimiser, "schedule": schedule}
                states = {name: module.state_dict() for name, module in modules.items()}
                _save(checkpoint, {**states, "epoch": epoch + 1, "history": history, "best": best})
        assert best is not None
        network.load_state_dict(best[2])
        logits = _validate(network, squares, checks, device)
    labels = targets[0].columns[held]
    temperature = fit_temperature(logits[CATEGORY][labels >= 0], labels[labels >= 0])
    network.eval().to("cpu")
    return replace(
        fitted,
        neck=network.neck,
        heads=network.heads,
        temperature=temperature,
        best_epoch=best[1] + 1,
        history=history,
    )


def _stages(backbone: Any) -> list[Any]:
    """The backbone's modules in the order of the data, sequences opened once: what is unfrozen step by step."""
    found = []
    for child in backbone.children():
        found += list(child.children()) if isinstance(child, torch.nn.Sequential) and len(child) > 1 else [child]
    return [stage for stage in found if any(True for _ in stage.parameters())]


def _groups(network: Network, lr: float, unfreeze: int | None) -> list[dict[str, Any]]:
    """Optimiser groups: neck and heads at ``lr``, each unfrozen stage below at 0.85 of the one above; others frozen."""
    stages = _stages(network.backbone)
    count = len(stages) - round(FROZEN_SHARE * len(stages)) if unfreeze is None else unfreeze
    if not count >= 0:
        raise BadRequest(f"unfreeze must not be negative: {count}")
    frozen = max(len(stages) - count, 0)
    for parameter in network.backbone.parameters():
        parameter.requires_grad_(False)
    groups = [{"params": [*network.neck.parameters(), *network.heads.parameters()], "lr": lr}]
    for depth, stage in enumerate(reversed(stages[frozen:]), start=1):
        for parameter in stage.parameters():
            parameter.requires_grad_(True)
        groups.append({"params": list(stage.parameters()), "lr": lr * LAYER_DECAY**depth})
    return groups


def _size(crop: int, epoch: int, epochs: int) -> int:
    """Progressive size (Tan & Le 2021): 5/7 of the crop in the first third, 6/7 in the second, then all of it."""
    share = (5 / 7, 6 / 7, 1.0)[min(3 * epoch // max(epochs, 1), 2)]
    return round(crop * share / 32) * 32 if share < 1 else crop


def _lower_precision(device: str) -> Any:
    """bfloat16 where the hardware multiplies it, else nothing."""
    if device == "cuda":
        return torch.autocast("cuda", torch.bfloat16) if torch.cuda.is_bf16_supported() else nullcontext()
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return torch.autocast("cpu", torch.bfloat16) if supported else nullcontext()


def _full(network: Network, squares: np.ndarray, device: str) -> Iterator[Any]:
    """Network inputs at full size: the centre crops of the squares, 8 at a time."""
    preprocess = network.spec.preprocess
    edge = (preprocess.resize - preprocess.crop) // 2
    inner = slice(edge, edge + preprocess.crop)
    with torch.inference_mode():
        for start in range(0, len(squares), 8):
            yield to_batch(np.ascontiguousarray(squares[start : start + 8, inner, inner]), preprocess, device)


def _validate(network: Any, squares: np.ndarray, checks: np.ndarray, device: str) -> dict[str, np.ndarray]:
    network.eval()
    outputs = [network(batch)[1] for batch in _full(network, squares[checks], device)]
    if not outputs:
        return {name: np.empty((0, 1), np.float32) for name in network.heads.names}
    return {name: np.concatenate([out[name].float().cpu().numpy() for out in outputs]) for name in outputs[0]}


def _save(path: Path, state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save(state, aside)
    os.replace(aside, path)
