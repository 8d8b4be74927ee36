"""Fits how tags are told from products whose tags are known: views, strengths of the evidence,
thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from scipy.special import expit

from indexer.model.calibration import probabilities
from indexer.model.spec import Block
from indexer.model.tag_rule import TagColumn, TagRule, View
from indexer.tagging.samples import TagSample, allowed
from indexer.tagging.voting import TagEvidence, column_evidence, rest_evidence

_RIDGE = 0.003  # holds strengths to the start where there is little to fit on
_SHRINK = (10.0, 30.0, 100.0, 300.0)  # products at which a tag's own threshold counts half
_FOLDS = 5


def fit_rule(sample: TagSample, columns: Mapping[str, Sequence[str]]) -> TagRule:
    """The rule of least log-loss on ``sample``, with its thresholds; tags in no column are the
    rest."""
    number = {tag: place for place, tag in enumerate(sample.tags)}
    fitted = []
    for name, tags in columns.items():
        column = TagColumn(name, tuple(tag for tag in tags if tag in number))
        fitted.append(
            _fit_part(
                sample,
                column,
                np.array([number[tag] for tag in column.tags], np.int64),
                _fit_column,
            )
        )
    counts = dict(zip(sample.tags, sample.seen.astype(int).tolist(), strict=True))
    rule = TagRule(tuple(fitted), TagColumn(), counts, sample.voters.shape[0])
    left = sample.places(rule)[-1]
    if sample.actual[:, left].any():
        rule = replace(rule, rest=_fit_part(sample, rule.rest, left, _fit_rest))
    return fit_thresholds(sample, rule)


def fit_thresholds(sample: TagSample, rule: TagRule) -> TagRule:
    """``rule`` with the threshold of best micro-F1 on ``sample``, and each tag's own shrunk towards
    it.

    A tag with n positives has n / (n + m) of its own. m is taken by cross-validation: of those that
    give no less micro-F1 than the one threshold for all, the one with the best macro-F1; where
    there is none, all tags share one.
    """
    confidence = allowed(sample.confidence(rule), sample.places(rule)[:-1])
    bar = best_threshold(sample.actual, confidence)
    if bar is None:
        return rule
    fold = np.random.default_rng(0).integers(0, _FOLDS, len(confidence))

    def judged(strength: float | None) -> tuple[float, float]:
        said = np.zeros(confidence.shape, bool)
        for number in range(_FOLDS):
            learn, check = fold != number, fold == number
            shared = best_threshold(sample.actual[learn], confidence[learn])
            bars = _shrunk(
                sample.actual[learn], confidence[learn], bar if shared is None else shared, strength
            )
            said[check] = (confidence[check] >= bars) & (confidence[check] > 0)
        return f1_scores(sample.actual, said)

    plain = judged(None)
    tried = [
        (macro, strength)
        for strength in _SHRINK
        for micro, macro in [judged(strength)]
        if micro >= plain[0]
    ]
    if not tried or max(tried)[0] <= plain[1]:
        return replace(rule, threshold=bar, thresholds={})
    bars = _shrunk(sample.actual, confidence, bar, max(tried)[1])
    own = {tag: float(value) for tag, value in zip(sample.tags, bars, strict=True) if value != bar}
    return replace(rule, threshold=bar, thresholds=own)


def best_threshold(actual: np.ndarray, confidence: np.ndarray) -> float | None:
    """The one threshold of best micro-F1 over [P, T]; the midpoint between two confidences. None
    where no tag is true.

    Exact: every distinct confidence is tried.
    """
    total = int(actual.sum())
    if total == 0:
        return None
    order = np.argsort(-confidence, axis=None, kind="stable")
    values, hits = confidence.ravel()[order], np.cumsum(actual.ravel()[order])
    last = np.flatnonzero(
        np.append(values[1:] < values[:-1], True)
    )  # the last pair of each distinct confidence
    last = last[values[last] > 0]
    if len(last) == 0:
        return None
    f1 = 2 * hits[last] / (last + 1 + total)
    best = int(last[int(np.argmax(f1))])
    below = values[best + 1] if best + 1 < len(values) else 0.0
    return float((values[best] + below) / 2)


def f1_scores(actual: np.ndarray, said: np.ndarray) -> tuple[float, float]:
    """(micro, macro) F1 of bool [P, T]; macro over tags with a positive."""
    hits, total = (actual & said).sum(0), actual.sum(0) + said.sum(0)
    f1 = 2 * hits / np.maximum(total, 1)
    present = actual.any(0)
    return float(2 * hits.sum() / max(total.sum(), 1)), float(
        f1[present].mean()
    ) if present.any() else 0.0


def _shrunk(
    actual: np.ndarray, confidence: np.ndarray, bar: float, strength: float | None
) -> np.ndarray:
    """Thresholds [T]: ``bar``, moved n / (n + ``strength``) of the way to each tag's own best one;
    None: not moved."""
    bars = np.full(actual.shape[1], bar)
    for place in np.flatnonzero(actual.any(0)) if strength is not None else ():
        own = best_threshold(actual[:, [place]], confidence[:, [place]])
        positives = int(actual[:, place].sum())
        if own is not None:
            bars[place] += positives / (positives + float(strength or 0.0)) * (own - bar)
    return bars


def _views(blocks: Sequence[Block]) -> list[View]:
    """As search has it, and every set of blocks in equal parts."""
    names = [block.name for block in blocks if block.weight > 0]
    if len(names) < 2:
        return [{}]
    sets = [chosen for count in range(1, len(names) + 1) for chosen in combinations(names, count)]
    return [{}, *({name: 1 / len(chosen) for name in chosen} for chosen in sets)]


_Fit = Callable[[TagEvidence, np.ndarray, TagColumn], tuple[float, TagColumn]]


def _fit_part(sample: TagSample, part: TagColumn, places: np.ndarray, fit: _Fit) -> TagColumn:
    """The view first, then k, temperature and crowding: whatever leaves least log-loss with the
    strengths fitted."""
    truth = sample.actual[:, places]

    def tried(options: Sequence[TagColumn]) -> TagColumn:
        found = [fit(sample.said(option, places), truth, option) for option in options]
        return min(found, key=lambda entry: entry[0])[1]

    # Crowded as it will mostly end up, so that the view is not chosen by how many hubs it has.
    start = replace(part, k=20, temperature=0.05, crowding=0.25)
    seen_by = tried([replace(start, view=view) for view in _views(sample.blocks)])
    grid = [
        (k, t, crowding)
        for k in (20, 40)
        for t in (0.03, 0.05, 0.1)
        for crowding in (0.0, 0.25, 0.5)
    ]
    return tried(
        [replace(seen_by, k=k, temperature=t, crowding=crowding) for k, t, crowding in grid]
    )


def _fit_column(said: TagEvidence, truth: np.ndarray, column: TagColumn) -> tuple[float, TagColumn]:
    """Log-loss per product, and ``column`` with the strengths of least loss over products that have
    one value."""
    from scipy.optimize import minimize  # slow to load, and serving does without

    one = truth.sum(1) == 1
    headed = bool(said.known.any())
    start = np.array([0.7 if headed else 0.0, 0.3 if headed else 1.0, 0.0])
    free = np.array([headed, True, True])
    if not one.any():
        return np.inf, replace(column, head=float(start[0]), vote=float(start[1]))
    evidence, right = column_evidence(said)[:, one], truth[one].argmax(1)
    rows = np.arange(len(right))

    def loss(strength: np.ndarray) -> tuple[float, np.ndarray]:
        chance = probabilities(np.tensordot(strength, evidence, 1))
        pull = strength - start
        wanted = evidence[:, rows, right].mean(1)
        slope = (evidence * chance).sum(2).mean(1) - wanted + 2 * _RIDGE * pull
        missed = -np.log(np.maximum(chance[rows, right], 1e-12)).mean()
        return float(missed + _RIDGE * (pull**2).sum()), slope * free

    found = minimize(
        loss, start, jac=True, bounds=[(0, None), (0, None), (None, None)], method="L-BFGS-B"
    )
    head, vote, prior = (float(value) for value in found.x)
    return float(found.fun), replace(column, head=head, vote=vote, prior=prior)


def _fit_rest(said: TagEvidence, truth: np.ndarray, rest: TagColumn) -> tuple[float, TagColumn]:
    """The same for tags that exclude nothing: logistic regression over all pairs that anything is
    said of (Platt)."""
    from scipy.optimize import minimize  # slow to load, and serving does without

    about = (said.shares > 0) | said.known
    headed = bool(said.known.any())
    start = np.array([0.5 if headed else 0.0, 0.5 if headed else 1.0, 0.0])
    free = np.array([headed, True, True])
    evidence, right = rest_evidence(said)[:, about], truth[about].astype(np.float64)
    if not right.any():
        return np.inf, replace(rest, head=float(start[0]), vote=float(start[1]))
    evidence = np.concatenate([evidence, np.ones((1, evidence.shape[1]))])

    def loss(strength: np.ndarray) -> tuple[float, np.ndarray]:
        odds = strength @ evidence
        pull = strength - start
        missed = np.logaddexp(0.0, odds) - right * odds
        slope = evidence @ (expit(odds) - right) / len(truth) + 2 * _RIDGE * pull
        return float(missed.sum() / len(truth) + _RIDGE * (pull**2).sum()), slope * free

    found = minimize(
        loss, start, jac=True, bounds=[(0, None), (0, None), (None, None)], method="L-BFGS-B"
    )
    head, vote, bias = (float(value) for value in found.x)
    # What nothing was said of cannot be suggested; as many misses of it cost each option alike at
    # this bound.
    silent = -np.log(0.01) * truth[~about].sum() / len(truth)
    return float(found.fun + silent), replace(rest, head=head, vote=vote, bias=bias)
