"""Complementary categories: lift to the last digit on orders that can be counted by hand."""

from __future__ import annotations

import pytest

from indexer.recommendation.cooccurrence import Pair, complementary


def test_lift_is_exact() -> None:
    """Of 8 orders shirt is in 4, tie in 3, both in 3: 3 * 8 / (4 * 3) = 2; hat is bought alone."""
    orders = [["shirt", "tie"]] * 3 + [["shirt", "hat", "hat"]] + [["hat"]] * 4
    assert complementary(orders, min_support=3) == [Pair("shirt", "tie", 3, 2.0)]


def test_support_is_needed() -> None:
    """Two orders are too few for three; with two, shirt and hat are there, but by
    chance: left out."""
    orders = [["shirt", "tie"]] * 2 + [["shirt", "hat"]] * 2 + [["hat"]] * 4
    assert complementary(orders, min_support=3) == []
    assert complementary(orders, min_support=2) == [Pair("shirt", "tie", 2, pytest.approx(2.0))]


def test_a_category_twice_in_one_order_counts_once() -> None:
    """Two shirts and a tie are one order with both, and shirt does not go with shirt."""
    orders = [["shirt", "shirt", "tie"]] * 2 + [["hat"]] * 2
    assert complementary(orders, min_support=1) == [Pair("shirt", "tie", 2, 2.0)]
