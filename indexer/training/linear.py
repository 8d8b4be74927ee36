"""Recipe ``linear``: a frozen backbone's cached features -> neck and heads, in seconds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from indexer.core.errors import TrainingError
from indexer.core.native import torch
from indexer.model.calibration import (
    fit_temperature,
    negative_log_likelihood,
    remove_label_smoothing,
)
from indexer.model.network import Heads, Neck, unit
from indexer.model.spec import FORMAT, Block, Head, ModelSpec
from indexer.training.contrastive_loss import ContrastiveLosses
from indexer.training.targets import CATEGORY, Target, colour_target

functional = torch.nn.functional
NECK_DIM = 512  # of all blocks together
COLOUR_DIM = 64
_SHRINKAGE = 2.0  # of the covariance within pairs towards a sphere of its mean variance
MIXED = 0.5  # share of the steps that mix features
DROPOUT = 0.4
LABEL_SMOOTHING = 0.1
WEIGHT_DECAY = 1e-2
AVERAGE_DECAY = 0.98


@dataclass(frozen=True)
class Pairs:
    """Photos and the same photos as if taken again, row by row."""

    photos: np.ndarray  # [P, F (+ K)]
    again: np.ndarray  # [P, F (+ K)]


@dataclass(frozen=True)
class FittedModel:
    """What a recipe found; ``neck`` and ``heads`` fit ``spec``."""

    spec: ModelSpec
    neck: Neck
    heads: Heads
    temperature: float
    best_epoch: int
    history: list[
        dict[str, Any]
    ]  # per epoch: loss, validation accuracy by head, NLL of the category

    @property
    def judged(self) -> tuple[float, float] | None:
        """What validation says of it: mean accuracy of the heads, then how low the category's NLL
        is; None: nothing."""
        entry = self.history[self.best_epoch - 1]
        found = list(entry["validation_heads"].values())
        return (float(np.mean(found)), -(entry["validation_nll"] or 0.0)) if found else None

    def blocks(self, described: np.ndarray) -> dict[str, np.ndarray]:
        """Block name -> unit vectors float32 [N, dim] of described photos [N, F + K]."""
        with torch.inference_mode():
            parts = self.neck.parts(torch.from_numpy(np.asarray(described, np.float32)))
            return {name: unit(part).numpy() for name, part in parts.items()}


def linear_spec(backbone: Any, targets: Sequence[Target], train_photos: int) -> ModelSpec:
    """The spec of a model on ``backbone`` (a ``backbones.Backbone``) for ``targets``, the category
    first.

    Blocks: a and g, and c where a target names a colour; c is small and taken from a. Without a
    target g alone.
    """
    coloured = colour_target(targets) is not None
    half = NECK_DIM // 2
    general = min(half, backbone.feature_dim, max(train_photos - 1, 1))
    blocks = [Block("a", half, 0.5), Block("g", general, 0.5)]
    if coloured:
        blocks = [
            Block("a", half - COLOUR_DIM, 0.4),
            Block("c", COLOUR_DIM, 0.3),
            Block("g", general, 0.3),
        ]
    if not targets:
        blocks = [Block("g", general, 1.0)]
    return ModelSpec(
        format=FORMAT,
        backbone=backbone.name,
        feature_dim=backbone.feature_dim,
        numeric="fp32",
        preprocess=backbone.preprocess,
        blocks=tuple(blocks),
        heads=tuple(Head(target.name, tuple(range(len(target.values)))) for target in targets),
    )


def fit(
    spec: ModelSpec,
    described: np.ndarray,
    targets: Sequence[Target],
    train: np.ndarray,
    held: np.ndarray,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    seed: int,
    pairs: Pairs | None = None,
    general: Neck | None = None,
    alike: ContrastiveLosses | None = None,
    mixed: float = MIXED,
    progress: Callable[[str, int, int], None] | None = None,
) -> FittedModel:
    """Described photos [N, F (+ K)] and targets -> neck and heads; the epoch of best mean
    validation accuracy is kept.

    ``train`` and ``held`` are bool [N]; ``targets`` are in the order of ``spec.heads``. ``g`` is
    fitted without labels (``general_projection``; ``pairs`` are training photos); ``a`` and ``c``
    are small MLPs; every head reads the whole embedding, but only its own block learns from it
    (colour shapes c, all else a). Half of the steps, drawn by chance, mix features (mixup, Zhang et
    al. 2018; alpha 1); the others take photos as they are and add the losses of ``alike`` (None:
    the usual ones). Against overfitting also dropout, label smoothing and a moving average of the
    weights, which is what validation judges. With ``general`` block g is that neck's. Raises
    ``TrainingError`` for a loss that is not finite.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    photos = torch.from_numpy(described.astype(np.float32))
    photos = torch.cat([unit(photos[:, : spec.feature_dim]), photos[:, spec.feature_dim :]], dim=1)
    neck, heads = Neck(spec, dropout=DROPOUT), Heads(spec)
    fit_statistics(neck, photos[train], pairs, general)
    if not targets:
        return FittedModel(spec, neck.eval(), heads.eval(), 1.0, 1, [judge({}, (), held)[0]])
    alike = alike or ContrastiveLosses()
    columns = [torch.from_numpy(target.columns) for target in targets]
    both = torch.nn.ModuleList([neck, heads])
    average: Any = torch.optim.swa_utils.AveragedModel(
        both,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY),
        use_buffers=False,
    )
    learned = [weight for name, weight in both.named_parameters() if not name.endswith("general")]
    optimiser = torch.optim.AdamW(learned, lr=lr, weight_decay=WEIGHT_DECAY, fused=True)
    pool = torch.from_numpy(np.flatnonzero(train))
    steps = epochs * -(-len(pool) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=max(steps, 2))
    history: list[dict[str, Any]] = []
    best: tuple[tuple[float, float], int, Any] | None = None
    for epoch in range(epochs):
        neck.train()
        losses = []
        for chosen in pool[torch.randperm(len(pool))].split(batch_size):
            if rng.random() < mixed:
                share, other = float(rng.beta(1.0, 1.0)), chosen[torch.randperm(len(chosen))]
                parts = neck.parts(share * photos[chosen] + (1 - share) * photos[other])
                labels = [
                    share * one_hot(t, chosen) + (1 - share) * one_hot(t, other) for t in targets
                ]
                loss = heads_loss(heads, parts, labels, targets)
            else:
                parts = neck.parts(photos[chosen])
                loss = heads_loss(
                    heads, parts, [one_hot(target, chosen) for target in targets], targets
                )
                loss = loss + alike.loss(parts, targets, [column[chosen] for column in columns])
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"the loss is {loss.item()} in epoch {epoch + 1}: try a smaller --lr than {lr}"
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            average.update_parameters(both)
            losses.append(loss.item())
        entry, rank = judge(
            _logits(average.module[0], average.module[1], photos[held]), targets, held
        )
        history.append({"loss": float(np.mean(losses)), **entry})
        rank = rank or (0.0, float(epoch))  # nothing to choose by: the last epoch stays
        if best is None or rank > best[0]:
            best = rank, epoch, copy.deepcopy(average.module.state_dict())
        if progress:
            progress("epochs", epoch + 1, epochs)
    assert best is not None
    both.load_state_dict(best[2])
    temperature = category_temperature(_logits(neck, heads, photos[held]), targets, held)
    return FittedModel(spec, neck.eval(), heads.eval(), temperature, best[1] + 1, history)


def category_temperature(
    logits: Mapping[str, np.ndarray], targets: Sequence[Target], held: np.ndarray
) -> float:
    """Of the category's softmax, from logits of the ``held`` photos; 1 where nothing has a
    category."""
    found = next((target.columns[held] for target in targets if target.name == CATEGORY), None)
    if found is None:
        return 1.0
    return fit_temperature(
        remove_label_smoothing(logits[CATEGORY][found >= 0], LABEL_SMOOTHING), found[found >= 0]
    )


def fit_statistics(
    neck: Neck, photos: Any, pairs: Pairs | None = None, general: Neck | None = None
) -> None:
    """Centre, spread and projection of block g (``general_projection``, or ``general``'s); and of
    colours."""
    if neck.colour is not None:
        statistics = photos[:, neck.features :]
        neck.colour_mean.copy_(statistics.mean(0))
        neck.colour_spread.copy_(statistics.std(0).clamp_min(1e-3))
    if general is not None:
        neck.take_general(general)
        return
    if not neck.projected:
        return
    if pairs is not None:
        pairs = Pairs(pairs.photos[:, : neck.features], pairs.again[:, : neck.features])
    mean, spread, axes = general_projection(
        photos[:, : neck.features].numpy(), neck.general.shape[0], pairs
    )
    neck.mean.copy_(torch.from_numpy(mean))
    neck.spread.fill_(spread)
    with torch.no_grad():
        neck.general.copy_(torch.from_numpy(axes))


def general_projection(
    features: np.ndarray, dim: int, pairs: Pairs | None = None
) -> tuple[np.ndarray, float, np.ndarray]:
    """Mean [F], spread and projection [dim, F] of block g from features [N, F]: ``(unit - mean) /
    spread @ P.T``.

    The principal axes of the centred unit features, not whitened (worse on held-out photos). With
    ``pairs``, first the directions in which a photo differs from its own re-shot are pressed: by
    the inverse root of the covariance within pairs, shrunk towards a sphere (within-class
    covariance normalisation, Hatch et al. 2006; by photo).
    """
    inputs = unit(torch.from_numpy(np.asarray(features, np.float32))).double()
    mean = inputs.mean(0)
    centred = inputs - mean
    scatter, press = centred.T @ centred, None
    if pairs is not None and len(pairs.photos):
        first, again = (
            unit(torch.from_numpy(np.asarray(one, np.float32))).double()
            for one in (pairs.photos, pairs.again)
        )
        within = (again - first).T @ (again - first)
        variance = within.trace() / len(within)
        if variance > 1e-9:
            values, directions = torch.linalg.eigh(within / variance)
            press = (directions * (values.clamp_min(0) + _SHRINKAGE).rsqrt()) @ directions.T
            scatter = press @ scatter @ press
    _, axes = torch.linalg.eigh(scatter)  # ascending
    found = axes.flip(1)[:, :dim].T
    if press is not None:
        found = found @ press
    return mean.float().numpy(), float(centred.std().clamp_min(1e-6)), found.float().numpy()


def heads_loss(
    heads: Heads,
    parts: dict[str, Any],
    wanted: Sequence[Any],
    targets: Sequence[Target],
    *,
    counts: Sequence[float] | None = None,
) -> Any:
    """Sum over the heads of the cross-entropy on smoothed targets [B, C]; a row of zeros is an
    unlabelled photo.

    Each head's is the mean over its labelled photos; ``counts`` are their numbers where B is a part
    of a batch only.
    """
    coloured = colour_target(targets)
    total: Any = 0.0
    for number, (target, truth) in enumerate(zip(targets, wanted, strict=True)):
        own = "c" if target is coloured else "a"
        embedding = torch.cat(
            [part if name == own else part.detach() for name, part in parts.items()], dim=1
        )
        known = truth.sum(1, keepdim=True)
        smooth = truth * (1 - LABEL_SMOOTHING) + known * LABEL_SMOOTHING / truth.shape[1]
        losses = -(smooth * functional.log_softmax(heads(embedding, target.name), dim=1)).sum(1)
        total = total + losses.sum() / max(
            float(known.sum()) if counts is None else counts[number], 1e-6
        )
    return total


def judge(
    logits: dict[str, np.ndarray], targets: Sequence[Target], held: np.ndarray
) -> tuple[dict[str, Any], tuple[float, float] | None]:
    """What validation says: figures for the history, and a rank (mean accuracy, then NLL of the
    category) or None."""
    accuracy: dict[str, float] = {}
    entry: dict[str, Any] = {
        "validation_accuracy": None,
        "validation_nll": None,
        "validation_heads": accuracy,
    }
    for target in targets:
        columns = target.columns[held]
        known = columns >= 0
        if known.any():
            accuracy[target.name] = float(
                (logits[target.name][known].argmax(1) == columns[known]).mean()
            )
            if target.name == CATEGORY:
                entry["validation_accuracy"] = accuracy[CATEGORY]
                entry["validation_nll"] = negative_log_likelihood(
                    logits[CATEGORY][known], columns[known]
                )
    rank = (
        (float(np.mean(list(accuracy.values()))), -(entry["validation_nll"] or 0.0))
        if accuracy
        else None
    )
    return entry, rank


def reweigh(fitted: FittedModel, weights: dict[str, float]) -> FittedModel:
    """The same model with other block weights; the heads' columns are rescaled, so no logit
    changes."""
    blocks = tuple(replace(block, weight=weights[block.name]) for block in fitted.spec.blocks)
    spec = replace(fitted.spec, blocks=blocks)
    scale = torch.cat(
        [
            torch.full((old.dim,), (old.weight / new.weight) ** 0.5)
            for old, new in zip(fitted.spec.blocks, spec.blocks, strict=True)
        ]
    )
    neck, heads = Neck(spec), Heads(spec)
    neck.load_state_dict(fitted.neck.state_dict())
    heads.load_state_dict(fitted.heads.state_dict())
    with torch.no_grad():
        for weight in heads.linear.parameters():
            if weight.ndim == 2:
                weight.mul_(scale)
    return replace(fitted, spec=spec, neck=neck.eval(), heads=heads.eval())


def one_hot(target: Target, chosen: Any) -> Any:
    """float32 [n, C] of the photos ``chosen`` (int [n]); zeros where the label is not known."""
    columns = torch.from_numpy(target.columns)[chosen]
    return (
        functional.one_hot(columns.clamp_min(0), len(target.values)).float()
        * (columns >= 0)[:, None]
    )


def _logits(neck: Neck, heads: Heads, photos: Any) -> dict[str, np.ndarray]:
    neck.eval()
    with torch.inference_mode():
        return {name: values.numpy() for name, values in heads(neck(photos)).items()}
