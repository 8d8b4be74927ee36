"""The degradations do what their recipe says; figures are computed from scores as defined."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.quality.findings import FINDINGS
from tools.bench.data.degradations import BESIDE, DEGRADATIONS, crop_at, degrade
from tools.bench.quality import figures

BY_NAME = {what.name: what for what in (*DEGRADATIONS, *BESIDE)}
BOX = (30.0, 20.0, 40.0, 50.0)


def photo() -> np.ndarray:
    pixels = np.full((100, 100, 3), 240, np.uint8)
    pixels[20:70, 30:70] = (120, 40, 60)
    return pixels


def test_degradations_are_seeded_and_name_findings() -> None:
    for what in BY_NAME.values():
        assert what.code in FINDINGS
        assert len(what.amounts) == 5
        first, again = (degrade(photo(), what, 3, BOX, 7) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert first.dtype == np.uint8


@pytest.mark.parametrize(
    ("side", "place"), [("left", (38, 0)), ("top", (0, 30)), ("right", (0, 0)), ("bottom", (0, 0))]
)
def test_a_crop_takes_its_share_of_the_product(side: str, place: tuple[int, int]) -> None:
    """A fifth of the box goes at the named side, with all beyond it."""
    cut = crop_at(photo(), 0.2, BOX, side)
    height = {"top": 70, "bottom": 60}.get(side, 100)
    width = {"left": 62, "right": 62}.get(side, 100)
    assert cut.shape == (height, width, 3)
    product = (cut == (120, 40, 60)).all(2).sum()
    assert product == 50 * 40 * 0.8


def test_smaller_leaves_the_product_its_share() -> None:
    small = degrade(photo(), BY_NAME["small"], 3, BOX, 0)
    rows = np.flatnonzero((small[..., 1] < 140).any(1))
    assert small.shape == (100, 100, 3)
    assert rows[-1] - rows[0] + 1 == pytest.approx(30, abs=1)
    np.testing.assert_array_equal(small[0, 0], (240, 240, 240))


def test_noise_gamma_and_band_have_their_strength() -> None:
    flat = np.full((200, 200, 3), 128, np.uint8)
    assert degrade(flat, BY_NAME["noise"], 3, BOX, 0).std() == pytest.approx(20, rel=0.02)
    assert degrade(flat, BY_NAME["dark"], 3, BOX, 0)[0, 0, 0] == round(255 * (128 / 255) ** 3)
    faint, full = (
        degrade(flat, BY_NAME["text"], strength, BOX, 1).astype(int) - 128 for strength in (1, 5)
    )
    assert np.abs(faint - full * 0.2).max() <= 1


def test_figures_are_auroc_and_spearman() -> None:
    """Perfect order is 1 and 1; scores that never move have no correlation."""
    before = np.array([0.1, 0.2])
    perfect = figures(before, np.array([[0.3, 0.4, 0.5, 0.6, 0.7]] * 2))
    assert (perfect["auroc"], perfect["rank_correlation"]) == (1.0, pytest.approx(1.0))
    still = figures(before, np.full((2, 5), 0.15))
    assert (still["auroc"], still["rank_correlation"], still["rank_correlation_pooled"]) == (
        0.5,
        0.0,
        0.0,
    )
