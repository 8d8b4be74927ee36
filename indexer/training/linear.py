"""Recipe ``linear``: a frozen backbone's cached features -> neck and category head, in seconds."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexer.decisions.calibration import fit_temperature, negative_log_likelihood
from indexer.errors import TrainingFailed
from indexer.model.network import Heads, Neck, unit
from indexer.model.spec import FORMAT, Block, Head, ModelSpec
from indexer.native import torch

functional = torch.nn.functional
NECK_DIM = 256  # of each block: together 512, half a kilobyte as one byte each
DROPOUT = 0.4
LABEL_SMOOTHING = 0.1
WEIGHT_DECAY = 1e-2
AVERAGE_DECAY = 0.98


@dataclass(frozen=True)
class Fitted:
    """What the recipe found; ``neck`` and ``heads`` fit ``spec``."""

    spec: ModelSpec
    neck: Neck
    heads: Heads
    temperature: float
    best_epoch: int
    history: list[dict[str, float]]  # per epoch: loss, validation_accuracy, validation_nll


def linear_spec(backbone: Any, classes: int, train_photos: int) -> ModelSpec:
    """The spec of a ``linear`` model on ``backbone`` (a ``backbones.Backbone``)."""
    general = min(NECK_DIM, backbone.feature_dim, max(train_photos - 1, 1))
    return ModelSpec(
        format=FORMAT,
        backbone=backbone.name,
        feature_dim=backbone.feature_dim,
        numeric="fp32",
        preprocess=backbone.preprocess,
        blocks=(Block("a", NECK_DIM, 0.5), Block("g", general, 0.5)),
        heads=(Head("category", tuple(range(classes))),),
    )


def fit(
    spec: ModelSpec,
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int,
    progress: Callable[[str, int, int], None] | None = None,
) -> Fitted:
    """Features [N, F] and class columns [N] -> neck and head; the epoch of best validation accuracy (then NLL) is kept.

    ``g`` is a PCA of the training features, fitted without labels; ``a`` is a small MLP; the head reads the whole
    embedding. Against overfitting: dropout, label smoothing, mixup of features (Zhang et al. 2018; alpha 1) and a
    moving average of the weights, which is what validation judges. Raises ``TrainingFailed`` for a loss not finite.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    features, labels = unit(torch.from_numpy(train[0].astype(np.float32))), torch.from_numpy(train[1])
    targets = functional.one_hot(labels, len(spec.heads[0].classes)).float()
    held_features, held_labels = torch.from_numpy(validation[0].astype(np.float32)), validation[1]
    neck, heads = Neck(spec, dropout=DROPOUT), Heads(spec)
    _fit_general(neck, features)
    both = torch.nn.ModuleList([neck, heads])
    average: Any = torch.optim.swa_utils.AveragedModel(
        both, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY), use_buffers=False
    )

    optimiser = torch.optim.AdamW(both.parameters(), lr=lr, weight_decay=WEIGHT_DECAY, fused=True)
    batches = (len(features) + batch_size - 1) // batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=max(epochs * batches, 2))
    history: list[dict[str, float]] = []
    best: tuple[tuple[float, float], int, Any] | None = None
    for epoch in range(epochs):
        neck.train()
        losses = []
        for chosen in torch.randperm(len(features)).split(batch_size):
            share, other = float(rng.beta(1.0, 1.0)), chosen[torch.randperm(len(chosen))]
            mixed = share * features[chosen] + (1 - share) * features[other]
            wanted = share * targets[chosen] + (1 - share) * targets[other]
            loss = functional.cross_entropy(heads(neck(mixed))["category"], wanted, label_smoothing=LABEL_SMOOTHING)
            if not torch.isfinite(loss):
                raise TrainingFailed(f"the loss is {loss.item()} in epoch {epoch + 1}: try a smaller --lr than {lr}")
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            average.update_parameters(both)
            losses.append(loss.item())
        entry = {"loss": float(np.mean(losses))}
        if len(held_labels):
            logits = _logits(average.module[0], average.module[1], held_features)
            entry["validation_accuracy"] = float((logits.argmax(1) == held_labels).mean())
            entry["validation_nll"] = negative_log_likelihood(logits, held_labels)
            rank = (entry["validation_accuracy"], -entry["validation_nll"])
        else:
            rank = (0.0, float(epoch))  # nothing to choose by: the last epoch stays
        history.append(entry)
        if best is None or rank > best[0]:
            best = rank, epoch, copy.deepcopy(average.module.state_dict())
        if progress:
            progress("epochs", epoch + 1, epochs)
    assert best is not None
    both.load_state_dict(best[2])
    temperature = fit_temperature(_logits(neck, heads, held_features), held_labels) if len(held_labels) else 1.0
    return Fitted(spec, neck.eval(), heads.eval(), temperature, best[1] + 1, history)


def _fit_general(neck: Neck, features: Any) -> None:
    """Centre, spread and principal axes of the unit features; not whitened, which was worse on held-out photos."""
    if not neck.projected:
        return
    inputs = unit(features).double()
    mean = inputs.mean(0)
    centred = inputs - mean
    _, axes = torch.linalg.eigh(centred.T @ centred)  # ascending
    neck.mean.copy_(mean)
    neck.spread.copy_(centred.std().clamp_min(1e-6))
    neck.general.copy_(axes.flip(1)[:, : neck.general.shape[0]].T)


def _logits(neck: Neck, heads: Heads, features: Any) -> np.ndarray:
    neck.eval()
    with torch.inference_mode():
        return heads(neck(features))["category"].numpy()
