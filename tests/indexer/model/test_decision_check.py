"""Tests of ``indexer.model.decision_check``: an absurd number is refused where a model is opened,
and no question is where it is noticed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from indexer.core.errors import BadModelError
from indexer.model.decision_check import check_decision
from indexer.model.decision_layer import Category, Decision
from indexer.model.spec import Head
from tests.indexer.model.test_spec import SPEC

RULE: dict[str, Any] = {
    "threshold": 1.0,
    "mean": [0.0] * 3,
    "spread": [1.0] * 3,
    "mix": [1.0, 0.0, 0.0],
    "directions": [[1.0, 0.0, 0.0]],
    "columns": [16, 48],
    "k": 10,
}
FOUR = {
    **RULE,
    **{name: [*RULE[name], 1.0] for name in ("mean", "spread", "mix")},
    **{"centre": [0.0] * 32, "variance": [1.0] * 32},
}
DECISION = Decision(
    categories=(Category(0, ("Mug",)), Category(1, ("Cup",)), Category(2, ("Jug",))),
    tag_heads={"red": ("category", 2)},
    unknown=RULE,
)
GROUP = {
    **{"name": "", "tags": [], "view": {}, "k": 20, "temperature": 0.05},
    **{"crowding": 0, "head": 0, "vote": 1, "prior": 0, "bias": 0},
}
GROUPS = {"columns": [], "rest": GROUP, "seen": {}, "size": 0, "threshold": 0.3, "thresholds": {}}


def read(**changes: Any) -> None:
    stored = {**DECISION.to_json(), **changes}
    check_decision(Decision.from_json(stored, where="here"), SPEC, where="here")


def test_what_training_writes_is_taken() -> None:
    assert SPEC.head("category") == Head("category", (0, 1, 2), several=False)
    read()
    read(tag_rule=GROUPS)
    read(unknown=FOUR)
    read(unknown={**FOUR, "local_mix": [1.0] * 4})


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0},
        {"temperature": float("nan")},
        {"temperature": 1e-300},
        {"attribute_temperatures": {"colour": 0}},
        {"attribute_floors": {"colour": float("nan")}},
        {"next_id": 10**400},
        {"revision": -1},
        {"origin": 5},
        {"tags": {"k": 10**12, "temperature": 0.05, "threshold": 0.3, "heads": 0.0}},
        {"tags": {"k": -1}},
        {"tag_rule": {**GROUPS, "rest": {**GROUP, "k": 0}}},
        {"tag_rule": {**GROUPS, "rest": {**GROUP, "temperature": float("inf")}}},
        {"categories": [{"id": 0, "path": ["Mug"], "columns": [3]}]},
        {"categories": [{"id": 0, "path": [], "columns": [0]}]},
        {"categories": [{"id": 0, "path": [5], "columns": [0]}]},
        {"tag_heads": {"red": ["nowhere", 0]}},
        {"tag_heads": {"red": ["category", -1]}},
        {"unknown": {}},
        {"unknown": {**RULE, "weights": "x"}},
        {"unknown": {**RULE, "spread": [0.0] * 3}},
        {"unknown": {**RULE, "columns": [0, 10**9]}},
        {"unknown": {**RULE, "directions": [[1.0]]}},
        {"unknown": {**RULE, "centre": [0.0] * 32, "variance": [1.0] * 32}},
        {"unknown": {**FOUR, "variance": [0.0] * 32}},
        {"unknown": {**FOUR, "centre": [0.0]}},
        {"unknown": {**FOUR, "local_mix": [1.0] * 3}},
        {"unknown": {**FOUR, "local_mix": None}},
    ],
)
def test_absurd_numbers_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadModelError, match="here"):
        read(**changes)


def test_every_label_of_a_head_of_several_has_a_name() -> None:
    """It is asked for where such a head is judged: a list's in its attribute, tags' in the map."""
    heads = (Head("fabric", (0, 1), several=True), Head("tags", (0, 1), several=True))
    spec = SPEC.with_heads((*SPEC.heads, *heads))
    tags = {"lace": ("tags", 0), "wool": ("tags", 1)}
    whole = replace(DECISION, tag_heads=tags, attributes={"fabric": ("silk", "jute")})
    check_decision(whole, spec, where="here")
    for wrong in (
        replace(whole, tag_heads={"lace": ("tags", 0)}),
        replace(whole, attributes={"fabric": ("silk",)}),
        replace(whole, attributes={}),
    ):
        with pytest.raises(BadModelError, match="a label without a name"):
            check_decision(wrong, spec, where="here")
