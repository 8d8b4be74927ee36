"""Outcomes of held-out photos: paired differences by product, folds and seeds put together."""

from __future__ import annotations

import numpy as np
import pytest

from tools.bench.parts.fold_outcomes import JOINT, Outcomes, difference, figures, mcnemar, merged


def outcomes(right: list[float], *, seed: str = "0", first: int = 0) -> Outcomes:
    """One product a photo; the right kind is "hat", the wrong one "cap"."""
    photos = [f"p{number + first}" for number in range(len(right))]
    return Outcomes(
        photos,
        photos,
        ["hat"] * len(right),
        {seed: ["hat" if found else "cap" for found in right]},
        {seed: {"accuracy": list(right), f"{JOINT}@10": [None, *right[1:]]}},
    )


def test_folds_and_seeds_are_put_together_by_photo() -> None:
    parts = [
        outcomes([1.0, 0.0], first=2),
        outcomes([0.0, 0.0]),
        outcomes([1.0, 1.0], seed="1"),
        outcomes([1.0, 1.0], seed="1", first=2),
    ]
    found = merged(parts)
    assert found.photos == ["p0", "p1", "p2", "p3"]
    assert found.values["0"]["accuracy"] == [0.0, 0.0, 1.0, 0.0]
    assert found.values["0"][f"{JOINT}@10"] == [None, 0.0, None, 0.0]
    assert figures(found)["accuracy"]["seeds"] == [0.25, 1.0]
    assert Outcomes.from_json(found.to_json()) == found


def test_a_difference_is_paired_by_photo() -> None:
    """Photos that both miss say nothing; one that is gained counts wherever it stands."""
    before = outcomes([0.0] * 20 + [1.0] * 20)
    after = outcomes([0.0] * 10 + [1.0] * 30)
    reordered = after.of(list(range(39, -1, -1)), ["0"])
    found = difference(before, reordered)
    assert found["accuracy"]["difference"] == pytest.approx(0.25)
    low, high = found["accuracy"]["interval"]
    assert 0.1 < low < 0.25 < high < 0.4
    assert (found["accuracy"]["gained"], found["accuracy"]["lost"]) == (10, 0)
    assert found["accuracy"]["p"] == pytest.approx(2 * 0.5**10)
    assert found["macro_f1"]["difference"] > 0


def test_the_same_model_differs_by_nothing() -> None:
    one = outcomes([1.0, 0.0, 1.0, 1.0])
    found = difference(one, one)
    assert found["accuracy"]["interval"] == [0.0, 0.0]
    assert found["accuracy"]["p"] == 1.0


def test_only_photos_and_seeds_of_both_are_compared() -> None:
    found = difference(outcomes([1.0, 1.0, 0.0]), outcomes([0.0, 1.0], first=1))
    assert found["photos"] == 2
    assert found["accuracy"]["difference"] == pytest.approx(0.0)
    assert difference(outcomes([1.0]), outcomes([1.0], seed="1")) == {}


def test_mcnemar_counts_photos_that_one_model_alone_has_right() -> None:
    before = np.array([True] * 5 + [False] * 5)
    assert mcnemar(before, ~before) == {"gained": 5, "lost": 5, "p": 1.0}
