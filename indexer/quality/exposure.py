"""Exposure, contrast and white balance, on the small copy of the photo."""

from __future__ import annotations

import numpy as np

from indexer.imaging.analysis_view import AnalysisView, luminance, quantiles
from indexer.imaging.foreground import ForegroundProduct
from indexer.quality.findings import Measure, rising

_WASHED = 245.0  # luma of 255 from which nothing is told apart
_BRIGHT = 140.0  # luma from which a plain background tells the colour of the light
_NORM = 6  # of shades of grey: 1 is grey world, infinity is white patch


def underexposed(view: AnalysisView, product: ForegroundProduct) -> Measure:
    """How far down the product's shadows go, in stops' natural logarithms, and a little of how dark
    all of it is.

    Read on the product, since a studio's white background stays white. In a well exposed photo even
    a black product has shadows that are not black; too little light, or a steep curve, takes them
    there first.
    """
    levels = quantiles(_subject(view, product), (0.01, 0.03, 0.05, 0.1, 0.5, 0.95))
    depth = -np.log((levels + 0.2) / 256)
    dark = float(depth[:4].mean() + 0.3 * (depth[4] + depth[5]))
    evidence = {"shadows": float(levels[1]), "median": float(levels[4]), "light": float(levels[5])}
    return Measure(rising(dark**2, 30.0), evidence, _where(view, product))


def overexposed(view: AnalysisView, product: ForegroundProduct) -> Measure:
    """How light the product's own darkest parts are, and a little of how light all of it is."""
    light = _subject(view, product)
    levels = quantiles(light, (0.01, 0.03, 0.05, 0.5))
    washed = float((light > _WASHED).mean())
    bright = float(levels[:3].mean() + 0.2 * levels[3]) / 255
    evidence = {"shadows": float(levels[1]), "median": float(levels[3]), "washed": washed}
    return Measure(rising(bright**2, 0.3), evidence, _where(view, product))


def low_contrast(view: AnalysisView) -> Measure:
    """Span of luma between the darkest and lightest fiftieth of the whole photo, of 255."""
    low, high = quantiles(view.light, (0.02, 0.98))
    span = float(high - low)
    return Measure(rising((255 - span) / 255, 0.6), {"span": span})


def colour_cast(view: AnalysisView, product: ForegroundProduct) -> Measure:
    """Chroma of the light, in units of CIELAB: of a plain light background, else estimated
    (``sure`` 0.3).

    The estimate is shades of grey (Finlayson and Trezzi 2004): the mean of order 6 of each channel.
    A plain background may be coloured on purpose, a guess may be wrong: the floors mind both.
    """
    luma = float(luminance(product.background))
    if product.plain and luma > _BRIGHT:
        colour, sure = product.background / 255, 1.0
    else:
        cubes = (view.small / 255).reshape(-1, 3) ** (_NORM // 2)
        colour, sure = (np.einsum("nc,nc->c", cubes, cubes) / len(cubes)) ** (1 / _NORM), 0.3
    colour = colour / max(float(colour.max()), 1e-6)
    red, green, blue = (float(value) for value in _linear(np.asarray(colour, np.float64)))
    x = (0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047
    y = 0.2126729 * red + 0.7151522 * green + 0.0721750 * blue
    z = (0.0193339 * red + 0.1191920 * green + 0.9503041 * blue) / 1.08883
    fx, fy, fz = (
        value ** (1 / 3) if value > 216 / 24389 else (24389 / 27 * value + 16) / 116
        for value in (x, y, z)
    )
    a, b = 500 * (fx - fy), 200 * (fy - fz)
    chroma = float(np.hypot(a, b))
    return Measure(
        rising(chroma * (0.3 + 0.7 * sure), 20.0), {"chroma": chroma, "a": a, "b": b, "sure": sure}
    )


def _linear(colour: np.ndarray) -> np.ndarray:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def _subject(view: AnalysisView, product: ForegroundProduct) -> np.ndarray:
    """Luma of the product's pixels, or of the middle of the photo where there is none."""
    light = view.light
    if product.box is not None:
        return light[product.mask]
    height, width = light.shape
    return light[height // 4 : height - height // 4, width // 4 : width - width // 4].ravel()


def _where(view: AnalysisView, product: ForegroundProduct) -> tuple[int, int, int, int] | None:
    return None if product.box is None else view.original(*product.box)
