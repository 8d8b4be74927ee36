"""Fits a tag rule on tagged products: views, strengths of the evidence, thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product

import numpy as np
from scipy.special import expit

from indexer.model.calibration import softmax
from indexer.model.spec import Block
from indexer.model.tag_rule import TagGroup, TagRule, View
from indexer.tagging.samples import TagSample, keep_best
from indexer.tagging.voting import TagEvidence, exclusive_terms, independent_terms

# Holds strengths to the start where there is little to fit on.
_RIDGE = 0.003
# Products at which a tag's own threshold counts half.
_SHRINK = (10.0, 30.0, 100.0, 300.0)
_FOLDS = 5
# Pairs of product and tag that three strengths are fitted on; of more those of a draw of products.
_PAIRS = 1_000_000


def fit_rule(sample: TagSample, groups: Mapping[str, Sequence[str]]) -> TagRule:
    """Fit the rule of least log-loss on ``sample``, with its thresholds.

    ``groups``: attribute -> its mutually exclusive tags; all other tags are independent.
    """
    number = {tag: place for place, tag in enumerate(sample.tags)}
    fitted = []
    for name, tags in groups.items():
        group = TagGroup(name, tuple(tag for tag in tags if tag in number))
        places = np.array([number[tag] for tag in group.tags], np.int64)
        fitted.append(_fit_part(sample, group, places, _fit_exclusive))
    counts = dict(zip(sample.tags, sample.seen.astype(int).tolist(), strict=True))
    rule = TagRule(tuple(fitted), TagGroup(), counts, sample.voters.shape[0])
    left = sample.places(rule)[-1]
    if sample.actual[:, left].any():
        rule = replace(rule, rest=_fit_part(sample, rule.rest, left, _fit_independent))
    return fit_thresholds(sample, rule)


def fit_thresholds(sample: TagSample, rule: TagRule) -> TagRule:
    """Fit the threshold of best micro-F1 on ``sample``, and each tag's own shrunk towards it.

    A tag with n positives has n / (n + m) of its own. m is taken by cross-validation: of those that
    give no less micro-F1 than the one threshold for all, the one with the best macro-F1; where
    there is none, all tags share one.
    """
    confidence = keep_best(sample.confidence(rule), sample.places(rule)[:-1])
    bar = best_threshold(sample.actual, confidence)
    if bar is None:
        return rule
    shared_micro, shared_macro = _cross_validated_f1(sample.actual, confidence, bar, None)
    tried: list[tuple[float, float]] = []
    for strength in _SHRINK:
        micro, macro = _cross_validated_f1(sample.actual, confidence, bar, strength)
        if micro >= shared_micro:
            tried.append((macro, strength))
    if not tried or max(tried)[0] <= shared_macro:
        return replace(rule, threshold=bar, thresholds={})
    bars = _shrunk_thresholds(sample.actual, confidence, bar, max(tried)[1])
    own = {tag: float(value) for tag, value in zip(sample.tags, bars, strict=True) if value != bar}
    return replace(rule, threshold=bar, thresholds=own)


def _cross_validated_f1(
    actual: np.ndarray, confidence: np.ndarray, bar: float, strength: float | None
) -> tuple[float, float]:
    """Return (micro, macro) F1 of thresholds learned on the other folds; ``bar`` where none is."""
    fold = np.random.default_rng(0).integers(0, _FOLDS, len(confidence))
    suggested = np.zeros(confidence.shape, bool)
    for number in range(_FOLDS):
        learn = fold != number
        check = fold == number
        shared = best_threshold(actual[learn], confidence[learn])
        bars = _shrunk_thresholds(
            actual[learn], confidence[learn], bar if shared is None else shared, strength
        )
        suggested[check] = (confidence[check] >= bars) & (confidence[check] > 0)
    return f1_scores(actual, suggested)


def best_threshold(actual: np.ndarray, confidence: np.ndarray) -> float | None:
    """Find the one threshold of best micro-F1 over [P, T]; None where no tag is true.

    It is the midpoint between two confidences. Exact: every distinct confidence is tried.
    """
    total = int(actual.sum())
    if total == 0:
        return None
    order = np.argsort(-confidence, axis=None, kind="stable")
    values = confidence.ravel()[order]
    hits = np.cumsum(actual.ravel()[order])
    # The last pair of each distinct confidence.
    last = np.flatnonzero(np.append(values[1:] < values[:-1], True))
    last = last[values[last] > 0]
    if len(last) == 0:
        return None
    f1 = 2 * hits[last] / (last + 1 + total)
    best = int(last[int(np.argmax(f1))])
    below = values[best + 1] if best + 1 < len(values) else 0.0
    return float((values[best] + below) / 2)


def f1_scores(actual: np.ndarray, suggested: np.ndarray) -> tuple[float, float]:
    """Return (micro, macro) F1 of bool [P, T]; macro over tags with a positive."""
    hits = (actual & suggested).sum(0)
    total = actual.sum(0) + suggested.sum(0)
    f1 = 2 * hits / np.maximum(total, 1)
    present = actual.any(0)
    micro = float(2 * hits.sum() / max(total.sum(), 1))
    return micro, float(f1[present].mean()) if present.any() else 0.0


def _shrunk_thresholds(
    actual: np.ndarray, confidence: np.ndarray, bar: float, strength: float | None
) -> np.ndarray:
    """Return thresholds [T]: ``bar``, moved n / (n + ``strength``) of the way to each tag's best.

    None moves none.
    """
    bars = np.full(actual.shape[1], bar)
    for place in np.flatnonzero(actual.any(0)) if strength is not None else ():
        own = best_threshold(actual[:, [place]], confidence[:, [place]])
        positives = int(actual[:, place].sum())
        if own is not None:
            bars[place] += positives / (positives + float(strength or 0.0)) * (own - bar)
    return bars


def _views(blocks: Sequence[Block]) -> list[View]:
    """List the views to try: as search weighs blocks, and every set of blocks in equal parts."""
    names = [block.name for block in blocks if block.weight > 0]
    if len(names) < 2:
        return [{}]
    views: list[View] = [{}]
    for count in range(1, len(names) + 1):
        views += [dict.fromkeys(chosen, 1 / count) for chosen in combinations(names, count)]
    return views


_Fit = Callable[[TagEvidence, np.ndarray, TagGroup], tuple[float, TagGroup]]


def _fit_part(sample: TagSample, part: TagGroup, places: np.ndarray, fit: _Fit) -> TagGroup:
    """Choose the view first, then k, temperature and crowding, by least log-loss.

    The strengths are fitted for each option.
    """
    truth = sample.actual[:, places]

    def choose(options: Sequence[TagGroup]) -> TagGroup:
        found = [fit(sample.evidence(option, places), truth, option) for option in options]
        return min(found, key=lambda entry: entry[0])[1]

    # Crowded as it will mostly end up, so that the view is not chosen by how many hubs it has.
    start = replace(part, k=20, temperature=0.05, crowding=0.25)
    viewed = choose([replace(start, view=view) for view in _views(sample.blocks)])
    grid = product((20, 40), (0.03, 0.05, 0.1), (0.0, 0.25, 0.5))
    return choose(
        [replace(viewed, k=k, temperature=t, crowding=crowding) for k, t, crowding in grid]
    )


def _fit_exclusive(
    evidence: TagEvidence, truth: np.ndarray, group: TagGroup
) -> tuple[float, TagGroup]:
    """Fit the strengths of mutually exclusive tags: (log-loss per product, ``group`` with them).

    Products with exactly one of the tags count.
    """
    from scipy.optimize import minimize  # slow to load, and serving does without

    one = truth.sum(1) == 1
    headed = bool(evidence.known.any())
    start = np.array([0.7 if headed else 0.0, 0.3 if headed else 1.0, 0.0])
    free = np.array([headed, True, True])
    if not one.any():
        return np.inf, replace(group, head=float(start[0]), vote=float(start[1]))
    terms = exclusive_terms(evidence)[:, one]
    right = truth[one].argmax(1)
    rows = np.arange(len(right))

    def loss(strength: np.ndarray) -> tuple[float, np.ndarray]:
        given = softmax(np.tensordot(strength, terms, 1))
        pull = strength - start
        target = terms[:, rows, right].mean(1)
        slope = (terms * given).sum(2).mean(1) - target + 2 * _RIDGE * pull
        missed = -np.log(np.maximum(given[rows, right], 1e-12)).mean()
        return float(missed + _RIDGE * (pull**2).sum()), slope * free

    found = minimize(
        loss, start, jac=True, bounds=[(0, None), (0, None), (None, None)], method="L-BFGS-B"
    )
    head, vote, prior = (float(value) for value in found.x)
    return float(found.fun), replace(group, head=head, vote=vote, prior=prior)


def _fit_independent(
    evidence: TagEvidence, truth: np.ndarray, rest: TagGroup
) -> tuple[float, TagGroup]:
    """Fit the strengths of independent tags: (log-loss per product, ``rest`` with them).

    Logistic regression over all pairs that anything is said of (Platt).
    """
    from scipy.optimize import minimize  # slow to load, and serving does without

    about = (evidence.shares > 0) | evidence.known
    # What nothing was said of cannot be suggested; as many misses of it cost each option alike at
    # this bound.
    silent = -np.log(0.01) * truth[~about].sum() / len(truth)
    if (pairs := int(about.sum())) > _PAIRS:
        drawn = _draw(len(truth), _PAIRS / pairs)
        evidence, truth, about = evidence.of(drawn), truth[drawn], about[drawn]
    headed = bool(evidence.known.any())
    start = np.array([0.5 if headed else 0.0, 0.5 if headed else 1.0, 0.0])
    free = np.array([headed, True, True])
    terms = independent_terms(evidence)[:, about]
    right = truth[about].astype(np.float64)
    if not right.any():
        return np.inf, replace(rest, head=float(start[0]), vote=float(start[1]))
    terms = np.concatenate([terms, np.ones((1, terms.shape[1]))])

    def loss(strength: np.ndarray) -> tuple[float, np.ndarray]:
        odds = strength @ terms
        pull = strength - start
        missed = np.logaddexp(0.0, odds) - right * odds
        slope = terms @ (expit(odds) - right) / len(truth) + 2 * _RIDGE * pull
        return float(missed.sum() / len(truth) + _RIDGE * (pull**2).sum()), slope * free

    found = minimize(
        loss, start, jac=True, bounds=[(0, None), (0, None), (None, None)], method="L-BFGS-B"
    )
    head, vote, bias = (float(value) for value in found.x)
    return float(found.fun + silent), replace(rest, head=head, vote=vote, bias=bias)


def _draw(count: int, share: float) -> np.ndarray:
    """Places of a share of ``count`` products, always the same ones; one at least."""
    order = np.random.default_rng(0).permutation(count)
    return np.sort(order[: max(int(share * count), 1)])
