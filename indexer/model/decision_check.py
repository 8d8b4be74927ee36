"""Check of a stored decision layer against its model: what no training writes is refused."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from indexer.core.errors import BadModelError
from indexer.model.decision_layer import Decision
from indexer.model.spec import FREE_TAGS, Head, ModelSpec
from indexer.model.tag_rule import is_vote

# Ids and revisions count up by one.
_MOST_IDS = 2**53
# Logits over less are no numbers any more.
_COLDEST = 1e-6
# What a rule of unknown kinds is asked for (``classification.open_set``).
_RULE = ("threshold", "mean", "spread", "mix", "directions")


def check_decision(decision: Decision, spec: ModelSpec, *, where: str) -> None:
    """Raise ``BadModelError`` for numbers that an answer could not be made of.

    Anybody may write a decision layer, and a question must not be where that is noticed.
    """
    if (
        wrong := _number_fault(decision)
        or _head_fault(decision, spec)
        or _row_fault(decision, spec.dim)
    ):
        raise BadModelError(f"{where}: {wrong}")
    if decision.unknown is not None and not _is_rule(decision.unknown, spec):
        raise BadModelError(f"{where}: the rule of unknown kinds is none of this model")


def _number_fault(decision: Decision) -> str | None:
    temperatures = (decision.temperature, *decision.attribute_temperatures.values())
    if not all(math.isfinite(one) and one >= _COLDEST for one in temperatures):
        return f"a temperature is not {_COLDEST} at least"
    bars = (
        decision.smoothing,
        *decision.tag_thresholds.values(),
        *decision.attribute_floors.values(),
    )
    if not all(map(math.isfinite, bars)):
        return "a threshold is no number"
    plain = decision.tags
    if not is_vote(plain.k, (plain.temperature, plain.threshold, plain.heads)):
        return "tags do not say how neighbours vote"
    numbers = [decision.next_id, decision.revision, *(one.id for one in decision.categories)]
    numbers += [entry.id for entry in decision.few_shot]
    if not all(0 <= number < _MOST_IDS for number in numbers):
        return "an id is none"
    if decision.origin is not None and not isinstance(decision.origin, str):
        return "origin is no model version"
    return None


def _head_fault(decision: Decision, spec: ModelSpec) -> str | None:
    """A class that no head has, or a text that is none."""
    classes = {head.name: len(head.classes) for head in spec.heads}
    for category in decision.categories:
        if not category.path or not _are_texts(category.path):
            return f"category {category.id} has no path of texts"
        if not _are_places(category.trained, classes.get("category", 0)):
            return f"category {category.id} counts a class that the category head has not"
    for tag, (head, number) in decision.tag_heads.items():
        if not _are_places((number,), classes.get(head, 0)):
            return f"tag {tag!a} is of a class that head {head!a} has not"
    for name, values in decision.attributes.items():
        if not _are_texts(values) or len(values) > classes.get(name, len(values)):
            return f"attribute {name!a} has values that its head has not"
    return next(filter(None, (_labels_fault(decision, head) for head in spec.heads)), None)


def _labels_fault(decision: Decision, head: Head) -> str | None:
    """A class of a head of several labels that has no name."""
    if not head.several:
        return None
    named = set(range(len(decision.attributes.get(head.name, ()))))
    if head.name == FREE_TAGS:
        named = {number for name, number in decision.tag_heads.values() if name == FREE_TAGS}
    if set(head.classes) - named:
        return f"head {head.name!a} has a label without a name"
    return None


def _row_fault(decision: Decision, dim: int) -> str | None:
    for entry in decision.few_shot:
        vectors = (entry.prototype, entry.weight)
        if not all(one.shape == (dim,) and np.isfinite(one).all() for one in vectors):
            return f"few-shot row {entry.id} is no row of this embedding"
        if not math.isfinite(entry.bias) or not math.isfinite(entry.threshold):
            return f"few-shot row {entry.id} has a number that is none"
        if not _are_texts(entry.prompts):
            return f"few-shot row {entry.id} has a prompt that is no text"
    return None


def _is_rule(rule: Mapping[str, Any], spec: ModelSpec) -> bool:
    try:
        # What could not be measured of a rule is None.
        given = {name: value for name, value in rule.items() if value is not None}
        found = {name: np.asarray(value, np.float64) for name, value in given.items()}
        # Models from before it have no mix for the local closeness.
        names = ("mean", "spread", "mix", *(("local_mix",) if "local_mix" in rule else ()))
        sides = [found[name].shape for name in names]
        classes = next((len(head.classes) for head in spec.heads if head.name == "category"), 0)
        start, stop = (int(one) for one in rule.get("columns", (0, spec.dim)))
        if "weights" in found:
            classes = len(found["weights"])
            if found["weights"].shape != (classes, stop - start):
                return False
            if found["bias"].shape != (classes,):
                return False
        # Of four signals; rules from before the fourth have three.
        signals = 4 if "centre" in found else 3
        if signals == 4 and not _is_spread(found["centre"], found["variance"], stop - start):
            return False
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
    return (
        set(_RULE) <= set(found)
        and all(np.isfinite(value).all() for value in found.values())
        and sides == [(signals,)] * len(sides)
        and found["threshold"].shape == ()
        and (found["directions"].size == 0 or found["directions"].shape[1:] == (classes,))
        and 0 <= start < stop <= spec.dim
        and bool((found["spread"] > 0).all())
        and 1 <= rule.get("k", 1) < _MOST_IDS
    )


def _is_spread(centre: np.ndarray, variance: np.ndarray, width: int) -> bool:
    return centre.shape == variance.shape == (width,) and bool((variance > 0).all())


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def _are_places(places: Iterable[object], count: int) -> bool:
    return all(type(place) is int and 0 <= place < count for place in places)
