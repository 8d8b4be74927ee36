"""Open-set rejection of photos of unknown kinds: a score, a rule, and the fit of the rule.

Four signals, each lower for what is unknown. Energy: log-sum-exp of class logits (Liu et al.
2020). Direction: the cosine of the centred logits to those of the training photos most like it, so
that a photo that resembles two classes in a way no known one does stands out. Closeness: the mean
cosine to the k nearest photos, in the general block. Typicality: how far the block lies from the
mean of all training photos, counted in their spread along each axis (the Mahalanobis distance of
Lee et al. 2018 with one kind and a diagonal), which pictures of no product at all exceed.

In catalogs of some size ``local_outlier.local_closeness`` takes the place of the closeness: a rule
with ``local_mix`` says how the signals count then, and the index build fits the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from indexer.classification.local_outlier import (
    NEIGHBOURS,
    Neighbourhood,
    local_closeness,
    nearest_cosines,
)
from indexer.core.vectors import unit_rows

FALSE_ALARMS = 0.05
# Numbers of the probe, and of the sample of directions, that a rule may hold.
_MAX_NUMBERS = 65_536
_DIRECTIONS = 512
_NEAR_DIRECTIONS = 5
# Of the cross-validation on classes held out.
_MAX_PHOTOS = 3000
_MAX_CLASSES = 100
_MAX_ROUNDS = 10
# Least share of the mean variance in the variance along an axis.
_SHRINKAGE = 0.1
_MIXES = [mix for mix in product((0.0, 1.0), (0.0, 1.0, 2.0), (0.0, 1.0)) if any(mix)]
# Of the probe, which reads unit rows times the scale.
_SCALE = 16.0
_DECAY = 0.03
_STEPS = 30
_CHUNK = 512

Rule = Mapping[str, Any]


def energy(logits: np.ndarray) -> np.ndarray:
    """Compute log sum exp over the last axis of [..., C]."""
    values = np.asarray(logits, np.float64)
    highest = values.max(axis=-1)
    return np.asarray(highest + np.log(np.exp(values - highest[..., None]).sum(axis=-1)))


def rule_logits(vectors: np.ndarray, logits: np.ndarray, rule: Rule) -> np.ndarray:
    """Return the logits [..., C] that the rule reads: its own probe's, else the category head's.

    ``vectors``: embeddings [..., D].
    """
    if "weights" not in rule:
        return logits
    start, stop = rule["columns"]
    return np.asarray(
        np.asarray(vectors)[..., start:stop] @ np.asarray(rule["weights"]).T
        + np.asarray(rule["bias"])
    )


def unknown_score(
    logits: np.ndarray,
    nearest: np.ndarray | float,
    rule: Rule,
    typical: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Score how unlike all known classes photos are; above ``rule["threshold"]`` is unknown.

    ``logits`` [..., C]: see ``rule_logits``. ``nearest`` [...]: mean cosine to the ``rule["k"]``
    nearest photos within ``rule["columns"]`` (see ``closeness``), or, where a catalog's build
    measured how near its products lie, their ``local_closeness``; it is not read where
    ``rule["mix"][2]`` is 0. ``typical`` [...]: see ``typicality``; rules from before it do not read
    it.
    """
    signals = rule_signals(logits, nearest, rule, typical)
    parts = zip(signals, rule["mean"], rule["spread"], rule["mix"], strict=True)
    return np.asarray(
        sum(share * (mean - signal) / spread for signal, mean, spread, share in parts if share)
    )


def rule_signals(
    logits: np.ndarray,
    nearest: np.ndarray | float,
    rule: Rule,
    typical: np.ndarray | float = 0.0,
) -> tuple[np.ndarray, ...]:
    """Compute the signals [...] of a rule, each lower for what is unknown."""
    found = (
        energy(logits),
        _direction(logits, np.asarray(rule["directions"])),
        np.asarray(nearest, np.float64),
        np.asarray(typical, np.float64),
    )
    return found[: len(rule["mix"])]


def typicality(vectors: np.ndarray, rule: Rule) -> np.ndarray:
    """Compute how typical embeddings [N, D] are of the training photos: [N], 0 at their mean.

    Minus the mean over the block's axes of the squared distance to the mean over the variance; 0
    everywhere for a rule from before it.
    """
    if "centre" not in rule:
        return np.zeros(len(vectors))
    block = unit_rows(np.asarray(vectors, np.float64)[:, slice(*rule["columns"])])
    apart = (block - np.asarray(rule["centre"])) ** 2 / np.asarray(rule["variance"])
    return np.asarray(-apart.mean(axis=1))


def is_unknown(
    logits: np.ndarray, nearest_score: float, rule: Rule | None, typical: float = 0.0
) -> bool:
    """Return whether one photo is of no known class; never without a rule."""
    if not rule:
        return False
    return bool(unknown_score(logits, nearest_score, rule, typical) > rule["threshold"])


def closeness(
    queries: np.ndarray, gallery: np.ndarray, block: slice, k: int = NEIGHBOURS
) -> np.ndarray:
    """Compute the mean cosine [Q] of embeddings [Q, D] to the k nearest of [G, D], in one block."""
    asked = unit_rows(queries[:, block])
    known = unit_rows(gallery[:, block])
    k = min(k, len(known))
    out = np.zeros(len(asked))
    for at in range(0, len(asked), _CHUNK):
        cosines = asked[at : at + _CHUNK] @ known.T
        out[at : at + _CHUNK] = np.partition(cosines, -k, axis=1)[:, -k:].mean(1)
    return out


def auroc(above: np.ndarray, below: np.ndarray) -> float:
    """Return the probability that a score of ``above`` exceeds one of ``below``, ties half.

    That is the area under the ROC curve.

    >>> auroc(np.array([3.0, 1.0]), np.array([2.0, 0.0]))
    0.75
    """
    _, place, count = np.unique(
        np.concatenate([above, below]), return_inverse=True, return_counts=True
    )
    # Ties share the mean of their ranks, which count from 1.
    ranks = (np.cumsum(count) - (count - 1) / 2)[place[: len(above)]]
    return float((ranks.sum() - len(above) * (len(above) + 1) / 2) / (len(above) * len(below)))


def fit_unknown(
    train: np.ndarray,
    labels: np.ndarray,
    validation: np.ndarray,
    logits: np.ndarray,
    *,
    general: slice,
    seed: int = 0,
    false_alarms: float = FALSE_ALARMS,
) -> dict[str, Any] | None:
    """Fit the rule of a model, plain numbers that JSON holds.

    ``train`` float32 [N, D] unit vectors as search has them, ``labels`` int [N] class indices;
    ``validation`` [M, D] and ``logits`` [M, C] (category head): validation photos of known classes.
    ``general``: the block that no label shaped. Which signals count, and how much, is decided by
    cross-validation over classes: training classes are held out in turn and all that learns from
    labels is fitted again without them. The threshold gives ``false_alarms`` on ``validation``.
    None without validation photos or below three classes.
    """
    if len(validation) == 0 or len(np.unique(labels)) < 3:
        return None
    rng = np.random.default_rng(seed)
    classes = logits.shape[1]
    block = unit_rows(train[:, general])
    rule: dict[str, Any] = {
        "columns": [int(general.start), int(general.stop)],
        "k": NEIGHBOURS,
        "false_alarms": false_alarms,
    }
    rule.update(_choose_mix(block, labels, rng))
    learned = np.zeros((0, classes))
    if classes * block.shape[1] <= _MAX_NUMBERS:
        weights, bias = _probe(block, labels, classes)
        # Length of the block: the root of its weight, the same in all rows.
        length = float(np.linalg.norm(train[0, general]))
        rule.update(weights=_short(weights / length), bias=_short(bias))
        chosen = rng.permutation(len(train))[: min(_DIRECTIONS, _MAX_NUMBERS // classes)]
        learned = _centred(rule_logits(train[chosen], logits[:0], rule))
        logits = rule_logits(validation, logits, rule)
    else:  # too many classes for a probe: the head's energy, and closeness
        rule["mix"] = rule["local_mix"] = [1.0, 0.0, 1.0]
    rule["directions"] = _short(learned)
    rule.update(_typical(block))
    # No class held out shows what is no product at all, so this counts as the mean of the others.
    for mix in ("mix", "local_mix"):
        rule[mix] = [*rule[mix], round(sum(rule[mix]) / 3, 4)]
    near, typical = closeness(validation, train, general), typicality(validation, rule)
    signals = rule_signals(logits, near, rule, typical)
    rule["mean"] = [float(signal.mean()) for signal in signals]
    rule["spread"] = [float(max(signal.std(), 1e-6)) for signal in signals]
    score = unknown_score(logits, near, rule, typical)
    rule["threshold"] = float(np.quantile(score, 1 - false_alarms))
    if "weights" in rule:
        rule["taught_alarms"] = _taught_alarms(train, rule, rng)
    return rule


def _typical(block: np.ndarray) -> dict[str, Any]:
    """Fit the mean and the variance along each axis of unit rows [N, G].

    The variance is shrunk towards its mean, the more the fewer rows there are for an axis.
    """
    variance = block.var(axis=0, dtype=np.float64)
    shrinkage = float(np.clip(block.shape[1] / len(block), _SHRINKAGE, 1))
    variance = (1 - shrinkage) * variance + shrinkage * max(float(variance.mean()), 1e-9)
    return {
        "centre": _short(block.mean(axis=0, dtype=np.float64), 6),
        "variance": [float(f"{one:.4g}") for one in variance],
    }


def _taught_alarms(train: np.ndarray, rule: Rule, rng: np.random.Generator) -> float:
    """Measure the share of training photos [N, D] above the threshold, each judged without itself.

    It is less than the share of others, since the probe has seen them; at least half of it.
    """
    asked = rng.permutation(len(train))[:_MAX_PHOTOS]
    k = min(NEIGHBOURS, len(train) - 1)
    block = slice(*rule["columns"])
    # The nearest of all is the photo itself.
    near = ((k + 1) * closeness(train[asked], train, block, k + 1) - 1) / max(k, 1)
    logits, typical = rule_logits(train[asked], np.empty(0), rule), typicality(train[asked], rule)
    score = unknown_score(logits, near, rule, typical)
    alarms = float((score > rule["threshold"]).mean())
    return float(np.clip(alarms, rule["false_alarms"] / 2, rule["false_alarms"]))


def _choose_mix(block: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Choose the ``mix`` of signals that tells classes held out in turn, and how well (``auroc``).

    ``local_mix`` is the same with the local closeness in place of the closeness. ``block`` [N, G]:
    unit rows that no label shaped, so that a class held out has left no trace in them.
    """
    scored: list[list[list[float]]] = [[], []]
    for fit, known, unknown in _rounds(labels, rng):
        names, fit_labels = np.unique(labels[fit], return_inverse=True)
        weights, bias = _probe(block[fit], fit_labels, len(names))
        asked = np.concatenate([known, unknown])
        logits = block[asked] @ weights.T + bias
        learned = _centred(block[fit] @ weights.T + bias)[:_DIRECTIONS]
        both = (energy(logits), _direction(logits, learned))
        near = closeness(block[asked], block[fit], slice(0, block.shape[1]))
        local = local_closeness(block[asked], _neighbourhood(block[fit]))
        for rounds, third in zip(scored, (near, local), strict=True):
            rounds.append(
                _told(np.stack([_standard(s, len(known)) for s in (*both, third)]), known)
            )
    (mix, told), (local_mix, _) = map(_best_mix, scored)
    return {"mix": mix, "auroc": told, "local_mix": local_mix}


def _told(signals: np.ndarray, known: np.ndarray) -> list[float]:
    """Compute the AUROC of each of ``_MIXES`` of signals [3, Q] whose first are of ``known``."""
    scores = -(np.array(_MIXES) @ signals)
    return [auroc(score[len(known) :], score[: len(known)]) for score in scores]


def _best_mix(rounds: list[list[float]]) -> tuple[list[float], float | None]:
    """Choose by the AUROC of each of ``_MIXES`` in each round; also its mean.

    All signals alike, unless another mix is better by more than its standard error over the rounds.
    """
    alike = _MIXES.index((1.0, 1.0, 1.0))
    if not rounds:
        return list(_MIXES[alike]), None
    told = np.array(rounds)
    best = int(told.mean(0).argmax())
    gain = told[:, best] - told[:, alike]
    if len(gain) < 2 or gain.mean() <= gain.std(ddof=1) / np.sqrt(len(gain)):
        best = alike
    return list(_MIXES[best]), float(told[:, best].mean())


def _neighbourhood(block: np.ndarray) -> Neighbourhood:
    numbers = np.arange(len(block))
    own = nearest_cosines(block, block, numbers, min(NEIGHBOURS, len(block) - 1)).mean(1)
    return Neighbourhood(numbers, block, own)


def _rounds(
    labels: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (fit, known, unknown) photo numbers.

    Unknown ones are of classes held out; a fifth of all others are known but not fitted on.
    """
    names, counts = np.unique(labels, return_counts=True)
    usable = names[counts >= 2] if (counts >= 2).sum() >= 3 else names
    usable = rng.permutation(usable)[:_MAX_CLASSES]
    photos = rng.permutation(np.flatnonzero(np.isin(labels, usable)))[:_MAX_PHOTOS]
    for out in np.array_split(usable, min(_MAX_ROUNDS, len(usable))):
        left_out = np.isin(labels[photos], out)
        others = photos[~left_out]
        fifth = max(len(others) // 5, 1)
        fit = others[fifth:]
        known = others[:fifth][np.isin(labels[others[:fifth]], labels[fit])]
        if left_out.any() and len(known) and len(np.unique(labels[fit])) >= 2:
            yield fit, known, photos[left_out]


def _probe(block: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Fit a ridge-penalised softmax regression on unit rows [N, G]: weights [C, G], bias [C]."""
    from scipy.optimize import minimize  # slow to load, and serving does without

    inputs = np.ascontiguousarray(block, np.float32) * np.float32(_SCALE)
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    width = inputs.shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat[: classes * width].reshape(classes, width).astype(np.float32)
        logits = inputs @ weights.T + flat[classes * width :].astype(np.float32)
        logits -= logits.max(1, keepdims=True)
        odds = np.exp(logits)
        total = odds.sum(1, keepdims=True)
        missed = (np.log(total[:, 0]) - (logits * one_hot).sum(1)).mean()
        value = float(missed + _DECAY / 2 * (weights**2).sum())
        slope = (odds / total - one_hot) / len(inputs)
        gradient = np.concatenate([(slope.T @ inputs + _DECAY * weights).ravel(), slope.sum(0)])
        return value, gradient.astype(np.float64)

    start = np.zeros(classes * (width + 1))
    # Hundreds of small products: on two BLAS threads they took eight times as long as on one.
    with threadpool_limits(1, user_api="blas"):
        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x
    return found[: classes * width].reshape(classes, width) * _SCALE, found[classes * width :]


def _direction(logits: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Compute the mean cosine [...] of centred logits [..., C] to the nearest few known ones.

    ``known``: unit rows [P, C]; 0 where there are none.
    """
    if known.size == 0:
        return np.zeros(np.shape(logits)[:-1])
    few = min(_NEAR_DIRECTIONS, len(known))
    cosines = _centred(logits) @ known.T
    return np.asarray(np.partition(cosines, -few, axis=-1)[..., -few:].mean(-1))


def _centred(logits: np.ndarray) -> np.ndarray:
    return unit_rows(logits - np.mean(logits, axis=-1, keepdims=True))


def _standard(signal: np.ndarray, known: int) -> np.ndarray:
    """Centre and scale a signal by its first ``known`` values."""
    return np.asarray((signal - signal[:known].mean()) / max(float(signal[:known].std()), 1e-6))


def _short(values: np.ndarray, places: int = 4) -> list[Any]:
    """Round to a few decimals: what a rule decides does not hang on more."""
    rounded: list[Any] = np.round(np.asarray(values, np.float64), places).tolist()
    return rounded
