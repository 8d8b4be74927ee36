"""The search for symbols, against a plain loop over all places."""

from __future__ import annotations

import numpy as np
import pytest

from indexer.moderation.template_matching import (
    canvas_scale,
    find_match,
    prepare_photo,
    prepare_templates,
)


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
