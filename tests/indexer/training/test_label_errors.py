"""Likely label errors: planted ones are found, and odd classes break nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.feeds.dataset import DatasetRow
from indexer.model.decision_layer import Category
from indexer.training.label_errors import (
    confident_errors,
    issue_notes,
    judged_count,
    label_issues,
    linked_groups,
    out_of_fold,
)


def clusters(
    classes: int, each: int, *, seed: int = 0, width: int = 24
) -> tuple[np.ndarray, np.ndarray]:
    """Features [classes * each, width] of well parted classes, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    return rng.normal(size=(classes, width))[labels] + 0.3 * rng.normal(
        size=(len(labels), width)
    ), labels


def row(number: int) -> DatasetRow:
    return DatasetRow(f"feed.csv:{number}", str(number), Path("x.jpg"), None, None, (), None, {})


def test_planted_errors_are_found_and_come_first() -> None:
    """Six of 200 labels are changed: they and no other are reported, place and labels too."""
    features, truth = clusters(5, 40)
    given = truth.copy()
    wrong = [3, 44, 90, 133, 170, 199]
    given[wrong] = (truth[wrong] + 1) % 5
    categories = tuple(Category(number, ("Top", f"kind {number}")) for number in range(5))
    pixels = np.arange(200).astype(str)
    found = label_issues(
        [row(number) for number in range(200)], features, given, pixels, categories
    )
    assert {int(issue.product_id) for issue in found} <= set(wrong)
    assert len(found) >= 5
    by_place = {issue.where: issue for issue in found}
    assert by_place["feed.csv:44"].given == f"Top > kind {given[44]}"
    assert by_place["feed.csv:44"].suggested == f"Top > kind {truth[44]}"
    assert all(issue.confidence > 0.5 > issue.given_probability for issue in found)
    assert issue_notes(found, 200)[0].startswith(f"{len(found)} of 200 ")


def test_of_many_photos_and_classes_a_draw_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by photos times classes; what is found names the right rows."""
    features, truth = clusters(5, 40)
    given = truth.copy()
    wrong = list(range(0, 200, 10))
    given[wrong] = (truth[wrong] + 1) % 5
    monkeypatch.setattr("indexer.training.label_errors._SCORES", 5 * 100)
    assert (judged_count(200, 5), judged_count(60, 5), judged_count(200, 1000)) == (100, 60, 0)
    categories = tuple(Category(number, (f"kind {number}",)) for number in range(5))
    seen: list[int] = []

    def noted(features: np.ndarray, *given: Any) -> np.ndarray:
        seen.append(len(features))
        return out_of_fold(features, *given)

    monkeypatch.setattr("indexer.training.label_errors.out_of_fold", noted)
    found = label_issues(
        [row(n) for n in range(200)], features, given, np.arange(200).astype(str), categories
    )
    assert seen == [100]
    assert 4 <= len(found) < len(wrong)
    assert all(issue.given == f"kind {given[int(issue.product_id)]}" for issue in found)
    assert {int(issue.product_id) for issue in found} <= set(wrong)


def test_clean_labels_are_left_alone() -> None:
    features, labels = clusters(6, 25, seed=1)
    probability = out_of_fold(features, labels, np.arange(150), 6)
    np.testing.assert_allclose(probability.sum(1), 1)
    assert len(confident_errors(probability, labels)) == 0


def test_a_product_does_not_vouch_for_itself() -> None:
    """All photos of a wrongly labelled product share the error; judged without one another, each is
    reported."""
    features, labels = clusters(3, 30, seed=2)
    features[:5] = features[35] + 0.01 * np.random.default_rng(0).normal(
        size=(5, 24)
    )  # one product that is class 1
    rows = [row(max(number - 4, 0)) for number in range(90)]
    categories = tuple(Category(number, (f"kind {number}",)) for number in range(3))
    found = label_issues(rows, features, labels, np.arange(90).astype(str), categories)
    assert [issue.product_id for issue in found] == ["0"] * 5
    copies = np.array(["same"] * 5 + [str(number) for number in range(85)])
    by_copy = label_issues(
        [row(number) for number in range(90)], features, labels, copies, categories
    )
    assert {issue.product_id for issue in by_copy} == {"0", "1", "2", "3", "4"}


def test_two_thousand_classes_of_which_many_have_one_photo() -> None:
    """A class of one photo can be neither judged nor suggested; the others are judged as usual."""
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(900), np.repeat(np.arange(900, 2000), 2)])
    features = rng.normal(size=(2000, 64))[labels] + 0.1 * rng.normal(size=(len(labels), 64))
    probability = out_of_fold(features, labels, np.arange(len(labels)), 2000)
    assert np.isnan(probability[:900, 0]).all()
    assert not np.isnan(probability[900:]).any()
    assert (probability[900:].argmax(1) == labels[900:]).mean() > 0.9
    assert probability[900:, :900].argmax(1).max() < 900
    found = confident_errors(probability, labels)
    assert (found >= 900).all()
    assert len(found) < 50


def test_linked_groups_follow_products_and_copies_over_several_steps() -> None:
    groups = linked_groups(["a", "a", "b", "c", "d"], np.array(["1", "2", "2", "3", "3"]))
    assert groups[0] == groups[1] == groups[2]
    assert groups[3] == groups[4] != groups[0]
    assert len(linked_groups([], np.array([]))) == 0
