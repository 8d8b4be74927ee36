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
    weights = metrics.bootstrap(["a", "b", "a", "c"], resamples=50).weights
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(1), 3)


def test_the_interval_of_a_share_is_the_exact_one() -> None:
    """0 of 4 is 0 to .60: what nobody has seen in four photos may still be common."""
    for right, low, high in ((0, 0.0, 0.602), (4, 0.398, 1.0), (2, 0.068, 0.932)):
        found = metrics.bootstrap(range(4), resamples=4000).means(
            {"accuracy": np.arange(4) < right}
        )
        assert found["accuracy"] == pytest.approx([low, high], abs=0.01)
    many = metrics.bootstrap(range(100), resamples=4000).means({"accuracy": np.arange(100) < 90})
    assert many["accuracy"] == pytest.approx([0.824, 0.951], abs=0.005)


def test_ten_photos_of_one_product_say_what_one_says() -> None:
    alone = metrics.bootstrap(["a"] * 10).means({"accuracy": np.ones(10)})["accuracy"]
    assert alone == pytest.approx([0.025, 1.0])
    pairs = metrics.bootstrap(np.repeat(np.arange(50), 2), resamples=4000)
    single = metrics.bootstrap(np.arange(50), resamples=4000)
    right = np.arange(50) < 40
    doubled = pairs.means({"accuracy": np.repeat(right, 2)})["accuracy"]
    assert doubled == pytest.approx(single.means({"accuracy": right})["accuracy"], abs=0.01)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(300):
        right = rng.random(25) < 0.9
        low, high = metrics.bootstrap(range(25), resamples=300).means({"a": right})["a"]
        held += low <= 0.9 <= high
    assert held / 300 >= 0.94
