"""Bounds from near misses, verdicts, and the search for symbols, against values worked out
otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.moderation.template_matching import (
    canvas_scale,
    find_match,
    prepare_photo,
    prepare_templates,
)
from indexer.moderation.thresholds import Bounds, fit_bounds, logistic, worst


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


def test_search_equals_plain_correlation() -> None:
    """The best score and place are those of a plain loop over all places, mask and colours
    included."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (40, 50, 3)).astype(np.uint8)
    template = rng.integers(0, 256, (9, 12, 3)).astype(np.float32)
    mask = (rng.random((9, 12)) < 0.7).astype(np.float32)
    photo[20:29, 31:43][mask > 0] = np.clip(
        template * 0.5 + rng.normal(60, 25, template.shape), 0, 255
    )[mask > 0]
    inside = mask > 0

    def plain(top: int, left: int) -> float:
        place, wanted = (
            photo[top : top + 9, left : left + 12][inside].astype(float),
            template[inside].astype(float),
        )
        place, wanted = place - place.mean(0), wanted - wanted.mean(0)
        return float((place * wanted).sum() / np.sqrt((place**2).sum() * (wanted**2).sum()))

    scores = {(top, left): plain(top, left) for top in range(32) for left in range(39)}
    best = max(scores, key=lambda place: scores[place])
    found = find_match(prepare_templates([[(template, mask)]]), prepare_photo(photo, 1.0))
    assert found is not None
    assert best == (20, 31)
    assert found.box == (31, 20, 12, 9)
    assert found.score == pytest.approx(scores[best], abs=1e-4)


def test_plain_places_match_nothing() -> None:
    """A photo of one colour scores 0, and flat or oversized examples are no templates."""
    template = np.zeros((8, 8, 3), np.float32)
    template[:, 4:] = 200
    ones = np.ones((8, 8), np.float32)
    found = find_match(
        prepare_templates([[(template, ones)]]),
        prepare_photo(np.full((30, 30, 3), 90, np.uint8), 1.0),
    )
    assert found is not None
    assert found.score == pytest.approx(0, abs=1e-3)
    flat, large = np.full((8, 8, 3), 7.0, np.float32), np.zeros((79, 79, 3), np.float32)
    large[:40] = 200
    assert (
        len(prepare_templates([[(flat, ones), (large, np.ones((79, 79), np.float32))]]).spectra)
        == 0
    )


@pytest.mark.parametrize(("width", "height"), [(64, 64), (640, 640), (100, 400), (1, 1), (5000, 2)])
def test_canvas_holds_every_shape(width: int, height: int) -> None:
    """Any photo's long side fits on the canvas; an ordinary one covers the area of 64 x 64."""
    scale = canvas_scale(width, height)
    assert max(width, height) * scale <= 80 + 1e-9
    if 2 * max(width, height) < 3 * min(width, height):
        assert width * height * scale**2 == pytest.approx(64 * 64)
