"""Verdicts, bounds fitted to near misses, and scores on one scale."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.moderation.gallery import FittedGallery
from indexer.moderation.thresholds import Bounds, Rivals, fit_bounds, logistic, worst


def test_worst_is_the_strictest() -> None:
    """Block beats review beats allow; nothing found is allowed."""
    assert worst(["allow", "block", "review"]) == "block"
    assert worst(["allow", "review"]) == "review"
    assert worst([]) == "allow"


def test_verdict_at_the_bounds() -> None:
    """A bound itself counts; without a block there is review at most; the limit caps."""
    assert [Bounds(0.5, 0.9).verdict(score) for score in (0.49, 0.5, 0.89, 0.9)] == [
        "allow",
        "review",
        "review",
        "block",
    ]
    assert Bounds(0.5, None).verdict(1.0) == "review"
    assert Bounds(0.5, 0.9).verdict(1.0, "review") == "review"


def test_review_is_reached_by_the_share_of_false_alarms() -> None:
    """Of 1,000 near misses 0.5% reach review; block lies beyond the highest by its distance from
    review."""
    catalog = np.linspace(0, 1, 1001)
    bounds = fit_bounds(catalog, np.full(5, 2.0))
    assert bounds is not None
    assert (catalog >= bounds.review).sum() == 6
    assert bounds.block == pytest.approx(1.0 + (1.0 - bounds.review))


def test_block_needs_most_held_out_examples() -> None:
    """Where fewer than half of the held-out examples reach beyond the near misses, nothing is
    blocked."""
    catalog = np.linspace(0, 1, 1001)
    for held_out, blocks in (
        ([2.0, 2.0, 0.3, 0.4], True),
        ([2.0, 0.5, 0.3, 0.4], False),
        ([], False),
    ):
        bounds = fit_bounds(catalog, np.array(held_out))
        assert bounds is not None
        assert (bounds.block is not None) is blocks


def test_without_a_catalog_nothing_is_blocked() -> None:
    """No near misses: review from the lowest held-out score on."""
    assert fit_bounds(np.zeros(0), np.array([0.4, 0.7])) == Bounds(0.4, None)


def test_nothing_gives_no_bounds() -> None:
    """Neither near misses nor held-out examples: no bound is known, not even one of 0."""
    assert fit_bounds(np.zeros(0), np.zeros(0)) is None


def test_a_catalog_too_small_for_one_false_alarm_blocks_nothing() -> None:
    """At 0.5% of false alarms 200 near misses may give a bound to block, 199 do not."""
    near, held_out = np.linspace(0, 1, 200), np.full(5, 2.0)
    enough, few = fit_bounds(near, held_out), fit_bounds(near[:-1], held_out)
    assert enough is not None
    assert enough.block == pytest.approx(1.0 + (1.0 - enough.review))
    assert few == Bounds(float(np.quantile(near[:-1], 0.995)), None)
    assert fit_bounds(near, held_out, false_alarms=0.0025) == Bounds(
        float(np.quantile(near, 0.9975)), None
    )


def test_logistic_is_half_at_the_bound() -> None:
    """The bound becomes 0.5, one unit one step of the logit; far scores stay in [0, 1]."""
    assert logistic(3.0, 3.0, 4.0) == 0.5
    assert logistic(7.0, 3.0, 4.0) == pytest.approx(1 / (1 + np.exp(-1)))
    assert 0 <= logistic(-1e6, 3.0, 4.0) < logistic(1e6, 3.0, 4.0) <= 1


def test_rivals_take_what_is_theirs() -> None:
    """A gallery's score falls by what the catalog's own kinds make of a photo."""
    rivals = Rivals(np.eye(2, dtype=np.float32) * 5, np.zeros(2, np.float32))
    row = FittedGallery(np.ones(2, np.float32), 1.0, rivals, np.eye(2, dtype=np.float32), {})
    vectors = np.array([[1.0, 0.0]], np.float32)
    assert row.scores(vectors)[0] == pytest.approx(2 - np.log(np.exp(5) + 1))


@pytest.mark.parametrize("review", [None, 5e-324])
def test_a_catalog_on_which_nothing_is_found_blocks_nothing_of_the_kind(
    review: float | None,
) -> None:
    """Most scores are the same nothing: bounds stand above the least score that says something."""
    held_out = np.array([3.0, 4.0, 5.0])
    found = fit_bounds(np.zeros(250), held_out, review=review, least=1.0)
    assert found is not None
    assert found.block == pytest.approx(2.0)
    assert [found.verdict(score) for score in (0.0, 0.9, 1.0, 2.5)] == [
        *("allow", "allow", "review", "block"),
    ]
    assert fit_bounds(np.zeros(0), np.array([0.0, 4.0]), least=1.0) == Bounds(1.0, None)
