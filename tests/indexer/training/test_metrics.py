"""Metrics against numbers worked out by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from indexer.tagging.fit import best_threshold
from indexer.training import metrics


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60))
def test_macro_figures_equal_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    actual, predicted = (np.array(side) for side in zip(*pairs, strict=True))
    counts = metrics.class_counts(actual, predicted, 5)
    labels = sorted(set(actual.tolist()))
    for mine, theirs in (
        (counts.precision(), precision_score),
        (counts.recall(), recall_score),
        (counts.f1(), f1_score),
    ):
        wanted = theirs(actual, predicted, labels=labels, average="macro", zero_division=0)
        assert float(counts.macro(mine)) == pytest.approx(wanted)


def test_average_precision_and_hits_by_hand() -> None:
    assert metrics.average_precision(np.array([1, 0, 1, 0], bool)) == pytest.approx(
        (1 / 1 + 2 / 3) / 2
    )
    assert metrics.average_precision(np.zeros(3, bool)) == 0.0
    assert [metrics.hit_at_k(np.array([0, 1, 0], bool), k) for k in (1, 2, 3)] == [
        False,
        True,
        True,
    ]


def test_a_query_never_finds_itself_its_copies_or_its_own_product() -> None:
    gallery = np.eye(4, dtype=np.float32)
    rules = metrics.RankedGallery(
        np.array([7]), np.array([7, 1, 2, 3]), np.array(["p"]), np.array(["a", "p", "b", "c"])
    )
    query = np.array([[0.9, 0.3, 0.2, 0.1]], np.float32)
    [(number, order, scores)] = metrics.ranked_neighbours(query, gallery, rules)
    assert (number, order.tolist()) == (0, [2, 3])
    np.testing.assert_allclose(scores, [0.2, 0.1])


def test_micro_and_macro_tag_f1_by_hand() -> None:
    actual = np.array([[1, 0, 0], [1, 1, 0]], bool)
    suggested = np.array([[1, 1, 0], [0, 1, 1]], bool)
    counts = metrics.TagCounts(actual, suggested)
    precision, recall, f1 = counts.micro()
    assert (precision, recall, f1) == (
        pytest.approx(2 / 4),
        pytest.approx(2 / 3),
        pytest.approx(4 / 7),
    )
    assert float(counts.macro_f1()) == pytest.approx(
        (2 / 3 + 2 / 3) / 2
    )  # the third tag has no test positive
    once, twice = counts.micro(np.array([[1.0, 1.0], [2.0, 0.0]]))[2]
    assert once == pytest.approx(4 / 7)
    assert twice == pytest.approx(2 * 2 / (4 + 2))


def test_tag_map_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    actual, confidence = rng.random((40, 6)) < 0.2, rng.random((40, 6))
    actual[:, 5] = False
    wanted = np.mean(
        [average_precision_score(actual[:, tag], confidence[:, tag]) for tag in range(5)]
    )
    assert metrics.tag_map(actual, confidence) == pytest.approx(wanted)


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0])),
        min_size=1,
        max_size=40,
    )
)
def test_the_best_threshold_beats_every_other(pairs: list[tuple[bool, float]]) -> None:
    actual = np.array([[yes for yes, _ in pairs]])
    confidence = np.array([[share for _, share in pairs]])

    def f1(threshold: float) -> float:
        return float(metrics.TagCounts(actual, confidence >= threshold).micro()[2])

    found = best_threshold(actual, confidence)
    if found is None:
        assert not (actual & (confidence > 0)).any()
    else:
        assert f1(found) >= max(f1(bar) for bar in (0.1, 0.3, 0.5, 0.8)) - 1e-12


def test_photos_of_one_product_are_drawn_together() -> None:
    weights = metrics.bootstrap_weights(["a", "b", "a", "c"], resamples=50)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(1), 3)


def test_interval_of_a_proportion_is_near_the_binomial_one() -> None:
    right = np.array([1.0] * 90 + [0.0] * 10)
    weights = metrics.bootstrap_weights([str(number) for number in range(100)], resamples=4000)
    low, high = metrics.mean_intervals(weights, {"accuracy": right})["accuracy"]
    assert (low, high) == (pytest.approx(0.84, abs=0.015), pytest.approx(0.95, abs=0.015))
