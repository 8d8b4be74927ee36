"""Likely label errors: planted ones are found, and odd classes break nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.feeds.dataset import DatasetRow
from indexer.model.decision_layer import Category
from indexer.training.label_errors import (
    check_labels,
    confident_errors,
    improbable_labels,
    issue_notes,
    judged_count,
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
    """Forty of 800 labels are changed: they and no other are named, place and labels too."""
    features, truth = clusters(5, 160)
    given = truth.copy()
    wrong = np.arange(4, 800, 20)
    given[wrong] = (truth[wrong] + 1) % 5
    categories = tuple(Category(number, ("Top", f"kind {number}")) for number in range(5))
    pixels = np.arange(800).astype(str)
    checked = check_labels(
        [row(number) for number in range(800)], features, given, pixels, categories
    )
    found = checked.issues + checked.doubts
    assert {int(issue.product_id) for issue in found} == set(wrong)
    by_place = {issue.where: issue for issue in found}
    assert by_place["feed.csv:44"].given == f"Top > kind {given[44]}"
    assert by_place["feed.csv:44"].suggested == f"Top > kind {truth[44]}"
    assert all(issue.confidence > 0.5 > issue.given_probability for issue in found)
    assert issue_notes(checked)[0].startswith("40 of 800 ")


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

    def noted(features: np.ndarray, *given: Any, **named: Any) -> np.ndarray:
        seen.append(len(features))
        return out_of_fold(features, *given, **named)

    monkeypatch.setattr("indexer.training.label_errors.out_of_fold", noted)
    checked = check_labels(
        [row(n) for n in range(200)], features, given, np.arange(200).astype(str), categories
    )
    found = checked.issues + checked.doubts
    assert (seen, checked.photos) == ([100] * 3, 100)
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
    found = check_labels(rows, features, labels, np.arange(90).astype(str), categories)
    assert [issue.product_id for issue in (*found.issues, *found.doubts)] == ["0"] * 5
    copies = np.array(["same"] * 5 + [str(number) for number in range(85)])
    by_copy = check_labels(
        [row(number) for number in range(90)], features, labels, copies, categories
    )
    assert {issue.product_id for issue in by_copy.issues + by_copy.doubts} == {
        "0",
        "1",
        "2",
        "3",
        "4",
    }


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


def test_few_photos_are_doubted_and_not_called_wrong() -> None:
    """Where classes overlap, right labels look wrong: doubts, with the photos they stand on."""
    claimed = doubted = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(4), 15)
        features = rng.normal(size=(4, 24))[labels] + 2.5 * rng.normal(size=(60, 24))
        categories = tuple(Category(number, (f"kind {number}",)) for number in range(4))
        rows = [row(number) for number in range(60)]
        checked = check_labels(rows, features, labels, np.arange(60).astype(str), categories)
        claimed += len(checked.issues)
        doubted += len(checked.doubts)
        assert not checked.doubts or "of 60 labelled photos look" in issue_notes(checked)[-1]
    assert (claimed, doubted > 20) == (0, True)


def test_labels_drawn_by_their_probabilities_are_never_improbable() -> None:
    """As many improbable labels as the model expects prove nothing; twenty more do."""
    rng = np.random.default_rng(5)
    probability = rng.dirichlet(np.full(6, 0.3), size=2000)
    labels = np.array([rng.choice(6, p=row) for row in probability])
    assert len(improbable_labels(probability, labels)) == 0
    sure = np.argsort(-probability.max(1))[:40]
    labels[sure] = probability[sure].argmin(1)
    found = improbable_labels(probability, labels)
    assert len(found) >= 30
    assert np.isin(found, sure).mean() >= 0.7
