"""Calibration of labels: probabilities that hold, and little faith in few photos."""

from __future__ import annotations

import numpy as np
from scipy.special import expit

from indexer.model.calibration import pair_calibration_error
from indexer.training.label_calibration import fit_slopes


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of three labels, three times too sure and one too low, and which are true."""
    rng = np.random.default_rng(seed)
    right = rng.normal([-2.0, 0.0, -4.0], 1.5, size=(count, 3))
    actual = rng.random(right.shape) < expit(right)
    return 3 * right + np.array([1.0, 1.0, -2.0]), actual


def test_labels_become_probabilities() -> None:
    """On other products than those they were fitted on."""
    slope, offset = fit_slopes(*drawn(600, 0))
    logits, actual = drawn(600, 1)
    before = pair_calibration_error(expit(logits), actual)
    after = pair_calibration_error(expit(logits * slope + offset), actual)
    assert after < 0.03 < before


def test_a_label_of_few_photos_stays_near_the_others() -> None:
    """Ten products of a label do not overturn what a thousand pairs of others say; of a label that
    says the opposite next to nothing is left."""
    logits, actual = drawn(600, 0)
    few = np.full((600, 1), -6.0)
    few[:10] = 6.0
    turned = np.zeros((600, 1), bool)
    turned[:3] = True
    slope, _ = fit_slopes(
        np.concatenate([logits, few, -logits[:, 1:2]], axis=1),
        np.concatenate([actual, turned, actual[:, 1:2]], axis=1),
    )
    assert abs(slope[3] - slope[:3].mean()) < 0.3
    assert 0 < slope[4] < 0.1
    assert (slope > 0).all()
