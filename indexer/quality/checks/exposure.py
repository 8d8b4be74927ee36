"""Exposure, contrast and white balance, on the small copy of the photo."""

from __future__ import annotations

import numpy as np

from indexer.imaging.analysis_view import luminance, quantiles
from indexer.imaging.geometry import Box
from indexer.quality.advice_template import Advice
from indexer.quality.analyzed_photo import AnalyzedPhoto
from indexer.quality.findings import FINDINGS, NEVER, FindingSpec, Floors, Measure, saturate

# luma of 255 from which no detail is left
_WASHED = 245.0
# luma from which a plain background tells the colour of the light
_BRIGHT = 140.0
# order of the mean of shades of grey: 1 is grey world, infinity is white patch
_NORM = 6


def measure_underexposure(photo: AnalyzedPhoto) -> Measure:
    """Measure how far down the product's shadows go, in logarithms, and how dark it is overall.

    Read on the product, since a studio's white background stays white. In a well exposed photo even
    a black product has shadows that are not black; too little light, or a steep curve, takes them
    there first.
    """
    levels = quantiles(_product_luma(photo), (0.01, 0.03, 0.05, 0.1, 0.5, 0.95))
    depth = -np.log((levels + 0.2) / 256)
    dark = float(depth[:4].mean() + 0.3 * (depth[4] + depth[5]))
    evidence = {"shadows": float(levels[1]), "median": float(levels[4]), "light": float(levels[5])}
    return Measure(saturate(dark**2, 30.0), evidence, _product_box(photo))


def measure_overexposure(photo: AnalyzedPhoto) -> Measure:
    """Measure how light the product's darkest parts are, and how light it is overall."""
    light = _product_luma(photo)
    levels = quantiles(light, (0.01, 0.03, 0.05, 0.5))
    washed = float((light > _WASHED).mean())
    bright = float(levels[:3].mean() + 0.2 * levels[3]) / 255
    evidence = {"shadows": float(levels[1]), "median": float(levels[3]), "washed": washed}
    return Measure(saturate(bright**2, 0.3), evidence, _product_box(photo))


def measure_low_contrast(photo: AnalyzedPhoto) -> Measure:
    """Measure the span of luma from the darkest to the lightest fiftieth of the photo, of 255."""
    low, high = quantiles(photo.view.light, (0.02, 0.98))
    span = float(high - low)
    return Measure(saturate((255 - span) / 255, 0.6), {"span": span})


def measure_colour_cast(photo: AnalyzedPhoto) -> Measure:
    """Measure the chroma of the light, in CIELAB: of a plain light background, else estimated.

    The estimate is shades of grey (Finlayson and Trezzi 2004): the mean of order 6 of each channel;
    it has ``sure`` 0.3. A plain background may be coloured on purpose, an estimate may be wrong:
    the floors allow for both.
    """
    product = photo.product
    if product.plain and float(luminance(product.background)) > _BRIGHT:
        colour = product.background / 255
        sure = 1.0
    else:
        cubes = (photo.view.small / 255).reshape(-1, 3) ** (_NORM // 2)
        colour = (np.einsum("nc,nc->c", cubes, cubes) / len(cubes)) ** (1 / _NORM)
        sure = 0.3
    colour = colour / max(float(colour.max()), 1e-6)
    red, green, blue = (float(value) for value in _to_linear(np.asarray(colour, np.float64)))
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883
    fx, fy, fz = (_lab_root(value) for value in (x, y, z))
    a, b = 500 * (fx - fy), 200 * (fy - fz)
    chroma = float(np.hypot(a, b))
    evidence = {"chroma": chroma, "a": a, "b": b, "sure": sure}
    return Measure(saturate(chroma * (0.3 + 0.7 * sure), 20.0), evidence)


def _to_linear(colour: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def _lab_root(value: float) -> float:
    """The function f of CIELAB."""
    return float(value ** (1 / 3) if value > 216 / 24389 else (24389 / 27 * value + 16) / 116)


def _product_luma(photo: AnalyzedPhoto) -> np.ndarray:
    """Luma of the product's pixels, or of the middle of the photo where there is none."""
    light = photo.view.light
    if photo.product.box is not None:
        return light[photo.product.mask]
    height, width = light.shape
    return light[height // 4 : height - height // 4, width // 4 : width - width // 4].ravel()


def _product_box(photo: AnalyzedPhoto) -> Box | None:
    """The product's box in px of the original."""
    return None if photo.product.box is None else photo.view.original(*photo.product.box)


FINDINGS.register(
    FindingSpec(
        "underexposed",
        measure_underexposure,
        floors={
            "studio": Floors(0.5, 0.57, 0.7, 0.8),
            "marketplace": Floors(0.57, 0.65, 0.8, 0.6),
        },
        advice=Advice(
            en="The product is too dark (its shadows are at {shadows} of 255, half of it below "
            "{median}): add light.",
            zh="商品过暗（暗部亮度 {shadows}/255，一半像素低于 {median}）：请补光或提高曝光。",
        ),
        place=40,
    )
)
FINDINGS.register(
    FindingSpec(
        "overexposed",
        measure_overexposure,
        floors={
            "studio": Floors(0.65, 0.78, 0.85, 0.8),
            "marketplace": Floors(0.75, 0.83, 0.9, 0.6),
        },
        advice=Advice(
            en="The product is washed out (its darkest parts are at {shadows} of 255): use less or "
            "softer light.",
            zh="商品过曝（最暗处亮度也有 {shadows}/255）：请降低曝光或使用柔光。",
        ),
        place=50,
    )
)
FINDINGS.register(
    FindingSpec(
        "low-contrast",
        measure_low_contrast,
        floors={
            "studio": Floors(0.5, 0.595, 0.62, 0.6),
            "marketplace": Floors(0.58, 0.61, 0.65, 0.4),
        },
        advice=Advice(
            en="The photo is flat: its tones span only {span} of 255; use stronger light or a "
            "background unlike the product.",
            zh="照片对比度低：明暗跨度只有 {span}/255；请加强光线，或换用与商品有反差的背景。",
        ),
        place=60,
    )
)
FINDINGS.register(
    FindingSpec(
        "colour-cast",
        measure_colour_cast,
        floors={
            "studio": Floors(0.2, 0.35, 0.6, 0.6),
            "marketplace": Floors(0.5, 0.65, NEVER, 0.3),
        },
        advice=Advice(
            en="The colours have a cast (chroma {chroma:.0f} where white has 0): set the white "
            "balance on something white.",
            zh="照片偏色（彩度 {chroma:.0f}，白色应为 0）：请对准白色物体设置白平衡。",
        ),
        place=90,
    )
)
