"""Noise of a photo, estimated on its least textured tiles."""

from __future__ import annotations

import numpy as np

from indexer.imaging.analysis_view import AnalysisView, grid, quantiles, sample_tiles, tiles

# px
_TILE = 14
_TILES = 240
# grey levels beyond which noise is cut off by black or white
_CLIPPED = (4, 251)


def estimate_noise(view: AnalysisView) -> float:
    """Return the standard deviation of the noise, grey levels of 255 (Immerkaer 1996).

    The median over tiles would read fabric as noise, so it is a low quantile; tiles that are near
    black or white count only where there is nothing else, since noise is cut off there.
    """
    side = min(_TILE, view.height, view.width)
    if side < 3:
        return 0.0
    corners = sample_tiles(grid(view.height, view.width, side), _TILES)
    levels = tiles(view.green, corners, side, side)
    part = levels.astype(np.float32)
    twice = part[:, :-2] - 2 * part[:, 1:-1] + part[:, 2:]
    response = twice[..., :-2] - 2 * twice[..., 1:-1] + twice[..., 2:]
    sigma = np.sqrt(np.pi / 2) / 6 * np.abs(response).reshape(len(part), -1).mean(1)
    outside = (levels < _CLIPPED[0]) | (levels > _CLIPPED[1])
    clipped = outside.reshape(len(part), -1).sum(1) / side**2
    (few,) = quantiles(clipped, [0.1])
    (low,) = quantiles(sigma[clipped <= max(0.02, float(few))], [0.2])
    return float(low)
