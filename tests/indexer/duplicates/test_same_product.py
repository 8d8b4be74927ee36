"""The threshold of one product keeps its precision, or is not claimed."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.duplicates.same_product import OWN_PHOTOS, RECAPTURES, product_rule


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


def test_a_claim_stands_on_the_catalog_s_own_photos_and_enough_of_them() -> None:
    """All right of 36 is .90 to 1 and may be claimed; of 35, or of simulated photos, it is a
    suggestion, and the reason says on how many it stands."""
    apart = {"other": np.full(36, 0.2), "own": np.full(36, 0.9)}
    sure = product_rule(**apart, positives=OWN_PHOTOS)
    assert (sure.is_claimed, sure.reason) == (True, "")
    assert sure.least_precision == pytest.approx(0.025 ** (1 / 36))
    few = product_rule(apart["own"][1:], apart["other"][1:], positives=OWN_PHOTOS)
    assert (few.is_claimed, few.threshold) == (False, 0.9)
    assert few.reason == (
        "the threshold stands on 35 products with several photos: its precision may be as low as "
        "90.0%"
    )
    simulated = product_rule(**apart, positives=RECAPTURES)
    assert (simulated.is_claimed, simulated.threshold) == (False, 0.9)
    assert "36 photos that were shot again by simulation" in simulated.reason


def test_a_threshold_rises_until_its_interval_holds() -> None:
    """Of 100 right beside 10 false the count is .91 and the interval begins at .84: a higher
    threshold with fewer false ones is taken."""
    own = np.linspace(0.6, 0.99, 100)
    other = np.concatenate([np.full(90, 0.1), np.linspace(0.6, 0.65, 10)])
    rule = product_rule(own, other, positives=OWN_PHOTOS)
    assert rule.is_claimed
    assert rule.threshold > 0.62
    assert rule.least_precision >= 0.9


def test_what_cannot_be_told_is_not_claimed() -> None:
    """Too few photos, or others that look as alike: no threshold, and the reason."""
    rng = np.random.default_rng(0)
    few = product_rule(np.ones(29), np.zeros(29), positives="drawn")
    assert (few.threshold, few.photos) == (None, 29)
    assert "29 photos" in few.reason
    alike = product_rule(rng.uniform(0.5, 1, 200), rng.uniform(0.5, 1, 200), positives="drawn")
    assert alike.threshold is None
    assert "alike" in alike.reason
