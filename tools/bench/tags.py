"""Benchmark ``tags``: suggested tags of a catalog with known ones; worth of each part.

``CATALENS_BENCH_MODELS``: a folder of ready models, named as for ``bench train``
(``fashion-finetune-0``); one found there is not trained again. Its rule is fitted anew on
validation, as training fits it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from indexer.evaluation.evaluate import evaluation_photos, frozen_photos
from indexer.evaluation.tag_metrics import heads_only, sample_by, tag_figures, votes_only
from indexer.model.bundle import load_bundle
from indexer.model.calibration import pair_calibration_error
from indexer.model.open_runtime import open_embedder
from indexer.model.tag_rule import TagRule, View
from indexer.tagging.fit import best_threshold, f1_scores, fit_rule, fit_thresholds
from indexer.tagging.samples import Neighbours, TagSample
from indexer.training.feature_cache import photo_features
from indexer.training.problem import find_leaks, read_trained
from indexer.training.tag_samples import TaggedPhotos, fit_tags, tag_columns
from tools.bench.harness.framework import BenchRow, Goal, figure, real_data
from tools.bench.spine import catalens
from tools.output import log

PARTS = ("finetune", "linear")
DATA, SEED = "fashion", 0

GOALS = (
    Goal("fashion tags, micro-F1", ">=", 0.825, figure("finetune", "f1")),
    Goal("fashion tags, macro-F1", ">=", 0.55, figure("finetune", "macro_f1")),
    Goal("fashion tags, votes only, micro-F1", ">=", 0.81, figure("finetune", "votes_only_f1")),
)


def measure(part: str, work: Path) -> BenchRow:
    """Tags of test photos by the recipe's model; the rule is fitted on validation photos, the train
    photos vote.

    ``parts``: micro- and macro-F1 and ECE on validation with one part of the rule taken away;
    fitted on one half of the validation products, judged on the other, both ways. ``at_build``:
    test figures with thresholds fitted as an index build of the train photos does, leaving one
    product out. ``ece`` is over product-tag pairs of 1% and more.
    """
    log(f"bench tags: {part}")
    data = real_data(DATA)
    bundle = load_bundle(ready_model(part, data, work))
    embedder = open_embedder(bundle)
    problem = read_trained(data, bundle.training)
    features = photo_features(problem.rows, embedder)
    split = np.array([problem.split[row.product_id] for row in features.rows])
    chosen = {name: split == name for name in ("train", "validation", "test")}
    leaked = find_leaks(split, features.pixels, np.zeros(len(split))).leaked
    sets = {
        name: evaluation_photos(features, embedder, mine, leaked=leaked)
        for name, mine in chosen.items()
    }
    columns = tag_columns(sets["train"].rows)
    plain = replace(bundle.decision, tag_rule=None)
    held = sample_by(embedder, plain, sets, "validation")
    rule, _ = fit_tags(held, columns)
    if held is None or rule is None:
        raise RuntimeError(f"{data} has no tags")
    decision = replace(bundle.decision, tag_rule=rule)

    def frozen() -> dict[str, TaggedPhotos]:
        before = frozen_photos(bundle, features, chosen, "auto", None)
        return {name: replace(one, leaked=leaked[chosen[name]]) for name, one in before.items()}

    values = tag_figures(embedder, decision, sets, "test", frozen)[0].values["tags"]
    tested, trained = (sample_by(embedder, decision, sets, name) for name in ("test", "train"))
    if tested is None or trained is None:
        raise RuntimeError(f"{data} has no tags")
    before = fit_thresholds(held, TagRule())
    at_build = fit_thresholds(trained, rule)
    return {
        "recipe": measure.__doc__,
        "model": bundle.model_version,
        **values,
        "ece_plain_votes": pair_calibration_error(tested.confidence(before), tested.actual),
        "at_build": _judged(tested, at_build),
        "columns": [{**column.__dict__, "tags": len(column.tags)} for column in rule.groups],
        "thresholds": {"shared": rule.threshold, "own": len(rule.thresholds)},
        "parts": _parts(held, columns),
    }


def ready_model(recipe: str, data: Path, work: Path) -> Path:
    """A ready model, else one trained here."""
    name = f"{DATA}-{recipe}-{SEED}"
    ready = Path(os.environ.get("CATALENS_BENCH_MODELS") or work).absolute() / name
    if not ready.is_dir():
        ready = work / name
        catalens("train", data, "--out", ready, "--recipe", recipe, "--seed", SEED)
    return ready


def _judged(sample: TagSample, rule: TagRule) -> dict[str, float]:
    confidence = sample.confidence(rule)
    micro, macro = f1_scores(sample.actual, sample.suggested(confidence, rule))
    return {
        "f1": micro,
        "macro_f1": macro,
        "ece": pair_calibration_error(confidence, sample.actual),
    }


def _parts(held: TagSample, columns: Any) -> dict[str, dict[str, float]]:
    """name -> figures over both halves of the rule without that part."""

    def plain_near(change: Callable[[Neighbours], Neighbours]) -> Callable[[TagSample], TagSample]:
        return lambda sample: replace(sample, near=lambda view: change(sample.near(view)))

    def fitted(sample: TagSample) -> TagRule:
        return fit_rule(sample, columns)

    def without_frequency(sample: TagSample) -> TagRule:
        rule = fitted(sample)
        return fit_thresholds(
            sample, replace(rule, groups=tuple(replace(one, prior=0.0) for one in rule.groups))
        )

    def several_values(sample: TagSample) -> TagRule:
        rule = replace(fitted(sample), thresholds={})
        return replace(
            rule, threshold=best_threshold(sample.actual, sample.confidence(rule)) or rule.threshold
        )

    def same(sample: TagSample) -> TagSample:
        return sample

    variants: dict[str, tuple[Callable[[TagSample], Any], Callable[[TagSample], TagRule]]] = {
        "whole rule": (same, fitted),
        "one view for all columns": (lambda sample: replace(sample, blocks=()), fitted),
        "hubs count in full": (
            plain_near(lambda near: replace(near, cosines=np.zeros_like(near.cosines))),
            fitted,
        ),
        "near-duplicates vote each": (
            plain_near(lambda near: replace(near, duplicates=np.zeros_like(near.duplicates))),
            fitted,
        ),
        "one threshold for all tags": (same, lambda sample: replace(fitted(sample), thresholds={})),
        "no frequency": (same, without_frequency),
        "several values of a column": (same, several_values),
        "no heads": (votes_only, fitted),
        "no votes": (heads_only, fitted),
        "plain votes": (votes_only, lambda sample: fit_thresholds(sample, TagRule())),
    }
    kept: dict[tuple[tuple[str, float], ...], Neighbours] = {}

    def near(view: View) -> Neighbours:
        key = tuple(sorted(view.items()))
        if key not in kept:
            kept[key] = held.near(view)
        return kept[key]

    first = np.random.default_rng(0).permutation(len(held.actual)) % 2 == 0
    found = {}
    for name, (change, fit) in variants.items():
        said = np.zeros(held.actual.shape, bool)
        confidence = np.zeros(held.actual.shape)
        for learn in (first, ~first):
            known, asked = (change(_some(held, near, rows)) for rows in (learn, ~learn))
            with threadpool_limits(1, "blas"):
                rule = fit(known)
            confidence[~learn] = asked.confidence(rule)
            several = name == "several values of a column"
            said[~learn] = (
                confidence[~learn] >= rule.threshold
                if several
                else asked.suggested(confidence[~learn], rule)
            )
        micro, macro = f1_scores(held.actual, said)
        found[name] = {
            "f1": micro,
            "macro_f1": macro,
            "ece": pair_calibration_error(confidence, held.actual),
        }
        log(f"{name}: micro {micro:.4f}, macro {macro:.4f}")
    return found


def _some(sample: TagSample, near: Callable[[View], Neighbours], rows: np.ndarray) -> TagSample:
    """The products ``rows`` (bool [P]) of ``sample``."""

    def mine(view: View) -> Neighbours:
        found = near(view)
        return Neighbours(
            found.products[rows],
            found.scores[rows],
            found.cosines[rows],
            found.duplicates[rows],
        )

    return replace(
        sample,
        actual=sample.actual[rows],
        probabilities=sample.probabilities[rows],
        near=mine,
    )
