"""Emblems of one policy file: bounds of one budget, and what an emblem on a photo scores."""

from __future__ import annotations

import numpy as np
from PIL import Image

from indexer.imaging.decode import Photo, decode_photo
from indexer.moderation.gallery import prepare_for_symbols
from tools.bench.data.worn_emblems import worn
from tools.bench.parts.emblem_recall import Emblem, fit_reviews


def ground(seed: int) -> Photo:
    """A photo of soft blobs."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 6, 3)).astype(np.uint8))
    pixels = coarse.resize((180, 240), Image.Resampling.BICUBIC)
    return Photo(pixels, "JPEG", 180, 240, f"{seed:064x}")


def test_an_emblem_is_found_where_it_is_worn_plainly() -> None:
    """Upright it scores above the bound of the file, and above any photo that gave the bound."""
    emblem, catalog = Emblem.drawn(0), [ground(seed) for seed in range(2)]
    reviews = fit_reviews([emblem], catalog)
    assert list(reviews) == [emblem.name] == ["badge"]
    plain = [emblem.score(prepare_for_symbols(photo)) for photo in catalog]
    assert reviews["badge"] >= max(plain)
    data = worn(catalog[0].pixels, emblem.logo, "upright", 0.25, 5)
    assert emblem.score(prepare_for_symbols(decode_photo(data))) > reviews["badge"]
