"""Overlays on a photo: frames, bands and lines of text, seams of a collage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from indexer.imaging.analysis_view import AnalysisView, luminance, quantiles
from indexer.quality.advice_template import Advice
from indexer.quality.analyzed_photo import AnalyzedPhoto
from indexer.quality.findings import FINDINGS, NEVER, FindingSpec, Floors, Measure, saturate
from indexer.quality.seams import LINE_SHARE

# strips of the width that text must fill
_STRIPS = 12
# change between px that is a stroke's edge
_STROKE = 12.0
# heights of a line of text that are tried, of the photo's
_TEXT_HEIGHTS = (0.045, 0.065, 0.09)


def measure_border(photo: AnalyzedPhoto) -> Measure:
    """Measure the frame's area as a share of the photo's; 0.5 at 2%."""
    view = photo.whole
    left, top, right, bottom = photo.border
    width, height = view.width - left - right, view.height - top - bottom
    share = 1 - width * height / (view.width * view.height)
    sides = zip(("left", "top", "right", "bottom"), photo.border, strict=True)
    evidence = {name: float(round(side * view.scale)) for name, side in sides}
    evidence["share"] = share
    where = view.original(left, top, width, height) if share else None
    return Measure(saturate(share, 0.02), evidence, where)


@dataclass(frozen=True)
class TextRow:
    """Rows ``top`` to ``bottom`` (px of the view) that look like a line of text.

    ``full``: how much fuller of strokes than the rows above and below, in [0, 1]; ``contrast`` of
    the strokes, of 255.
    """

    top: int
    bottom: int
    full: float
    contrast: float


def find_text(view: AnalysisView, noise: float) -> TextRow | None:
    """Find the row range where strokes fill the photo's width, but not above and below it.

    What is printed on a product is no wider than the product, and fabric goes on above and below.
    """
    after, before = view.green[::2, 1:], view.green[::2, :-1]
    change = np.maximum(after, before) - np.minimum(after, before)
    rows, width = change.shape
    strip = width // _STRIPS
    if strip < 6 or rows < 40:
        return None
    strong = change > int(_STROKE + 4 * noise)
    counts = np.add.reduceat(
        strong[:, : strip * _STRIPS], np.arange(_STRIPS) * strip, axis=1, dtype=np.int32
    )
    filled = (np.minimum(counts, 3) / 3).astype(np.float32)
    sums = np.concatenate([np.zeros((1, _STRIPS), np.float32), np.cumsum(filled, 0)])
    best: tuple[float, int, int] | None = None
    for share in _TEXT_HEIGHTS:
        found = _fullest_rows(sums, max(4, round(share * rows)))
        if found is not None and (best is None or found[0] > best[0]):
            best = found
    if best is None:
        return None
    full, top, tall = best
    hits = change[top : top + tall][strong[top : top + tall]]
    contrast = float(quantiles(hits, [0.75])[0]) if len(hits) else 0.0
    return TextRow(2 * top, 2 * (top + tall), full, contrast)


def _fullest_rows(sums: np.ndarray, tall: int) -> tuple[float, int, int] | None:
    """How much fuller than its flanks the fullest range of ``tall`` rows is, its first row, tall.

    ``sums`` float32 [rows + 1, strips]: running sums of how full each strip of a row is.
    """
    gap, flank = max(1, tall // 3), max(2, tall // 2)
    means = (sums[tall:] - sums[:-tall]) / tall
    flanks = (sums[flank:] - sums[:-flank]) / flank
    places = np.arange(gap + flank, len(means) - gap - flank - 1)
    if not len(places):
        return None
    above = flanks[places - gap - flank]
    below = flanks[np.minimum(places + tall + gap, len(flanks) - 1)]
    # The median over strips: most of the width must be filled, and emptier both above and below.
    fuller = np.sort(np.clip(means[places] - np.maximum(above, below), 0, 1), axis=1)
    full = (fuller[:, _STRIPS // 2 - 1] + fuller[:, _STRIPS // 2]) / 2
    at = int(full.argmax())
    return float(full[at]), int(places[at]), tall


def measure_text(photo: AnalyzedPhoto) -> Measure:
    """Measure an overlaid band or line of text by how strongly it covers what is under it."""
    view, band = photo.view, photo.band
    text = find_text(view, photo.noise)
    seen = 0.0
    cover = 0.0
    where = None
    evidence = {"band": 0.0, "text": 0.0, "cover": 0.0}
    if text is not None and text.full > 0.12:
        seen = min(1.0, 2 * text.full)
        cover = text.contrast / 255
        where = view.original(0, text.top, view.width, text.bottom - text.top)
        evidence["text"] = text.full
    if band is not None:
        rows = view.pixels[band.top : band.bottom, :: max(1, view.width // 128)]
        low, high = np.quantile(luminance(rows.astype(np.float32)), (0.03, 0.97))
        seen = band.share
        cover = max(cover, (band.contrast + float(high - low)) / 2 / 255)
        where = view.original(0, band.top, view.width, band.bottom - band.top)
        evidence["band"] = band.share
    evidence["cover"] = cover
    return Measure(0.3 * seen + 0.7 * saturate(seen * cover, 0.4), evidence, where)


def measure_collage(photo: AnalyzedPhoto) -> Measure:
    """Measure straight seams right through the photo, away from its edges: pictures in one."""
    view, band = photo.view, photo.band
    found: dict[str, float] = {}
    seams: list[tuple[float, bool, int]] = []
    for name, along, vertical in (
        ("horizontal", photo.down, False),
        ("vertical", photo.across, True),
    ):
        length = len(along.lines)
        places = np.arange(len(along.share))
        inner = (places > 0.15 * length) & (places < 0.85 * length)
        if band is not None and not vertical:
            inner &= (places < band.top - 3) | (places > band.bottom + 3)
        share = np.where(inner, along.share, 0.0)
        best = int(share.argmax()) if len(share) else 0
        strength = float(share[best]) if len(share) else 0.0
        found[name] = strength
        seams.append((strength, vertical, best))
    strength, vertical, place = max(seams)
    score = saturate(max(strength - 0.55, 0.0) ** 2 * 8, 0.6)
    if strength < LINE_SHARE:
        return Measure(score, found)
    across = (place, 0, 2, view.height) if vertical else (0, place, view.width, 2)
    return Measure(score, found, view.original(*across))


FINDINGS.register(
    FindingSpec(
        "border",
        measure_border,
        floors={
            "studio": Floors(0.3, 0.5, 0.9, 0.6),
            "marketplace": Floors(0.5, 0.8, 0.95, 0.5),
        },
        advice=Advice(
            en="The photo has a frame that takes {share%} of it: crop the frame off.",
            zh="照片带有边框，占画面的 {share%}：请裁掉边框。",
        ),
        place=140,
    )
)
FINDINGS.register(
    FindingSpec(
        "text-overlay",
        measure_text,
        floors={
            "studio": Floors(0.45, 0.58, 0.7),
            "marketplace": Floors(0.5, 0.6, NEVER, 0.8),
        },
        advice=Advice(
            en="Text or a band lies over the photo: upload the photo without text, logo or "
            "watermark.",
            zh="照片上有文字或色带：请上传没有文字、标志和水印的照片。",
        ),
        place=150,
    )
)
FINDINGS.register(
    FindingSpec(
        "collage",
        measure_collage,
        floors={
            "studio": Floors(0.2, 0.3, 0.5),
            "marketplace": Floors(0.25, 0.35, NEVER, 0.6),
        },
        advice=Advice(
            en="The photo is put together from several pictures: upload each as a photo of its "
            "own.",
            zh="照片由多张图片拼成：请分别上传每一张。",
        ),
        place=160,
    )
)
