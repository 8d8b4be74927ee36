"""The benchmark ``train``: its goals are means over seeds of what its rows carry, and the peer's
head learns."""

from __future__ import annotations

import numpy as np

from tools.bench import train
from tools.bench.peers import plain_training

ROWS = [
    {
        "part": "fashion",
        "frozen": {"map": 0.5},
        "samples": [
            {
                "map": 0.7,
                "minutes": 3.0,
                "calibration": {"after": {"ece": 0.02}, "perfect_ece_p90": 0.03},
            },
            {
                "map": 0.9,
                "minutes": None,
                "calibration": {"after": {"ece": 0.05}, "perfect_ece_p90": 0.03},
            },
        ],
    }
]


def test_a_goal_is_the_mean_over_seeds_and_its_gain_over_the_frozen_network() -> None:
    assert np.isclose(train.mean_of("fashion", "map")(ROWS), 0.8)
    assert np.isclose(train.over_frozen("fashion", "map")(ROWS), 0.3)
    ece = train.less(
        "fashion", ("calibration", "after", "ece"), ("calibration", "perfect_ece_p90")
    )(ROWS)
    assert np.isclose(ece, 0.005)


def test_a_figure_that_a_seed_lacks_has_no_mean() -> None:
    """A mean over fewer seeds than were run would look like a measurement of all."""
    assert train.mean_of("fashion", "minutes")(ROWS) is None
    assert train.mean_of("clothing", "map")(ROWS) is None
    assert train.over_frozen("fashion", "accuracy")(ROWS) is None


def test_the_peer_s_head_learns_what_is_parted() -> None:
    """Rows that are not trained on are told apart too, and a seed gives one result."""
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 4
    features = np.eye(4)[labels] * 8 + 0.1 * rng.normal(size=(1000, 4))
    found = plain_training.head_on_features(features, labels, np.arange(1000) < 800, 4, seed=0)
    assert (found[800:] == labels[800:]).mean() > 0.95
    again = plain_training.head_on_features(features, labels, np.arange(1000) < 800, 4, seed=0)
    np.testing.assert_array_equal(found, again)
