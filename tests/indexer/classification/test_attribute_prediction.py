"""Attribute heads become values with probabilities."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indexer.classification.attribute_prediction import predict_attributes
from indexer.model.decision_layer import Decision
from indexer.model.spec import Head

SPEC: Any = SimpleNamespace(
    heads=(
        Head("category", (0, 1), several=False),
        Head("colour", (0, 1, 2), several=False),
        Head("material", (1, 0), several=False),
    )
)


def test_each_attribute_gets_its_most_probable_value_and_the_surest_comes_first() -> None:
    """A head's classes name the values; photos of one product count alike; the temperature that
    was fitted for a head is its own."""
    decision = Decision(
        attributes={"colour": ("red", "green", "blue"), "material": ("wool", "silk")},
        attribute_temperatures={"colour": 0.5},
    )
    logits = {
        "category": np.zeros((2, 2), np.float32),
        "colour": np.array([[0, 1, 0], [0, 1, 2]], np.float32),
        "material": np.array([[2, 0], [2, 0]], np.float32),
    }
    found = predict_attributes(logits, decision, SPEC)
    assert [(entry.name, entry.value) for entry in found] == [
        ("material", "silk"),
        ("colour", "green"),
    ]
    # Mean logits (0, 1, 1) at 0.5: exp(2) each of the last two, 1 for the first; ties go to the
    # first value.
    assert found[1].probability == pytest.approx(np.exp(2) / (2 * np.exp(2) + 1))
    assert found[0].probability == pytest.approx(1 / (1 + np.exp(-2)))


def test_a_model_without_attribute_heads_shows_none() -> None:
    assert predict_attributes({"category": np.zeros((1, 2))}, Decision(), SPEC) == []


def test_a_value_below_the_floor_of_its_head_is_not_said() -> None:
    """What was right too seldom on held-out photos is left out; other heads still answer."""
    logits = {"colour": np.array([[0, 0, 1]], np.float32), "material": np.array([[2, 0]])}
    decision = Decision(
        attributes={"colour": ("red", "green", "blue"), "material": ("wool", "silk")},
        attribute_floors={"colour": 0.6, "material": 0.5},
    )
    found = predict_attributes(logits, decision, SPEC)
    assert [(entry.name, entry.value) for entry in found] == [("material", "silk")]
    stored = Decision.from_json(decision.to_json(), where="test")
    assert stored.attribute_floors == {"colour": 0.6, "material": 0.5}
    # Models from before it answer all.
    old = {key: value for key, value in decision.to_json().items() if key != "attribute_floors"}
    assert len(predict_attributes(logits, Decision.from_json(old, where="test"), SPEC)) == 2


def test_of_a_list_every_value_that_is_probable_enough_is_said() -> None:
    """Each for itself, over all photos of the product; none below the head's floor, nor one that is
    less probable than not, and never a thousand of them."""
    spec: Any = SimpleNamespace(heads=(Head("fabric", tuple(range(40)), several=True),))
    logits = np.full((2, 40), -9.0, np.float32)
    logits[:, :3] = [[2.0, 0.5, -0.5], [4.0, 1.5, 0.3]]
    decision = Decision(attributes={"fabric": tuple(f"f{n}" for n in range(40))})
    found = predict_attributes({"fabric": logits}, decision, spec)
    assert [(entry.name, entry.value) for entry in found] == [("fabric", "f0"), ("fabric", "f1")]
    assert found[0].probability == pytest.approx(1 / (1 + np.exp(-3)))
    bar = replace(decision, attribute_floors={"fabric": 0.9})
    assert [one.value for one in predict_attributes({"fabric": logits}, bar, spec)] == ["f0"]
    many = predict_attributes({"fabric": np.full((1, 40), 9.0)}, decision, spec)
    assert len(many) == 20
