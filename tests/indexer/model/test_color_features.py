"""The colour statistics see the product's colour, not the background's."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.core.native import torch
from indexer.imaging import lab_color
from indexer.imaging.lab_color import WIDTHS
from indexer.model import backbones
from indexer.model.color_features import ColourStatistics
from indexer.model.preprocessing import to_batch

PREPROCESS = backbones.find("efficientnet_lite0").preprocess


def described(
    product: tuple[int, int, int],
    ground: tuple[int, int, int],
    share: float = 0.5,
    *,
    version: int = 1,
) -> np.ndarray:
    """Statistics of a square of one colour in the middle of another."""
    pixels = np.full((1, 224, 224, 3), ground, np.uint8)
    half = int(112 * share**0.5)
    pixels[:, 112 - half : 112 + half, 112 - half : 112 + half] = product
    with torch.inference_mode():
        statistics = ColourStatistics(PREPROCESS, version)(to_batch(pixels, PREPROCESS, "cpu"))
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
    assert len(flat) == WIDTHS[1]


@pytest.mark.parametrize("version", list(WIDTHS))
@pytest.mark.parametrize("side", [224, 240, 260])
def test_from_pixels_as_from_the_network_s_input(side: int, version: int) -> None:
    """The quick way of exported models gives the statistics that training saw, at every backbone's
    size."""
    coarse = np.random.default_rng(0).integers(0, 256, (2, side // 4, side // 4, 3), np.uint8)
    pixels = coarse.repeat(4, axis=1).repeat(4, axis=2)
    of = ColourStatistics(PREPROCESS, version)
    with torch.inference_mode():
        np.testing.assert_allclose(
            lab_color.statistics(pixels, version),
            of(to_batch(pixels, PREPROCESS, "cpu")),
            atol=1e-4,
        )


def test_the_first_version_stays_as_it_was() -> None:
    """Models made before there were others answer alike: numbers taken then."""
    coarse = np.random.default_rng(5).integers(0, 256, (1, 7, 7, 3), np.uint8)
    found = lab_color.statistics(coarse.repeat(32, axis=1).repeat(32, axis=2), 1)[0]
    assert found.astype(np.float64) @ np.arange(326) == pytest.approx(2947.91954, abs=1e-2)
    last = [1.0743566, 0.16233805, 0.15140691, 0.35381272, 0.8915896, 0.9832278]
    np.testing.assert_allclose(found[-6:], last, atol=1e-5)
    assert found[134] == sorted(found)[-5]


def test_the_second_version_knows_where_a_colour_is() -> None:
    """Red over blue and blue over red are one histogram and two rows of cells."""
    pixels = np.full((2, 224, 224, 3), 255, np.uint8)
    pixels[0, 32:112, 64:160] = pixels[1, 112:192, 64:160] = (200, 20, 30)
    pixels[0, 112:192, 64:160] = pixels[1, 32:112, 64:160] = (20, 40, 200)
    found = lab_color.statistics(pixels, 2)
    first, second = found[:, : WIDTHS[1]], found[:, WIDTHS[1] :]
    np.testing.assert_allclose(first[0], lab_color.statistics(pixels[:1], 1)[0], atol=1e-6)
    np.testing.assert_allclose(first[0], first[1], atol=0.05)
    colour = second[:, : 3 * 49].reshape(2, 7, 7, 3)
    presence = second[:, 3 * 49 :].reshape(2, 7, 7)
    assert colour[0, 2, 3, 2] > 0.5 > -1.0 > colour[1, 2, 3, 2]
    assert colour[0, 4, 3, 2] < -1.0 < 0.5 < colour[1, 4, 3, 2]
    assert presence[0, 3, 3] > 0.95
    assert presence[0, 0, 0] < 0.1
