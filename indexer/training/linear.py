"""Recipe ``linear``: neck and heads on cached features of a frozen backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from indexer.core.native import torch
from indexer.core.progress import OnStage, no_progress
from indexer.model.calibration import (
    fit_temperature,
    negative_log_likelihood,
    remove_label_smoothing,
)
from indexer.model.network import Heads, Neck, unit
from indexer.model.spec import FORMAT, Block, Head, ModelSpec
from indexer.training.label_loss import label_metrics, labels_loss, start_labels
from indexer.training.label_targets import LabelTarget
from indexer.training.metrics import class_counts
from indexer.training.optimiser import Optimiser, Rank
from indexer.training.options import ACCURACY, MEASURES, LinearOptions, Schedule
from indexer.training.targets import CATEGORY, Target, colour_target

functional = torch.nn.functional
NECK_DIM = 512  # of all blocks together but t
COLOUR_DIM = 64
# least weight of block t, which words are asked by: enough to be stored well
JOINT_WEIGHT = 0.1
_SHRINKAGE = 2.0  # of the covariance within pairs towards a sphere of its mean variance
DROPOUT = 0.4
LABEL_SMOOTHING = 0.1
AVERAGE_DECAY = 0.98


@dataclass(frozen=True)
class Pairs:
    """Photos and the same photos as if taken again, row by row."""

    photos: np.ndarray  # [P, F (+ K)]
    recaptures: np.ndarray  # [P, F (+ K)]
    places: np.ndarray | None = None  # int [P], of the photos among the examples


@dataclass(frozen=True)
class Examples:
    """Photos as features, and what they teach; all arrays are of their number N."""

    features: np.ndarray  # float [N, F (+ K)]
    targets: Sequence[Target]  # the category first, where there is one
    train_mask: np.ndarray  # bool [N], photos that teach
    validation_mask: np.ndarray  # bool [N], photos that judge
    pairs: Pairs | None = None  # of training photos
    labels: Sequence[LabelTarget] = ()  # heads of which several labels may be true

    def judge(self, logits: dict[str, np.ndarray]) -> dict[str, Any]:
        """Figures of the validation photos by their ``logits``."""
        return validation_metrics(logits, self.targets, self.validation_mask, self.labels)


@dataclass(frozen=True)
class FittedModel:
    """What a recipe found; ``neck`` and ``heads`` fit ``spec``."""

    spec: ModelSpec
    neck: Neck
    heads: Heads
    temperature: float
    best_epoch: int
    # per epoch: loss, validation accuracy and macro-F1 by head, NLL of the category
    history: list[dict[str, Any]]
    measure: str = ACCURACY  # one of ``MEASURES``

    @property
    def rank(self) -> Rank | None:
        """How validation ranks it (``rank_of``)."""
        return rank_of(self.history[self.best_epoch - 1], self.measure)

    def blocks(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """Embed features [N, F + K]: block name -> unit vectors float32 [N, dim]."""
        with torch.inference_mode():
            parts = self.neck.parts(torch.from_numpy(np.asarray(features, np.float32)))
            return {name: unit(part).numpy() for name, part in parts.items()}


def linear_spec(
    backbone: Any,
    targets: Sequence[Target],
    train_photos: int,
    labels: Sequence[LabelTarget] = (),
) -> ModelSpec:
    """Build the spec of a model on ``backbone`` (a ``backbones.Backbone``) for ``targets``.

    The category comes first, ``labels`` last. Blocks: a and g, and c where a target names a colour;
    c is small and taken from a. Without either g alone. Block t beside them where a text tower
    shares the features' space.
    """
    coloured = colour_target(targets) is not None
    half = NECK_DIM // 2
    # Below the features' own width: a block of that width is the features as they are, neither
    # centred nor pressed.
    general = min(half, backbone.feature_dim - 1, max(train_photos - 1, 1))
    blocks = [Block("a", half, 0.5), Block("g", general, 0.5)]
    if coloured:
        blocks = [
            Block("a", half - COLOUR_DIM, 0.4),
            Block("c", COLOUR_DIM, 0.3),
            Block("g", general, 0.3),
        ]
    if not targets and not labels:
        blocks = [Block("g", general, 1.0)]
    if backbone.joint:
        blocks = [
            *(replace(block, weight=block.weight * (1 - JOINT_WEIGHT)) for block in blocks),
            Block("t", backbone.feature_dim, JOINT_WEIGHT),
        ]
    spec = ModelSpec(
        format=FORMAT,
        backbone=backbone.name,
        feature_dim=backbone.feature_dim,
        numeric="fp32",
        preprocess=backbone.preprocess,
        blocks=tuple(blocks),
        heads=(),
        colours=1,
    )
    heads = [Head(one.name, tuple(range(len(one.values))), several=False) for one in targets]
    heads += [Head(one.name, tuple(range(len(one.values))), several=True) for one in labels]
    return spec.with_heads(heads)


def fit(
    spec: ModelSpec,
    examples: Examples,
    schedule: Schedule,
    *,
    seed: int,
    options: LinearOptions | None = None,
    measure: str = ACCURACY,
    general: Neck | None = None,
    progress: OnStage = no_progress,
) -> FittedModel:
    """Fit neck and heads; the epoch that validation ranks first by ``measure`` is kept.

    Targets, and labels behind them, are in the order of ``spec.heads``. ``g`` is fitted without any
    (``general_projection``), or with ``general`` it is that neck's; ``a`` and ``c`` are small MLPs;
    every head reads the whole embedding, but only its own block learns from it (colour shapes c,
    all else a). Against overfitting: mixed features, dropout, label smoothing and a moving average
    of the weights, which is what validation judges. Raises ``TrainingError`` for a loss that is
    not finite.
    """
    torch.manual_seed(seed)
    photos = torch.from_numpy(examples.features.astype(np.float32))
    photos = torch.cat([unit(photos[:, : spec.feature_dim]), photos[:, spec.feature_dim :]], dim=1)
    neck = Neck(spec, dropout=DROPOUT)
    heads = Heads(spec)
    fit_statistics(neck, photos[examples.train_mask], examples.pairs, general)
    targets, labels = examples.targets, examples.labels
    validation_mask = examples.validation_mask
    if not targets and not labels:
        history = [validation_metrics({}, (), validation_mask)]
        return FittedModel(spec, neck.eval(), heads.eval(), 1.0, 1, history, measure)
    module = torch.nn.ModuleList([neck, heads])
    pool = torch.from_numpy(np.flatnonzero(examples.train_mask))
    start_labels(heads, labels, pool.numpy())
    optimiser = Optimiser(
        module,
        [weight for name, weight in module.named_parameters() if not name.endswith("general")],
        lr=schedule.lr,
        steps=schedule.epochs * -(-len(pool) // schedule.batch_size),
        average_decay=AVERAGE_DECAY,
        fused=True,
    )
    loss = _LinearLoss(neck, heads, photos, examples, options or LinearOptions(), seed)
    history = []
    for epoch in range(schedule.epochs):
        neck.train()
        batches = pool[torch.randperm(len(pool))].split(schedule.batch_size)
        losses = [optimiser.step(loss.of(chosen), epoch) for chosen in batches]
        averaged_neck, averaged_heads = optimiser.average
        logits = _logits(averaged_neck, averaged_heads, photos[validation_mask])
        entry = examples.judge(logits)
        history.append({"loss": float(np.mean(losses)), **entry})
        optimiser.keep_if_better(rank_of(entry, measure), epoch)
        progress("epochs", epoch + 1, schedule.epochs)
    best = optimiser.restore_best()
    logits = _logits(neck, heads, photos[validation_mask])
    temperature = category_temperature(logits, targets, validation_mask)
    return FittedModel(spec, neck.eval(), heads.eval(), temperature, best + 1, history, measure)


class _LinearLoss:
    """Loss of a batch of features: heads' cross-entropy, mixed or with the contrastive losses."""

    def __init__(
        self,
        neck: Neck,
        heads: Heads,
        photos: Any,
        examples: Examples,
        options: LinearOptions,
        seed: int,
    ) -> None:
        self._neck = neck
        self._heads = heads
        self._photos = photos
        self._targets = examples.targets
        self._several = examples.labels
        self._options = options
        self._rng = np.random.default_rng(seed)
        self._labels = [torch.from_numpy(target.labels) for target in examples.targets]
        pool = np.flatnonzero(examples.train_mask)
        self._priors = log_priors(examples.targets, pool, options.adjustment)
        self._colour = colour_target(examples.targets)
        self._recaptures: tuple[Any, Any] | None = None
        if self._colour is not None and options.recaptured and examples.pairs is not None:
            self._recaptures = _shaded(examples.pairs, self._colour, neck.features)

    def of(self, chosen: Any) -> Any:
        """Compute the loss of the photos ``chosen`` (int [B])."""
        if self._rng.random() < self._options.mixed:
            return self._mixed(chosen)
        parts = self._neck.parts(self._photos[chosen])
        truth = [one_hot(target, chosen) for target in self._targets]
        loss = heads_loss(self._heads, parts, truth, self._targets, priors=self._priors)
        loss = loss + self._labels_loss(parts, [one.truth(chosen) for one in self._several])
        labels = [values[chosen] for values in self._labels]
        loss = loss + self._options.contrastive.loss(parts, self._targets, labels)
        if self._recaptures is None or self._colour is None:
            return loss
        again, shades = self._recaptures
        kept = heads_loss(self._heads, self._neck.parts(again), [shades], [self._colour])
        return loss + self._options.recaptured * kept

    def _mixed(self, chosen: Any) -> Any:
        share = float(self._rng.beta(1.0, 1.0))
        other = chosen[torch.randperm(len(chosen))]
        mixture = share * self._photos[chosen] + (1 - share) * self._photos[other]
        truth = [
            share * one_hot(target, chosen) + (1 - share) * one_hot(target, other)
            for target in self._targets
        ]
        parts = self._neck.parts(mixture)
        carried = [
            share * one.truth(chosen) + (1 - share) * one.truth(other) for one in self._several
        ]
        loss = heads_loss(self._heads, parts, truth, self._targets, priors=self._priors)
        return loss + self._labels_loss(parts, carried)

    def _labels_loss(self, parts: dict[str, Any], truth: Sequence[Any]) -> Any:
        shaping = self._options.shaping
        return labels_loss(self._heads, parts, truth, self._several, shaping=shaping)


def _shaded(pairs: Pairs, colour: Target, width: int) -> tuple[Any, Any] | None:
    """Recaptures [P, F + K] of photos that have a colour, as ``fit`` reads photos, and the colours
    [P, C]; None without any."""
    if pairs.places is None:
        return None
    known = colour.labels[pairs.places] >= 0
    if not known.any():
        return None
    again = torch.from_numpy(pairs.recaptures[known].astype(np.float32))
    again = torch.cat([unit(again[:, :width]), again[:, width:]], dim=1)
    return again, one_hot(colour, torch.from_numpy(pairs.places[known]))


def category_temperature(
    logits: Mapping[str, np.ndarray], targets: Sequence[Target], validation_mask: np.ndarray
) -> float:
    """Fit the temperature of the category's softmax on logits of validation photos.

    1 where nothing has a category.
    """
    found = next(
        (target.labels[validation_mask] for target in targets if target.name == CATEGORY), None
    )
    if found is None:
        return 1.0
    return fit_temperature(
        remove_label_smoothing(logits[CATEGORY][found >= 0], LABEL_SMOOTHING), found[found >= 0]
    )


def fit_statistics(
    neck: Neck, photos: Any, pairs: Pairs | None = None, general: Neck | None = None
) -> None:
    """Fit centre, spread and projection of block g, and the statistics of colours.

    By ``general_projection``, or taken from ``general``.
    """
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
        pairs = Pairs(pairs.photos[:, : neck.features], pairs.recaptures[:, : neck.features])
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
    """Fit mean [F], spread and projection [dim, F] of block g from features [N, F].

    The block is ``(unit - mean) / spread @ P.T``. The principal axes of the centred unit features,
    not whitened (worse on held-out photos). With ``pairs``, first the directions in which a photo
    differs from its own recapture are pressed: by the inverse root of the covariance within pairs,
    shrunk towards a sphere (within-class covariance normalisation, Hatch et al. 2006; by photo).
    """
    inputs = unit(torch.from_numpy(np.asarray(features, np.float32))).double()
    mean = inputs.mean(0)
    centred = inputs - mean
    scatter = centred.T @ centred
    press = None
    if pairs is not None and len(pairs.photos):
        first, again = (
            unit(torch.from_numpy(np.asarray(one, np.float32))).double()
            for one in (pairs.photos, pairs.recaptures)
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
    truth: Sequence[Any],
    targets: Sequence[Target],
    *,
    counts: Sequence[float] | None = None,
    priors: Sequence[Any] | None = None,
) -> Any:
    """Sum the heads' cross-entropy on smoothed targets [B, C]; a row of zeros is unlabelled.

    Each head's is the mean over its labelled photos; ``counts`` are their numbers where B is a part
    of a batch only. ``priors`` (``log_priors``) are added to the logits.
    """
    coloured = colour_target(targets)
    total: Any = 0.0
    for number, (target, true) in enumerate(zip(targets, truth, strict=True)):
        own = "c" if target is coloured else "a"
        embedding = torch.cat(
            [part if name == own else part.detach() for name, part in parts.items()], dim=1
        )
        known = true.sum(1, keepdim=True)
        smooth = true * (1 - LABEL_SMOOTHING) + known * LABEL_SMOOTHING / true.shape[1]
        logits = heads(embedding, target.name)
        if priors is not None:
            logits = logits + priors[number].to(logits.device)
        losses = -(smooth * functional.log_softmax(logits, dim=1)).sum(1)
        total = total + losses.sum() / max(
            float(known.sum()) if counts is None else counts[number], 1e-6
        )
    return total


def log_priors(targets: Sequence[Target], pool: np.ndarray, share: float) -> list[Any] | None:
    """Return ``share`` of the log of each value's frequency among the photos ``pool``: [C] a
    target; None of no share.

    Added to the logits while training, they leave to the logits themselves what does not come from
    frequency alone (logit adjustment, Menon et al. 2021). A value without a photo counts as one.
    """
    if not share:
        return None
    found = []
    for target in targets:
        labels = target.labels[pool]
        count = np.bincount(labels[labels >= 0], minlength=len(target.values)).clip(1)
        found.append(torch.from_numpy(share * np.log(count / count.sum())).float())
    return found


def validation_metrics(
    logits: dict[str, np.ndarray],
    targets: Sequence[Target],
    validation_mask: np.ndarray,
    several: Sequence[LabelTarget] = (),
) -> dict[str, Any]:
    """Compute validation figures for the history; nothing by head without labels.

    ``several``: heads of which several labels may be true.
    """
    accuracy: dict[str, float] = {}
    macro: dict[str, float] = {}
    entry: dict[str, Any] = {
        "validation_accuracy": None,
        "validation_nll": None,
        "validation_heads": accuracy,
        "validation_macro_f1": macro,
    }
    for target in targets:
        labels = target.labels[validation_mask]
        known = labels >= 0
        if not known.any():
            continue
        labels, scores = labels[known], logits[target.name][known]
        found = scores.argmax(1)
        accuracy[target.name] = float((found == labels).mean())
        counts = class_counts(labels, found, len(target.values))
        macro[target.name] = float(counts.macro(counts.f1()))
        if target.name == CATEGORY:
            entry["validation_accuracy"] = accuracy[CATEGORY]
            entry["validation_nll"] = negative_log_likelihood(scores, labels)
    if several:
        entry["validation_labels"] = label_metrics(logits, several, validation_mask)
    return entry


def rank_of(entry: Mapping[str, Any], measure: str) -> Rank | None:
    """Rank an entry of a history: mean of the heads' ``measure`` (of ``MEASURES``), then -NLL of
    the category; heads of several labels rank where there are no others. None without labels."""
    by_head = entry[MEASURES[measure]] or entry.get("validation_labels") or {}
    found = list(by_head.values())
    return (float(np.mean(found)), -(entry["validation_nll"] or 0.0)) if found else None


def judged_again(fitted: FittedModel, examples: Examples) -> FittedModel:
    """Judge a model by validation photos shown otherwise: a last entry of its history, and its
    temperature."""
    if not examples.targets and not examples.labels:
        return fitted
    logits = head_logits(fitted, examples.features[examples.validation_mask])
    entry = examples.judge(logits)
    history = [*fitted.history, {**fitted.history[fitted.best_epoch - 1], **entry}]
    temperature = category_temperature(logits, examples.targets, examples.validation_mask)
    return replace(fitted, temperature=temperature, history=history, best_epoch=len(history))


def set_block_weights(fitted: FittedModel, weights: dict[str, float]) -> FittedModel:
    """Set other block weights; the heads' columns are rescaled, so no logit changes."""
    blocks = tuple(replace(block, weight=weights[block.name]) for block in fitted.spec.blocks)
    spec = replace(fitted.spec, blocks=blocks)
    scale = torch.cat(
        [
            torch.full((old.dim,), (old.weight / new.weight) ** 0.5)
            for old, new in zip(fitted.spec.blocks, spec.blocks, strict=True)
        ]
    )
    neck = Neck(spec)
    heads = Heads(spec)
    neck.load_state_dict(fitted.neck.state_dict())
    heads.load_state_dict(fitted.heads.state_dict())
    with torch.no_grad():
        for weight in heads.linear.parameters():
            if weight.ndim == 2:
                weight.mul_(scale)
    return replace(fitted, spec=spec, neck=neck.eval(), heads=heads.eval())


def one_hot(target: Target, chosen: Any) -> Any:
    """Encode what the photos ``chosen`` (int [n]) teach as float32 [n, C]: 1 for the label, or what
    a teacher makes of it; zeros without a label."""
    if target.soft is not None:
        return torch.from_numpy(target.soft)[chosen]
    labels = torch.from_numpy(target.labels)[chosen]
    hot = functional.one_hot(labels.clamp_min(0), len(target.values)).float()
    return hot * (labels >= 0)[:, None]


def head_logits(fitted: FittedModel, features: np.ndarray) -> dict[str, np.ndarray]:
    """Logits of all heads of features [N, F + K]: head name -> float32 [N, C]."""
    return _logits(fitted.neck, fitted.heads, torch.from_numpy(features.astype(np.float32)))


def _logits(neck: Neck, heads: Heads, photos: Any) -> dict[str, np.ndarray]:
    neck.eval()
    with torch.inference_mode():
        return {name: values.numpy() for name, values in heads(neck(photos)).items()}
