"""Intermediate results that several quality checks share, each computed once per photo."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from indexer.imaging.ai_marks import AiMark
from indexer.imaging.analysis_view import AnalysisView, view_photo
from indexer.imaging.foreground import ForegroundProduct, find_product
from indexer.quality.noise_level import estimate_noise
from indexer.quality.seams import Band, Steps, find_band, find_border, find_steps


class AnalyzedPhoto:
    """One photo as the checks see it; for one thread.

    ``pixels`` uint8 [H, W, 3] as decoded, ``size`` (width, height) of the original in px. ``lost``:
    the share of it, at its end, that the file does not hold. ``ai_mark``: what the file says of AI
    that made it.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        size: tuple[int, int],
        lost: float = 0.0,
        ai_mark: AiMark | None = None,
    ) -> None:
        self.pixels = pixels
        self.size = size
        self.lost = lost
        self.ai_mark = ai_mark

    @cached_property
    def whole(self) -> AnalysisView:
        """The working copy of all of the photo, a frame included."""
        return view_photo(self.pixels, self.size)

    @cached_property
    def _whole_steps(self) -> tuple[Steps, Steps]:
        return find_steps(self.whole, 0), find_steps(self.whole, 1)

    @cached_property
    def border(self) -> tuple[int, int, int, int]:
        """Widths in px of ``whole`` of a frame at left, top, right and bottom; 0 without one."""
        down, across = self._whole_steps
        return find_border(down, across)

    @cached_property
    def view(self) -> AnalysisView:
        """The working copy without its frame."""
        if not any(self.border):
            return self.whole
        left, top, right, bottom = self.border
        return self.whole.inside(left, top, self.whole.width - right, self.whole.height - bottom)

    @cached_property
    def down(self) -> Steps:
        """Straight steps from row to row of ``view``."""
        return find_steps(self.view, 0) if any(self.border) else self._whole_steps[0]

    @cached_property
    def across(self) -> Steps:
        """Straight steps from column to column of ``view``."""
        return find_steps(self.view, 1) if any(self.border) else self._whole_steps[1]

    @cached_property
    def band(self) -> Band | None:
        """A strip right across ``view`` that is overlaid."""
        return find_band(self.down)

    @cached_property
    def product(self) -> ForegroundProduct:
        """The product in ``view``, not counting the rows under an overlaid band."""
        rows = None if self.band is None else [(self.band.top, self.band.bottom)]
        return find_product(self.view, rows)

    @cached_property
    def noise(self) -> float:
        """Standard deviation of the noise in ``view``, grey levels of 255."""
        return estimate_noise(self.view)
