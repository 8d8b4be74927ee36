"""Named colours and the range of shades a shop sells under each name."""

from __future__ import annotations

import numpy as np

# The middle of each name, sRGB 0..255.
COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (44, 44, 48),
    "white": (243, 241, 236),
    "grey": (148, 151, 156),
    "red": (200, 38, 44),
    "orange": (236, 122, 36),
    "yellow": (244, 198, 58),
    "green": (52, 132, 82),
    "blue": (46, 98, 184),
    "purple": (118, 72, 160),
    "pink": (240, 142, 172),
    "brown": (118, 74, 46),
    "beige": (214, 192, 158),
}

# How far hue, saturation and value of one product may stray from the middle of its name.
_STRAY: dict[str, tuple[float, float, float]] = {
    "black": (0.5, 0.05, 0.03),
    "white": (0.02, 0.02, 0.02),
    "grey": (0.5, 0.03, 0.09),
    "red": (0.015, 0.08, 0.09),
    "orange": (0.014, 0.08, 0.04),
    "yellow": (0.014, 0.10, 0.04),
    "green": (0.045, 0.12, 0.11),
    "blue": (0.025, 0.12, 0.12),
    "purple": (0.025, 0.08, 0.09),
    "pink": (0.02, 0.09, 0.04),
    "brown": (0.015, 0.08, 0.07),
    "beige": (0.012, 0.05, 0.04),
}

# What a pattern is printed in, on a ground of that colour: chosen so that the ground stays the
# colour one would name.
_PARTNERS: dict[str, tuple[str, ...]] = {
    "black": ("white", "beige", "grey", "red"),
    "white": ("blue", "black", "red", "green", "grey"),
    "grey": ("white", "black", "yellow"),
    "red": ("white", "beige", "black"),
    "orange": ("white", "beige", "brown"),
    "yellow": ("white", "grey", "blue"),
    "green": ("white", "beige", "yellow"),
    "blue": ("white", "beige", "yellow"),
    "purple": ("white", "pink", "beige"),
    "pink": ("white", "red", "beige"),
    "brown": ("beige", "white", "orange"),
    "beige": ("brown", "white", "black"),
}


def to_unit(rgb: tuple[int, int, int]) -> np.ndarray:
    """sRGB 0..255 as float32 0..1."""
    return np.array(rgb, np.float32) / np.float32(255)


def shade_of(colour: str, rng: np.random.Generator) -> np.ndarray:
    """One product's shade of a named colour, float32 [3] in 0..1."""
    rgb = to_unit(COLOURS[colour]).astype(float)
    hue_by, saturation_by, value_by = _STRAY[colour]
    high, low = rgb.max(), rgb.min()
    saturation, value = (high - low) / high, high
    sector = int(rgb.argmax())
    hue = ((rgb[(sector + 1) % 3] - rgb[(sector + 2) % 3]) / (high - low) / 6 + sector / 3) % 1
    hue += rng.uniform(-hue_by, hue_by)
    saturation = float(np.clip(saturation + rng.uniform(-saturation_by, 0.3 * saturation_by), 0, 1))
    value = float(np.clip(value + rng.uniform(-value_by, value_by), 0.1, 0.97))
    k = (np.array([5, 3, 1]) + hue * 6) % 6
    return (value - value * saturation * np.clip(np.minimum(k, 4 - k), 0, 1)).astype(np.float32)


def partner_of(colour: str, rng: np.random.Generator) -> str:
    """A colour that patterns on a ground of ``colour`` are printed in."""
    return str(rng.choice(_PARTNERS[colour]))
