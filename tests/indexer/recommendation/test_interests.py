"""Recommendations as functions on small vectors whose answers are known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from indexer.catalog.filters import FilterableProduct
from indexer.recommendation.interests import (
    Interest,
    attribute_odds,
    cluster_history,
    cluster_interests,
    event_weights,
    logsumexp_interests,
    mmr,
    reasons,
    score_candidates,
    values_of,
)

DAY = 86_400.0
X, Y = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def unit(*rows: tuple[float, ...]) -> np.ndarray:
    found = np.array(rows, np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def test_two_clusters_are_two_interests() -> None:
    """Three products along one axis, two along another: two interests with shares 3/5 and 2/5 and
    central medoids."""
    vectors = unit(X, (0.9, 0, 0.3), (0.9, 0, -0.3), (0, 1, 0.1), Y)
    found = cluster_interests(vectors, np.ones(5), [[]] * 5, lambda value: 1.0)
    assert [interest.members.tolist() for interest in found] == [[0, 1, 2], [3, 4]]
    assert [interest.share for interest in found] == pytest.approx([0.6, 0.4])
    assert found[0].medoid == 0
    assert found[0].query == pytest.approx([1, 0, 0], abs=1e-6)


def test_attributes_part_what_looks_alike() -> None:
    """Equal vectors: one interest where attributes agree, two where they share nothing (distance 1
    - (1 + 0) / 2)."""
    vectors = unit(X, X)
    one = cluster_history(vectors, [[("kind", "a")], [("kind", "a")]], apart=0.4)
    two = cluster_history(vectors, [[("kind", "a")], [("kind", "b")]], apart=0.4)
    assert (len(one), len(two)) == (1, 2)


def test_weights_shift_share_and_query() -> None:
    """A purchase of weight 3 beside a view: the query lies three parts along it."""
    found = cluster_interests(
        unit(X, Y), np.array([3.0, 1.0]), [[], []], lambda value: 1.0, apart=2.0
    )
    assert found[0].query == pytest.approx(np.array([3, 1, 0]) / math.sqrt(10), abs=1e-6)
    assert found[0].medoid == 0


def test_half_life() -> None:
    """30 days halve, 60 quarter; no time counts as new, and nothing is newer than now."""
    times = np.array([100 * DAY, 70 * DAY, 40 * DAY, np.nan])
    assert event_weights(np.array([1, 1, 2, 1.0]), times) == pytest.approx([1, 0.5, 0.5, 1])
    assert event_weights(np.ones(1), np.array([200 * DAY]), now=100 * DAY) == pytest.approx([1])
    assert event_weights(np.array([2.0]), np.array([np.nan])) == pytest.approx([2])


def test_rare_values_say_more() -> None:
    """log(1 + c / (m p)) with m = 8: three products share a value of 1% of the catalog and one of
    half."""
    odds = attribute_odds(
        [[("kind", "a"), ("sex", "w")]] * 3,
        np.ones(3),
        lambda value: {"a": 0.01, "w": 0.5}[value[1]],
    )
    assert odds == pytest.approx(
        {("kind", "a"): math.log(1 + 3 / 0.08), ("sex", "w"): math.log(1 + 3 / 4)}
    )


def test_affinity_is_share_likeness_and_attributes() -> None:
    """log share + 5 cosine + half of the odds that hold; -inf where a candidate is not meant for an
    interest."""
    interest = Interest(np.array([0]), 0, 0.5, unit(X)[0], {("kind", "a"): 2.0, ("sex", "w"): 1.0})
    table = score_candidates(
        [interest],
        np.array([[1.0, 0.2, -np.inf]]),
        [("kind", "a"), ("sex", "w")],
        np.array([[True, False, True], [True, True, True]]),
    )
    assert table[0] == pytest.approx([math.log(0.5) + 5 + 1.5, math.log(0.5) + 1 + 0.5, -np.inf])


def test_a_product_for_two_interests_counts_for_both() -> None:
    """The scores' exponentials add up."""
    assert logsumexp_interests(np.log([[0.2, 0.5], [0.3, 1e-300]])) == pytest.approx(
        np.log([0.5, 0.5])
    )


def test_mmr_takes_the_diverse_one() -> None:
    """The second best is a copy of the best, so the third comes before it; without diversity it
    does not."""
    vectors = unit(X, X, Y)
    scores = np.array([2.0, 1.9, 1.5])
    places, value = mmr(scores, vectors, 3, diversity=1.0)
    assert places.tolist() == [0, 2, 1]
    assert value == pytest.approx([2.0, 1.5, 0.9])
    assert mmr(scores, vectors, 2, diversity=0.0)[0].tolist() == [0, 1]
    assert len(mmr(scores, vectors, 9)[0]) == 3


def test_values_never_rise_along_a_list() -> None:
    """What each result had when it was taken is at most what the one before had: it can be shown as
    a score."""
    rng = np.random.default_rng(0)
    vectors = unit(*rng.standard_normal((40, 8)).tolist())
    _, value = mmr(rng.standard_normal(40), vectors, 40, diversity=2.0)
    assert np.all(np.diff(value) <= 1e-12)


def test_the_reason_is_the_nearest_of_the_history() -> None:
    """Place and cosine of the product of the history that is most alike."""
    place, cosine = reasons(unit((1, 0.1, 0), Y), unit(Y, X))
    assert place.tolist() == [1, 0]
    assert cosine == pytest.approx([1 / math.sqrt(1.01), 1.0], abs=1e-6)


def test_what_products_share() -> None:
    """Category levels, texts, lists and yes-or-no; no tags, numbers, dates or blanks."""
    given = {
        "colour": "red",
        "sale": True,
        "sizes": ["S", "M"],
        "price": 3.0,
        "day": "2026-01-01",
        "brand": " ",
    }
    types = {
        "colour": "string",
        "sale": "bool",
        "sizes": "list",
        "price": "number",
        "day": "datetime",
        "brand": "string",
    }
    found = values_of(FilterableProduct(1, ("A", "B"), ("tagged",), given), types)
    assert found == [
        ("category", "A"), ("category", "A > B"), ("colour", "red"), ("sale", "true"), 
        ("sizes", '"S"'), ("sizes", '"M"'),
    ]  # fmt: skip
