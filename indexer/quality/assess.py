"""Entry point of photo quality: run every registered check on one photo."""

from __future__ import annotations

import numpy as np

from indexer.imaging.ai_marks import AiMark
from indexer.quality.analyzed_photo import AnalyzedPhoto
from indexer.quality.findings import FINDINGS, Finding, FindingSpec
from indexer.quality.profiles import STUDIO, Profile
from indexer.quality.shop_percentiles import ShopQuality


def assess_quality(
    pixels: np.ndarray,
    *,
    size: tuple[int, int] | None = None,
    lost: float = 0.0,
    ai_mark: AiMark | None = None,
    profile: Profile = STUDIO,
    shop: ShopQuality | None = None,
) -> list[Finding]:
    """Return all findings of a photo, in the order of the registry, whatever the photo shows.

    ``pixels``: upright sRGB, uint8 [H, W, 3], as ``decode_photo`` gives. ``size``: (width, height)
    in px of the original where ``pixels`` are a reduced copy of it; boxes are in its px. ``lost``:
    the share of the photo that its file does not hold, ``ai_mark``: what the file says of AI that
    made it. Scores do not depend on ``profile``, levels do. Raises ``ValueError`` for an array of
    another shape or type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"pixels must be uint8 [H, W, 3], not {pixels.dtype} {list(pixels.shape)}")
    photo = AnalyzedPhoto(pixels, size or (pixels.shape[1], pixels.shape[0]), lost, ai_mark)
    return [_assess(spec, photo, profile, shop) for spec in FINDINGS]


def _assess(
    spec: FindingSpec, photo: AnalyzedPhoto, profile: Profile, shop: ShopQuality | None
) -> Finding:
    measure = spec.check(photo)
    score = float(min(max(measure.score, 0.0), 1.0))
    evidence = {name: round(float(value), 4) for name, value in measure.evidence.items()}
    return Finding(
        code=spec.code,
        score=score,
        level=profile.floors_of(spec).level(score),
        evidence=evidence,
        box=measure.box,
        advice=spec.advice.fill(evidence),
        percentile=None if shop is None else shop.percentile(spec.code, score),
    )
