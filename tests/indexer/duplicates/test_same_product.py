"""The threshold of one product keeps its precision, or is not claimed."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.duplicates.same_product import product_rule


def test_a_threshold_keeps_its_precision() -> None:
    """The least cosine with 90% right from it on; its figures are those of the samples."""
    own = np.concatenate([np.linspace(0.7, 0.99, 90), np.full(10, 0.3)])
    other = np.concatenate([np.linspace(0.2, 0.68, 95), [0.75, 0.8, 0.85, 0.9, 0.95]])
    rule = product_rule(own, other, positives="drawn")
    hits, alarms = (own >= rule.threshold).sum(), (other >= rule.threshold).sum()
    assert rule.precision == pytest.approx(hits / (hits + alarms))
    assert rule.precision >= 0.9
    assert rule.recall == hits / 100
    lower = own[own < rule.threshold].max()
    assert (own >= lower).sum() < 0.9 * ((own >= lower).sum() + (other >= lower).sum())


def test_what_cannot_be_told_is_not_claimed() -> None:
    """Too few photos, or others that look as alike: no threshold, and the reason."""
    rng = np.random.default_rng(0)
    few = product_rule(np.ones(29), np.zeros(29), positives="drawn")
    assert (few.threshold, few.photos) == (None, 29)
    assert "29 photos" in few.reason
    alike = product_rule(rng.uniform(0.5, 1, 200), rng.uniform(0.5, 1, 200), positives="drawn")
    assert alike.threshold is None
    assert "alike" in alike.reason
