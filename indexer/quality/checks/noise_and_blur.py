"""Sharpness, noise and JPEG blocks, on sampled tiles of the pixels."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.fft import dct

from indexer.imaging.analysis_view import SHORT, AnalysisView, grid, luma_tiles, sample_tiles, tiles
from indexer.quality.advice_template import Advice
from indexer.quality.analyzed_photo import AnalyzedPhoto
from indexer.quality.findings import FINDINGS, FindingSpec, Floors, Measure, saturate

# px
_EDGE_TILE = 32
_EDGE_TILES = 48
# passes of [1 2 1] / 4: variances 0.5 and 3 px^2
_FINE = 1
_COARSE = 6
# mean squared gradient (grey levels per px) below which a tile has no edge to judge by
_EDGE = 4.0

_BLOCK_TILES = 120
# Of JPEG's example luminance table (ITU-T T.81, K.1) the six lowest frequencies, as rows and
# columns of the block.
_ROWS = (0, 1, 1, 0, 2, 1)
_COLUMNS = (1, 0, 1, 2, 0, 2)
_TABLE = np.array([11.0, 12.0, 12.0, 10.0, 14.0, 14.0], np.float32)
# factors on the table, up to 5.6
_FACTORS = 0.2 * 1.1 ** np.arange(36)
# [factors, 6]
_ROUNDED_TO = np.maximum(np.floor(_TABLE * _FACTORS[:, None] + 0.5), 1.0).astype(np.float32)
_BLOCKS = 200
_FEWEST_BLOCKS = 12
_FEWEST_VALUES = 10
# mean cosine of the frequencies' turns from which they count as multiples (1: all exactly)
_MULTIPLES = 0.4
# grey levels: larger steps between neighbours are edges of the subject, not of JPEG blocks
_STEP = 20.0


def measure_noise(photo: AnalyzedPhoto) -> Measure:
    """Measure the standard deviation of the noise, 0.5 at 10 grey levels."""
    return Measure(saturate(photo.noise, 10.0), {"sigma": photo.noise})


def measure_blur(photo: AnalyzedPhoto) -> Measure:
    """Measure how wide the sharpest edges are: sigma of a Gaussian in px at short side 512.

    At an edge of blur s, the energy of the gradient after smoothing by t is proportional to 1 /
    sqrt(s^2 + t^2), so the ratio of two smoothings gives s (the re-blur idea of Zhuo and Sim 2011,
    with energies in place of values at single px). What white noise adds to either energy is known
    and taken off, so noise does not look sharp; tiles without an edge say nothing, so a flat
    subject does not look blurred.
    """
    view = photo.view
    side = min(_EDGE_TILE, view.height, view.width)
    unknown = Measure(0.0, {"edges": 0.0, "sigma": 0.0})
    if side < 2 * _COARSE + 6:
        return unknown
    part = tiles(view.green, _edge_tiles(view, side), side, side).astype(np.float32)
    fine, coarse = _energies(part)
    fine_noise = _noise_energy(side, _FINE) * photo.noise**2
    fine = fine - fine_noise
    coarse = coarse - _noise_energy(side, _COARSE) * photo.noise**2
    # Where the coarse energy is larger, the edge lies outside the tile and only its smoothed foot
    # within.
    edged = (coarse > _EDGE) & (fine > 0.5 * fine_noise) & (fine > coarse)
    if not edged.any():
        return unknown
    # Of sums: sharper edges have more energy, so they decide, and the noise of single tiles
    # averages out.
    ratio = max(float(fine[edged].sum() / coarse[edged].sum()), 1.0 + 1e-3) ** 2
    squared = (_COARSE / 2 - ratio * _FINE / 2) / (ratio - 1)
    sigma = max(squared, 0.01) ** 0.5 * SHORT / min(view.height, view.width)
    return Measure(saturate(sigma, 4.0), {"sigma": sigma, "edges": float(edged.sum())})


def measure_jpeg_blocks(photo: AnalyzedPhoto) -> Measure:
    """Measure how coarsely JPEG has rounded the photo, and how much its 8 x 8 blocks show.

    The photo's pixels must not be reduced, or have been reduced by the JPEG decoder. Where the grid
    lies is searched for, since photos are cropped after they were compressed. ``excess``: how much
    larger steps between neighbours are at the blocks' borders than within (large ones, the
    subject's own edges, are cut to 20 levels first). ``coarseness``: the factor on the standard's
    example table of quantisation (1: quality 50, 2: quality 25) of which the blocks' frequencies
    are multiples, 0 where they are multiples of nothing; ``quality`` is the same on the usual scale
    of 1 to 100, 100 where nothing is seen.
    """
    nothing = Measure(0.0, {"excess": 0.0, "coarseness": 0.0, "quality": 100.0})
    pixels = photo.pixels
    height, width = pixels.shape[:2]
    scale = max(photo.size) / max(height, width)
    period = round(8 / scale)
    side = 4 * period + 1
    if period < 4 or abs(period - 8 / scale) > 0.05 or side > min(height, width):
        return nothing
    corners = sample_tiles(grid(height, width, side, period), _BLOCK_TILES)
    part = luma_tiles(pixels, corners, side)
    excess = []
    phases = []
    for axis in (1, 2):
        step = np.minimum(np.abs(np.diff(part, axis=axis)), _STEP)[:, : side - 1, : side - 1]
        by_phase = step.mean(0).mean(2 - axis).reshape(-1, period).mean(0)
        phases.append(int(by_phase.argmax()))
        most = float(by_phase.max())
        within = (float(by_phase.sum()) - most) / (period - 1)
        excess.append(max(most - within, 0.0) / (within + 0.3))
    visible = float(np.mean(excess))
    coarse = _coarseness(part, period, (phases[0] + 1) % period, (phases[1] + 1) % period)
    quality = 100 - 50 * coarse if coarse <= 1 else 50 / coarse
    evidence = {"excess": visible, "coarseness": coarse, "quality": quality}
    return Measure(saturate(coarse + visible, 3.0), evidence)


def _coarseness(part: np.ndarray, period: int, down: int, across: int) -> float:
    """The largest factor on JPEG's example table that divides the blocks' low frequencies; 0: none.

    ``part`` [N, side, side]; blocks begin at ``down``, ``across``. A decoder that halves the photo
    keeps the low frequencies of each block, scaled by the block's side.
    """
    rows = (part.shape[1] - down) // period * period
    columns = (part.shape[2] - across) // period * period
    blocks = part[:, down : down + rows, across : across + columns]
    blocks = blocks.reshape(len(part), rows // period, period, columns // period, period).swapaxes(
        2, 3
    )
    blocks = blocks.reshape(-1, period * period)
    clipped = np.einsum("np->n", ((blocks < 1) | (blocks > 254)).astype(np.float32)) / period**2
    mean = np.einsum("np->n", blocks) / period**2
    variance = np.einsum("np,np->n", blocks, blocks) / period**2 - mean**2
    usable = np.flatnonzero(clipped <= 0.3)
    if len(usable) < _FEWEST_BLOCKS:
        return 0.0
    blocks = blocks[usable[np.argsort(variance[usable])[::-1][:_BLOCKS]]]
    frequencies = blocks @ _low_waves(period)
    turns = frequencies / _ROUNDED_TO[:, None]
    telling = np.abs(turns) > 0.6
    counts = telling.sum((1, 2))
    cosines = np.cos(2 * np.pi * turns).reshape(len(turns), -1)
    alike = np.einsum("fn,fn->f", cosines, telling.reshape(len(turns), -1).astype(np.float32))
    for place in np.flatnonzero((counts >= _FEWEST_BLOCKS) & (alike > _MULTIPLES * counts))[::-1]:
        # A drawn picture repeats few values, which are multiples of much by chance.
        if len(np.unique(np.round(frequencies[telling[place]], 1))) >= _FEWEST_VALUES:
            return float(_FACTORS[place])
    return 0.0


@cache
def _low_waves(period: int) -> np.ndarray:
    """Matrix float32 [period * period, 6] from a block's px to its six lowest frequencies.

    They are in the unit of blocks of 8 px.
    """
    wave = dct(np.eye(period), axis=0, norm="ortho") * (8 / period) ** 0.5
    return np.stack(
        [np.outer(wave[r], wave[c]).ravel() for r, c in zip(_ROWS, _COLUMNS, strict=True)], 1
    ).astype(np.float32)


def _edge_tiles(view: AnalysisView, side: int) -> np.ndarray:
    """Corners of the tiles that hold most of the small copy's gradient."""
    gradient = view.slope
    margin = _COARSE + 1
    cells = max(1, (side - 2 * margin) // view.step)
    rows, columns = max(1, gradient.shape[0] // cells), max(1, gradient.shape[1] // cells)
    blocks = gradient[: rows * cells, : columns * cells]
    blocks = (
        blocks.reshape(rows, min(cells, gradient.shape[0]), columns, min(cells, gradient.shape[1]))
        .sum(1)
        .sum(2)
    )
    best = np.argsort(blocks.ravel())[::-1][:_EDGE_TILES]
    corners = np.stack(np.unravel_index(best, blocks.shape), 1) * cells * view.step - margin
    return np.clip(corners, 0, [view.height - side, view.width - side])


@cache
def _kernels(side: int, passes: int) -> tuple[np.ndarray, np.ndarray]:
    """Matrices [side, inner] that smooth along one axis, and smooth and differentiate.

    The same px are seen whatever the passes.
    """
    kernel = np.ones(1)
    for _ in range(passes):
        kernel = np.convolve(kernel, [0.25, 0.5, 0.25])
    slope = np.convolve(kernel, [0.5, 0.0, -0.5])
    margin = _COARSE + 1
    smooth_at = np.zeros((side, side - 2 * margin))
    slope_at = np.zeros((side, side - 2 * margin))
    for column in range(side - 2 * margin):
        centre = column + margin
        smooth_at[centre - passes : centre + passes + 1, column] = kernel
        slope_at[centre - passes - 1 : centre + passes + 2, column] = slope
    return smooth_at.astype(np.float32), slope_at.astype(np.float32)


def _energies(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean squared gradients [N] of tiles float32 [N, side, side], after either smoothing."""
    side = part.shape[1]
    both = [_kernels(side, passes) for passes in (_FINE, _COARSE)]
    # Along rows all four kernels in one product; along columns each with its counterpart. Tile by
    # tile, since BLAS would start a second thread for all tiles at once, which then spins beside
    # everything else.
    along = (part @ np.concatenate([kernel for pair in both for kernel in pair], 1)).reshape(
        len(part), side, 4, -1
    )
    found = []
    for place, (smooth, slope) in enumerate(both):
        gradients = (slope.T @ along[:, :, 2 * place], smooth.T @ along[:, :, 2 * place + 1])
        found.append(
            sum(np.einsum("nij,nij->n", one, one) for one in gradients) / gradients[0][0].size
        )
    return found[0], found[1]


@cache
def _noise_energy(side: int, passes: int) -> float:
    """What white noise of variance 1 adds to ``_energies``."""
    smooth, slope = _kernels(side, passes)
    return float(2 * (smooth[:, 0] ** 2).sum() * (slope[:, 0] ** 2).sum())


FINDINGS.register(
    FindingSpec(
        "blurred",
        measure_blur,
        floors={"studio": Floors(0.35, 0.45, 0.6), "marketplace": Floors(0.45, 0.55, 0.7)},
        advice=Advice(
            en="The photo is blurred by about {sigma:.1f} px (at 512 px): hold the camera still "
            "and focus on the product.",
            zh="照片模糊约 {sigma:.1f} 像素（按短边 512 像素计）：请拿稳相机并对焦在商品上。",
        ),
        place=30,
    )
)
FINDINGS.register(
    FindingSpec(
        "noisy",
        measure_noise,
        floors={
            "studio": Floors(0.4, 0.55, 0.65, 0.8),
            "marketplace": Floors(0.5, 0.6, 0.7, 0.6),
        },
        advice=Advice(
            en="The photo is grainy (noise of {sigma:.1f} of 255): use more light and a lower ISO.",
            zh="照片噪点多（噪声 {sigma:.1f}/255）：请增加光线并降低 ISO。",
        ),
        place=70,
    )
)
FINDINGS.register(
    FindingSpec(
        "jpeg-blocking",
        measure_jpeg_blocks,
        floors={
            "studio": Floors(0.26, 0.3, 0.5, 0.8),
            "marketplace": Floors(0.35, 0.42, 0.6, 0.6),
        },
        advice=Advice(
            en="The photo was compressed too much (like JPEG quality {quality}): upload the "
            "original file.",
            zh="照片压缩过度（约相当于 JPEG 质量 {quality}）：请上传原始文件。",
        ),
        place=80,
    )
)
