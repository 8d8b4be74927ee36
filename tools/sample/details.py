"""Small things that products share: choices, stitches, hems, the colours of metal and wood."""

from __future__ import annotations

import numpy as np

from tools.sample.brush import Sheet, moved, smooth
from tools.sample.surface import Surface

STITCH_ORANGE = np.array([0.82, 0.55, 0.26], np.float32)
WHITE = np.array([0.95, 0.94, 0.92], np.float32)
BRASS = np.array([0.80, 0.66, 0.40], np.float32)
STEEL = np.array([0.76, 0.77, 0.80], np.float32)
OAK = np.array([0.74, 0.55, 0.36], np.float32)
COFFEE = np.array([0.24, 0.14, 0.09], np.float32)


def pick(rng: np.random.Generator, *options: str) -> str:
    """One of the options by chance; naming one twice doubles it."""
    return options[int(rng.integers(len(options)))]


def stitch(s: Surface) -> tuple[np.ndarray, float]:
    """Colour and strength of visible stitches on a material."""
    if s.material == "denim":
        return STITCH_ORANGE, 0.9
    return s.ground * np.float32(0.55), 0.55


def hem_line(sheet: Sheet, y: float, width: float, bow: float = 0.02) -> None:
    """A hem: a dark line with a light one above."""
    line = smooth([(-width, y), (0, y + bow), (width, y)], closed=False)
    sheet.line(line, 0.010, (0, 0, 0), 0.22)
    sheet.line(moved(line, 0, -0.012), 0.008, (1, 1, 1), 0.16)


def shrunk(path: np.ndarray, by: float, move: tuple[float, float]) -> np.ndarray:
    """The path shrunk about its middle, then moved."""
    middle = path.mean(0)
    return middle + (path - middle) * by + move
