"""Emblems of three policy files: bounds of one budget each, and what a photo scores."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from indexer.imaging.decode import Photo, decode_photo
from indexer.model.spec import Block
from indexer.moderation.fit_galleries import CatalogSample, fit_galleries
from indexer.moderation.gallery import BannedGallery
from tools.bench.data.logos import PLAIN_KINDS, draw_plain_mark
from tools.bench.data.worn_emblems import WORN, worn
from tools.bench.parts.emblem_recall import Emblem, asks, fit_reviews, score_photos


def ground(seed: int) -> Photo:
    """A photo of soft blobs."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 6, 3)).astype(np.uint8))
    pixels = coarse.resize((180, 240), Image.Resampling.BICUBIC)
    return Photo(pixels, "JPEG", 180, 240, f"{seed:064x}")


def test_an_emblem_is_found_where_it_is_worn() -> None:
    """Bounds are those of the product's own fit, above all photos that gave them. Upright
    and turned it is found by the files that look for keypoints."""
    pytest.importorskip("cv2")
    emblem, catalog = Emblem.drawn(0), [ground(seed) for seed in range(3)]
    scores = score_photos([emblem], catalog).scores
    assert scores.shape == (3, 1, 2)
    reviews = fit_reviews(scores)
    assert {name: found.shape for name, found in reviews.items()} == {
        "symbol": (1, 1),
        "keypoints": (1, 1),
        "both": (1, 2),
    }
    sample = CatalogSample(np.zeros((0, 1), np.float32), np.zeros(0, int), enumerate(catalog))
    few = BannedGallery(examples=emblem.gallery.examples[:1], match=emblem.gallery.match)
    one = Emblem(emblem.name, emblem.logo, few)
    fitted = fit_galleries({"badge": few}, _no_network, (Block("g", 1, 1.0),), sample, budget=0.005)
    again = fit_reviews(score_photos([one], catalog).scores)["both"]
    bounds = fitted.galleries["badge"].bounds
    assert again[0].tolist() == [bounds["symbol"].review, bounds["keypoints"].review]
    for name, found in reviews.items():
        assert not asks(scores, found, name).any()
    for way in ("upright", "turned"):
        data = worn(catalog[0].pixels, emblem.logo, way, 0.25, 5)
        shown = score_photos([emblem], [decode_photo(data)]).scores[0]
        assert asks(shown, reviews["keypoints"], "keypoints").all()
        assert asks(shown, reviews["both"], "both").all()


def _no_network(photos: object) -> np.ndarray:
    return np.zeros((0, 1), np.float32)


@pytest.mark.parametrize("way", WORN[-3:])
def test_each_way_shows_the_emblem_again(way: str) -> None:
    """The same seed draws the same photo, which differs from the plain one where the emblem is."""
    emblem, plain = draw_plain_mark("star"), ground(1)
    data = worn(plain.pixels, emblem, way, 0.25, 3)
    assert data == worn(plain.pixels, emblem, way, 0.25, 3)
    changed = np.abs(
        np.asarray(decode_photo(data).pixels, int) - np.asarray(plain.pixels, int)
    ).max(2)
    assert 0.02 < (changed > 40).mean() < 0.4


def test_plain_marks_differ() -> None:
    assert len({draw_plain_mark(kind).tobytes() for kind in PLAIN_KINDS}) == len(PLAIN_KINDS)
