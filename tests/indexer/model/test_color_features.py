"""The colour statistics see the product's colour, not the background's."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.core.native import torch
from indexer.imaging import lab_color
from indexer.model import backbones
from indexer.model.color_features import WIDTH, ColourStatistics
from indexer.model.preprocessing import to_batch

PREPROCESS = backbones.find("efficientnet_lite0").preprocess


def described(
    product: tuple[int, int, int], ground: tuple[int, int, int], share: float = 0.5
) -> np.ndarray:
    """Statistics of a square of one colour in the middle of another."""
    pixels = np.full((1, 224, 224, 3), ground, np.uint8)
    half = int(112 * share**0.5)
    pixels[:, 112 - half : 112 + half, 112 - half : 112 + half] = product
    with torch.inference_mode():
        statistics = ColourStatistics(PREPROCESS)(to_batch(pixels, PREPROCESS, "cpu"))
    return np.asarray(statistics.numpy()[0])


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 0, 0), (53.2, 80.1, 67.2)),
        ((0, 0, 128), (13.0, 47.5, -64.7)),
        ((255, 255, 0), (97.1, -21.6, 94.5)),
    ],
)
def test_the_mean_is_the_product_s_lab_colour(
    rgb: tuple[int, int, int], lab: tuple[float, float, float]
) -> None:
    """Against published Lab values of pure red, navy and yellow (D65)."""
    np.testing.assert_allclose(
        described(rgb, (255, 255, 255))[-6:-3] * 50, lab, atol=2.5
    )  # the soft edge takes part


def test_the_background_hardly_counts() -> None:
    red_on_white, red_on_grey = (
        described((200, 20, 30), (255, 255, 255)),
        described((200, 20, 30), (120, 120, 120)),
    )
    blue_on_white = described((20, 40, 200), (255, 255, 255))
    assert red_on_white[:-6] @ red_on_grey[:-6] > 0.98
    assert red_on_white[:-6] @ blue_on_white[:-6] < 0.1


def test_shares_sum_to_one_also_where_nothing_stands_out() -> None:
    """A photo of one colour is described by its middle, without a division by nothing."""
    flat = described((90, 160, 90), (90, 160, 90))
    assert np.isfinite(flat).all()
    assert float((flat[:-6] ** 2).sum()) == pytest.approx(1.0, abs=1e-4)
    assert len(flat) == WIDTH


@pytest.mark.parametrize("side", [224, 240, 260])
def test_from_pixels_as_from_the_network_s_input(side: int) -> None:
    """The quick way of exported models gives the statistics that training saw, at every backbone's
    size."""
    coarse = np.random.default_rng(0).integers(0, 256, (2, side // 4, side // 4, 3), np.uint8)
    pixels = coarse.repeat(4, axis=1).repeat(4, axis=2)
    of = ColourStatistics(PREPROCESS)
    with torch.inference_mode():
        np.testing.assert_allclose(
            lab_color.statistics(pixels), of(to_batch(pixels, PREPROCESS, "cpu")), atol=1e-4
        )
