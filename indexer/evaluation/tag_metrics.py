"""Tag metrics: the model's suggestions, votes alone, heads alone, the baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from indexer.evaluation.results import FigureGroup, Tagged
from indexer.model.calibration import pair_calibration_error
from indexer.model.decision_layer import Decision
from indexer.model.runtime_base import Runtime
from indexer.model.spec import Block
from indexer.model.tag_rule import TagRule
from indexer.tagging.fit import fit_rule
from indexer.tagging.samples import TagSample, no_neighbours
from indexer.training.metrics import TagCounts, bootstrap, tag_map
from indexer.training.tag_samples import TaggedPhotos, fit_equal_votes, sample_of


def tag_figures(
    runtime: Runtime,
    decision: Decision,
    sets: Mapping[str, TaggedPhotos],
    split: str,
    frozen: Callable[[], Mapping[str, TaggedPhotos] | None],
) -> tuple[FigureGroup, Tagged | None]:
    """The key ``tags`` of an evaluation of ``split``, and its arrays; None where there are no tags.

    ``sets``: photos by split, ``train`` and ``validation`` among them. ``frozen`` gives the same
    photos with the backbone's features before training for vectors, for the baseline, or None.
    Rules of votes alone, of heads alone and of the baseline are fitted on validation.
    """
    rule = decision.tagging()
    tested = sample_by(runtime, decision, sets, split)
    validation = sample_by(runtime, decision, sets, "validation", fitting=True)
    if tested is None:
        return FigureGroup({"tags": None}), None
    confidence = tested.confidence(rule)
    suggested = tested.suggested(confidence, rule)
    counts = TagCounts(tested.actual, suggested)
    precision, recall, f1 = (float(value) for value in counts.micro())
    columns = {column.name: column.tags for column in rule.groups}
    values: dict[str, Any] = {
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "macro_f1": float(counts.macro_f1()),
        "map": tag_map(tested.actual, confidence),
        "ece": pair_calibration_error(confidence, tested.actual),
        "votes_only_f1": None,
        "votes_only_macro_f1": None,
        "heads_only_f1": None,
        "heads_only_macro_f1": None,
        "baseline_f1": None,
    }
    ways = {"votes": votes_only, **({"heads": heads_only} if decision.tag_heads else {})}
    for name, change in ways.items():
        alone = _refitted(change(validation), change(tested), columns)
        if alone is not None:
            values[f"{name}_only_f1"], values[f"{name}_only_macro_f1"] = alone
    if (before := frozen()) is not None:
        values["baseline_f1"] = _baseline(before, split)
    drawn = bootstrap(np.arange(len(tested.actual)))
    micro = counts.micro(drawn.weights)
    intervals = {
        "tags.precision": drawn.interval(precision, micro[0]),
        "tags.recall": drawn.interval(recall, micro[1]),
        "tags.f1": drawn.interval(f1, micro[2]),
        "tags.macro_f1": drawn.interval(values["macro_f1"], counts.macro_f1(drawn.weights)),
    }
    return FigureGroup({"tags": values}, intervals), Tagged(
        tested.tags, tested.actual, confidence, suggested
    )


def sample_by(
    runtime: Runtime,
    decision: Decision,
    sets: Mapping[str, TaggedPhotos],
    split: str,
    *,
    fitting: bool = False,
) -> TagSample | None:
    """The tagged products of ``split`` before the train photos' votes and the model's heads; as
    ``sample_of``."""
    photos = sets[split]
    named = [tag for group in decision.tagging().groups for tag in group.tags]
    logits = runtime.logits(photos.vectors) if decision.tag_heads and len(photos.rows) else None
    return sample_of(
        photos,
        sets["train"],
        runtime.spec.blocks,
        logits=logits,
        tag_heads=decision.tag_heads if logits else None,
        several=runtime.spec.several,
        also=named,
        fitting=fitting,
    )


def votes_only(sample: TagSample | None) -> TagSample | None:
    """``sample`` with every head silent."""
    return (
        None
        if sample is None
        else replace(sample, probabilities=np.full(sample.probabilities.shape, np.nan))
    )


def heads_only(sample: TagSample | None) -> TagSample | None:
    """``sample`` with no product voting."""
    return (
        None
        if sample is None
        else replace(sample, near=lambda view: no_neighbours(len(sample.actual)))
    )


def _refitted(
    validation: TagSample | None, tested: TagSample | None, columns: Mapping[str, Sequence[str]]
) -> tuple[float, float] | None:
    """Micro- and macro-F1 on ``tested`` of the rule fitted on ``validation``."""
    if validation is None or tested is None:
        return None
    return _f1(tested, fit_rule(validation, columns))


def _f1(tested: TagSample, rule: TagRule) -> tuple[float, float]:
    suggested = tested.suggested(tested.confidence(rule), rule)
    counts = TagCounts(tested.actual, suggested)
    return float(counts.micro()[2]), float(counts.macro_f1())


def _baseline(sets: Mapping[str, TaggedPhotos], split: str) -> float | None:
    """Micro-F1 of equal votes among the ten nearest; the vectors of ``sets`` are the frozen
    backbone's features."""
    block = Block("g", sets["train"].vectors.shape[1], 1.0)
    validation = sample_of(sets["validation"], sets["train"], [block], fitting=True)
    tested = sample_of(sets[split], sets["train"], [block])
    if validation is None or tested is None:
        return None
    return _f1(tested, fit_equal_votes(validation))[0]
