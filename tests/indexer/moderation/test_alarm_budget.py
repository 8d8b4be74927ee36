"""One false-alarm budget for all galleries of a file: kept, measured, not overclaimed."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.moderation.alarm_budget import count_alarms, share_budget

WAYS = 10


def scores(rng: np.random.Generator, photos: int, *, alike: float) -> np.ndarray:
    """Scores [photos, WAYS] in ten units; ``alike``: how much all ways see the same in a photo."""
    own = rng.normal(size=(photos, WAYS))
    shared = rng.normal(size=(photos, 1))
    together = alike**0.5 * shared + (1 - alike) ** 0.5 * own
    return np.asarray(np.exp(together * np.linspace(0.2, 1.5, WAYS)) * np.arange(1, WAYS + 1))


@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_ten_galleries_ask_about_no_more_than_the_budget(alike: float) -> None:
    """Of photos that fitting never saw about .5% are asked about in the mean, whether the galleries
    find the same photos or each its own."""
    rng = np.random.default_rng(0)
    alarms = []
    for _ in range(20):
        near, fresh = scores(rng, 1000, alike=alike), scores(rng, 4000, alike=alike)
        shared = share_budget(list(near.T), near, np.zeros(1000, bool))
        assert shared.alarms is not None
        assert shared.alarms.alarms == 4
        alarms.append((fresh >= shared.reviews).any(1).mean())
    assert 0.0035 < np.mean(alarms) < 0.006


def test_each_way_gets_an_equal_part() -> None:
    """What counts is how rare a score is: units and spreads of the ways differ sevenfold."""
    rng = np.random.default_rng(1)
    near, fresh = scores(rng, 4000, alike=0.0), scores(rng, 40_000, alike=0.0)
    found = fresh >= share_budget(list(near.T), near, np.zeros(4000, bool), budget=0.02).reviews
    assert found.any(1).mean() == pytest.approx(0.02, abs=0.005)
    assert found.mean(0).max() < 4 * found.mean(0).min()


def test_one_way_is_asked_from_its_own_score() -> None:
    """Of 1,000 photos four lie above: a further one is among the five highest of 1,001 with .5%.
    The tail smooths them, hence a point or two."""
    near = np.random.default_rng(0).permutation(1000).astype(float)[:, None]
    (review,) = share_budget([near[:, 0]], near, np.zeros(1000, bool)).reviews
    assert review == pytest.approx(995, abs=2)


def test_other_detectors_use_up_to_half_of_the_budget() -> None:
    """Two photos that are asked about anyway leave two of four to the galleries; forty leave two
    too, and the report says that the budget is not kept."""
    rng = np.random.default_rng(2)
    near = scores(rng, 1000, alike=0.0)
    for others, kept in ((2, True), (40, False)):
        found = share_budget(list(near.T), near, np.arange(1000) < others).alarms
        assert found is not None
        assert (found.alarms, found.others, found.shown) == (others + 2, others, kept)
    assert "thresholds of the file alone ask about 40 of 1000" in found.describe()


def test_a_budget_finer_than_the_photos_show_is_not_claimed() -> None:
    """198 photos cannot show .5%: nothing of them is asked about, and the report says how many it
    needs; 199 can."""
    rng = np.random.default_rng(3)
    for photos, shown in ((198, False), (199, True)):
        near = scores(rng, photos, alike=0.0)
        found = share_budget(list(near.T), near, np.zeros(photos, bool)).alarms
        assert found is not None
        assert (found.alarms, found.shown) == (0, shown)
        assert found.highest == pytest.approx(1 - 0.025 ** (1 / photos))
    least = share_budget([near[:20, 0]], near[:20, :1], np.zeros(20, bool)).alarms
    assert least is not None
    few = least.describe()
    assert few.startswith("the budget of 0.50% false alarms cannot be shown by 20 photos")
    assert "needed: 199" in few


def test_scores_that_are_all_the_same_ask_about_nothing() -> None:
    """A gallery that no photo resembles at all: only what is above all of it counts."""
    near = np.zeros((300, 1))
    (review,) = share_budget([near[:, 0]], near, np.zeros(300, bool)).reviews
    assert 0 < review < 1e-6


def test_without_photos_each_way_gets_an_equal_part() -> None:
    """Vectors are known, but no photo can be read: nothing is measured together."""
    rng = np.random.default_rng(4)
    near = scores(rng, 1000, alike=0.0)
    shared = share_budget(list(near.T), near[:0], np.zeros(0, bool))
    assert shared.alarms is None
    assert (near >= shared.reviews).any(1).sum() <= 15


def test_budgets_of_their_own_are_counted_together() -> None:
    """Two ways that each ask about one of ten photos, and a detector that asks about a third."""
    seen = np.zeros((10, 2))
    seen[0, 0] = seen[1, 1] = 1
    found = count_alarms([1.0, 1.0], seen, np.arange(10) == 5)
    assert (found.alarms, found.others, found.wanted, found.shown) == (3, 1, None, False)
    assert found.describe().startswith("each gallery has a false-alarm budget of its own; of 10 ")


@pytest.mark.parametrize(("photos", "found"), [(60, 1), (200, 1), (200, 3), (1000, 1), (1000, 3)])
def test_a_way_that_finds_almost_nothing_makes_no_other_stricter(photos: int, found: int) -> None:
    """Keypoints that agree on one photo, or on three, and on no other: no tail tells how rare that
    is. Their own threshold stands above as many of them as the budget does not allow; the other
    way's stays about where it is without them."""
    rng = np.random.default_rng(5)
    plain = rng.exponential(size=(photos, 1))
    sparse = np.zeros((photos, 1))
    sparse[rng.choice(photos, found, replace=False), 0] = 1.2 + np.arange(found)
    near = np.hstack([plain, sparse])
    asked = np.zeros(photos, bool)
    alone = share_budget([plain[:, 0]], plain, asked).reviews[0]
    shared = share_budget(list(near.T), near, asked)
    assert shared.alarms is not None
    allowed = {60: 0, 200: 0, 1000: 4}[photos]
    assert int((near >= shared.reviews).any(1).sum()) <= shared.alarms.alarms <= allowed
    assert shared.reviews[0] == pytest.approx(alone, abs=1)
    if not allowed:
        assert shared.reviews[1] > sparse.max()
