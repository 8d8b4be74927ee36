"""Targets of several labels: which labels have a head, and what a photo of a product counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from indexer.feeds.dataset import DatasetRow
from indexer.training.label_targets import LabelTarget, label_targets
from indexer.training.targets import Target
from tests.indexer.training.dataset_rows import rows_with

COUNT = 200
TRAIN = np.arange(COUNT) < 140


def rows(tags: list[tuple[str, ...]], **columns: list[object]) -> list[DatasetRow]:
    plain = rows_with(COUNT, **columns)
    return [replace(row, tags=held) for row, held in zip(plain, tags, strict=True)]


@pytest.fixture
def marks() -> np.ndarray:
    """Two traits of each photo, bool [N, 2], that its features show."""
    return np.random.default_rng(0).random((COUNT, 2)) < 0.4


def features(marks: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.asarray(np.concatenate([marks, rng.normal(size=(COUNT, 4))], axis=1), np.float32)


def found(
    given: list[DatasetRow], marks: np.ndarray, targets: tuple[Target, ...] = (), **types: str
) -> tuple[list[LabelTarget], list[str]]:
    return label_targets(given, features(marks), (TRAIN, ~TRAIN), types, targets)  # type: ignore[arg-type]


def test_tags_of_ten_training_products_have_a_head_and_the_rest_is_counted(
    marks: np.ndarray,
) -> None:
    """A tag of nine products, or of all of them, cannot be learned; the others keep their votes."""
    tags = [(*tuple(np.array(["lace", "wool"])[on]), "ours") for on in marks]
    tags = [(*held, "rare") if place < 9 else held for place, held in enumerate(tags)]
    (target,), notes = found(rows(tags), marks)
    assert (target.name, target.values) == ("tags", ("lace", "wool"))
    np.testing.assert_array_equal(target.carried.toarray() > 0, marks)
    assert any("2 labels have a head; 2 do not" in note for note in notes)


def test_a_missing_list_is_unknown_and_not_empty(marks: np.ndarray) -> None:
    """A product without the list, and with an empty one, teaches nothing."""
    held: list[object] = [list(np.array(["lace", "wool"])[on]) for on in marks]
    held[3] = None
    (target,), _ = found(rows([()] * COUNT, fabric=held), marks, fabric="list")
    assert target.name == "fabric"
    np.testing.assert_array_equal(target.known, [bool(one) for one in held])
    assert not target.truth(np.array([3])).any()


def test_photos_of_one_product_count_one_together(marks: np.ndarray) -> None:
    tags = [(*tuple(np.array(["lace", "wool"])[on]), "ours") for on in marks]
    given = rows(tags)
    given = [*given[:-4], *(replace(row, product_id="four") for row in given[-4:])]
    (target,), _ = found(given, marks)
    assert target.weights[:-4].tolist() == [1.0] * (COUNT - 4)
    assert target.weights[-4:].tolist() == [0.25] * 4
    truth = target.truth(np.array([0, COUNT - 1])).numpy()
    np.testing.assert_allclose(truth[:, -1], [1.0, 0.25])
    np.testing.assert_allclose(truth[1, :-1], 0.25 * marks[-1])


def test_tags_that_another_head_predicts_are_left_to_it(marks: np.ndarray) -> None:
    kind = marks[:, 0].astype(np.int64)
    tags = [(*tuple(np.array(["lace", "wool"])[on]), "ours") for on in marks]
    known = Target("fabric", ("none", "lace"), kind)
    (target,), _ = found(rows(tags), marks, (known,))
    assert target.values == ("wool",)


def test_labels_that_no_photo_shows_have_no_head(marks: np.ndarray) -> None:
    hidden = np.random.default_rng(5).random((COUNT, 2)) < 0.4
    tags = [(*tuple(np.array(["sale", "new"])[on]), "ours") for on in hidden]
    targets, notes = found(rows(tags), marks)
    assert targets == []
    assert any("not read from photos" in note for note in notes)


def test_of_too_many_labels_the_commonest_have_a_head(
    marks: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a head's size is bounded, whatever a feed holds."""
    monkeypatch.setattr("indexer.training.label_targets.MOST_LABELS", 1)
    marks[:, 1] &= np.arange(COUNT) % 2 == 0
    tags = [(*tuple(np.array(["wool", "lace"])[on]), "ours") for on in marks]
    (target,), notes = found(rows(tags), marks)
    assert target.values == ("wool",)
    assert any("1 labels have a head; 2 do not" in note for note in notes)
