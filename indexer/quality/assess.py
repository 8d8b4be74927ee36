"""One photo examined: every finding, whether it is there or not."""

from __future__ import annotations

import numpy as np

from indexer.imaging.analysis_view import look_at
from indexer.imaging.foreground import find_product
from indexer.quality import framing
from indexer.quality.advice import advice
from indexer.quality.exposure import colour_cast, low_contrast, overexposed, underexposed
from indexer.quality.findings import CODES, Finding, Measure
from indexer.quality.noise_and_blur import blurred, jpeg_blocking, noise_sigma, noisy
from indexer.quality.overlays import (
    border,
    collage,
    find_band,
    find_border,
    find_text,
    steps,
    text_overlay,
)
from indexer.quality.profiles import STUDIO, Profile
from indexer.quality.shop_percentiles import ShopQuality


def assess_quality(
    pixels: np.ndarray,
    *,
    size: tuple[int, int] | None = None,
    profile: Profile = STUDIO,
    shop: ShopQuality | None = None,
) -> list[Finding]:
    """All findings of a photo, in the order of ``CODES``; never raises for the sake of what the
    photo shows.

    ``pixels``: upright sRGB, uint8 [H, W, 3], as ``images.decode`` gives. ``size``: (width, height)
    in px of the original where ``pixels`` are a reduced copy of it; boxes are in its px. Scores do
    not depend on ``profile``, levels do. Raises ``ValueError`` for an array of another shape or
    type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"pixels must be uint8 [H, W, 3], not {pixels.dtype} {list(pixels.shape)}")
    measures = _measure(pixels, size or (pixels.shape[1], pixels.shape[0]))
    return [_finding(code, measures[code], profile, shop) for code in CODES]


def _measure(pixels: np.ndarray, size: tuple[int, int]) -> dict[str, Measure]:
    whole = look_at(pixels, size)
    down, across = steps(whole, 0), steps(whole, 1)
    sides = find_border(whole, down, across)
    view = whole
    if any(sides):
        left, top, right, bottom = sides
        view = whole.inside(left, top, whole.width - right, whole.height - bottom)
        down, across = steps(view, 0), steps(view, 1)
    band = find_band(down)
    product = find_product(view, [(band.top, band.bottom)] if band is not None else None)
    noise = noise_sigma(view)
    measures = {
        "no-product": framing.no_product(product),
        "low-resolution": framing.low_resolution(view, product),
        "blurred": blurred(view, noise),
        "underexposed": underexposed(view, product),
        "overexposed": overexposed(view, product),
        "low-contrast": low_contrast(view),
        "noisy": noisy(view, noise),
        "jpeg-blocking": jpeg_blocking(pixels, max(size) / max(pixels.shape[:2])),
        "colour-cast": colour_cast(view, product),
        "busy-background": framing.busy_background(view, product),
        "product-cut": framing.product_cut(view, product),
        "product-too-small": framing.product_too_small(view, product),
        "off-centre": framing.off_centre(view, product),
        "border": border(whole, sides),
        "text-overlay": text_overlay(view, band, find_text(view, noise)),
        "collage": collage(view, down, across, band),
    }
    return measures


def _finding(code: str, measure: Measure, profile: Profile, shop: ShopQuality | None) -> Finding:
    score = float(min(max(measure.score, 0.0), 1.0))
    evidence = {name: round(float(value), 4) for name, value in measure.evidence.items()}
    return Finding(
        code=code,
        score=score,
        level=profile.demands[code].level(score),
        evidence=evidence,
        box=measure.box,
        advice=advice(code, evidence),
        percentile=None if shop is None else shop.percentile(code, score),
    )
