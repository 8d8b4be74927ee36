"""Unknown kinds: the score, its threshold, and how its rule is chosen."""

from __future__ import annotations

import json

import numpy as np
import pytest

from indexer.classification.open_set import (
    auroc,
    closeness,
    energy,
    fit_unknown,
    is_unknown,
    rule_logits,
    typicality,
    unknown_score,
)

RULE = {
    "mix": [1.0, 0.0, 1.0],
    "mean": [4.0, 0.0, 0.8],
    "spread": [2.0, 1.0, 0.1],
    "directions": [],
    "threshold": 2.0,
}


def world(seed: int, classes: int = 6, each: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors [N, 16], class columns; classes lie apart."""
    centres = np.random.default_rng(7).normal(size=(classes, 16))
    columns = np.repeat(np.arange(classes), each)
    rows = centres[columns] + 0.5 * np.random.default_rng(seed).normal(size=(len(columns), 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), columns


def test_energy_is_log_sum_exp() -> None:
    np.testing.assert_allclose(energy(np.array([[0.0, 0.0], [1000.0, 0.0]])), [np.log(2), 1000.0])


def test_score_is_the_weighted_distance_below_the_usual() -> None:
    """(4 - energy) / 2 + (0.8 - nearest) / 0.1, and unknown above 2."""
    logits = np.array([3.0, -50.0])
    assert unknown_score(logits, 0.7, RULE) == pytest.approx(0.5 + 1.0)
    assert not is_unknown(logits, 0.7, RULE)
    assert is_unknown(logits, 0.6, RULE)
    assert not is_unknown(logits, 0.0, None)


def test_closeness_is_the_mean_cosine_within_the_columns() -> None:
    gallery = np.array([[9.0, 1, 0], [9, 0, 2], [9, -1, 0]])
    query = np.array([[5.0, 3, 0]])
    assert closeness(query, gallery, slice(1, 3), 2) == pytest.approx([0.5])
    assert closeness(query, gallery, slice(1, 3), 9) == pytest.approx([0.0])


def test_auroc_counts_pairs_and_halves_ties() -> None:
    assert auroc(np.array([2.0, 1.0]), np.array([1.0, 0.0])) == 3.5 / 4


def test_a_class_never_taught_is_told_from_known_ones_after_json() -> None:
    """Five of six classes are taught: the sixth is caught, and 5% of the validation photos are
    false alarms."""
    vectors, columns = world(0)
    known = columns < 5
    held, held_columns = world(1)
    check = held_columns < 5
    columns_of_g = slice(0, 16)
    rule = fit_unknown(
        vectors[known],
        columns[known],
        held[check],
        np.zeros((check.sum(), 5), np.float32),
        general=columns_of_g,
    )
    rule = json.loads(json.dumps(rule, allow_nan=False))

    def score(asked: np.ndarray) -> np.ndarray:
        near = closeness(asked, vectors[known], columns_of_g)
        logits = rule_logits(asked, np.empty(0), rule)
        return unknown_score(logits, near, rule, typicality(asked, rule))

    assert (score(held[check]) > rule["threshold"]).mean() == pytest.approx(0.05, abs=0.005)
    fresh, fresh_columns = world(2)
    strange = score(fresh[fresh_columns == 5])
    assert auroc(strange, score(fresh[fresh_columns < 5])) > 0.95
    assert (strange > rule["threshold"]).mean() > 0.6
    assert rule["auroc"] > 0.8


def test_the_block_s_weight_in_the_embedding_changes_nothing() -> None:
    """Vectors whose general block has length 0.5 behind another block: the same rule and the same
    scores."""
    vectors, columns = world(0)
    behind = np.concatenate(
        [np.ones((len(vectors), 3), np.float32), vectors * np.float32(0.5)], axis=1
    )
    logits = np.zeros((50, 6), np.float32)
    plain = fit_unknown(vectors, columns, vectors[:50], logits, general=slice(0, 16))
    moved = fit_unknown(behind, columns, behind[:50], logits, general=slice(3, 19))
    assert plain is not None
    assert moved is not None
    assert moved["mix"] == plain["mix"]
    np.testing.assert_allclose(
        rule_logits(behind, np.empty(0), moved), rule_logits(vectors, np.empty(0), plain), atol=2e-3
    )
    assert moved["threshold"] == pytest.approx(plain["threshold"], abs=1e-2)


def test_many_classes_read_the_head_s_own_logits() -> None:
    """A probe of 2,000 classes would bloat the rule: the head's energy and closeness serve."""
    rng = np.random.default_rng(0)
    columns = np.concatenate([np.arange(900), np.repeat(np.arange(900, 2000), 2)])
    rows = rng.normal(size=(2000, 40))[columns] + 0.2 * rng.normal(size=(len(columns), 40))
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    logits = 10 * vectors[:100] @ vectors[:2000].T
    rule = fit_unknown(vectors, columns, vectors[:100], logits, general=slice(0, 40))
    assert rule is not None
    assert "weights" not in rule
    assert rule["mix"] == [1.0, 0.0, 1.0, 0.6667]
    assert rule_logits(vectors[:3], logits[:3], rule) is not None
    assert len(json.dumps(rule)) < 2000


@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 0, 1]])
def test_fewer_than_three_classes_have_no_rule(labels: list[int]) -> None:
    vectors = np.eye(4, dtype=np.float32)
    assert (
        fit_unknown(vectors, np.array(labels), vectors, np.zeros((4, 2)), general=slice(0, 4))
        is None
    )


def test_no_validation_photos_have_no_rule() -> None:
    vectors, columns = world(0)
    assert (
        fit_unknown(vectors, columns, vectors[:0], np.zeros((0, 6)), general=slice(0, 16)) is None
    )


def test_what_lies_along_axes_that_no_photo_takes_is_no_product() -> None:
    """Kinds spread along the first axes alone; what points elsewhere is caught by the spread, and
    rules from before it score as they did."""
    rng = np.random.default_rng(4)
    usual = np.where(np.arange(64) < 8, 1.0, 0.05)

    def drawn(count: int, spread: np.ndarray) -> np.ndarray:
        rows = rng.normal(size=(count, 64)) * spread
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    vectors, held = drawn(600, usual), drawn(200, usual)
    labels = vectors[:, :8].argmax(1)
    rule = fit_unknown(vectors, labels, held, np.zeros((200, 8)), general=slice(0, 64))
    assert rule is not None
    odd = typicality(drawn(50, np.ones(64)), rule)
    assert odd.max() < np.quantile(typicality(held, rule), 0.01)
    assert rule["mix"][3] == pytest.approx(sum(rule["mix"][:3]) / 3, abs=1e-4)
    before = {name: value for name, value in rule.items() if name not in ("centre", "variance")}
    before |= {name: rule[name][:3] for name in ("mix", "mean", "spread")}
    assert (typicality(held, before) == 0).all()
    logits, near = rule_logits(held, np.empty(0), rule), closeness(held, vectors, slice(0, 64))
    fourth = (rule["mean"][3] - typicality(held, rule)) / rule["spread"][3] * rule["mix"][3]
    np.testing.assert_allclose(
        unknown_score(logits, near, before) + fourth,
        unknown_score(logits, near, rule, typicality(held, rule)),
    )
