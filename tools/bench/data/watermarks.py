"""Watermarks that are no horizontal band: a tilted line, tiles of words, words down a side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_WORDS = ("SHOP ORIGINAL", "@studio.photos", "NOT FOR SALE", "www.example.shop", "50% OFF TODAY")
# RGBA, of the photo's size
Layer = Image.Image
_INKS = ((255, 255, 255), (30, 30, 30), (200, 30, 40))


def _line(width: float, rng: np.random.Generator, ink: tuple[int, int, int]) -> Image.Image:
    """RGBA words on nothing, ``width`` px wide."""
    words = _WORDS[int(rng.integers(len(_WORDS)))]
    size = 100 * width / max(ImageFont.load_default(100).getlength(words), 1)
    font = ImageFont.load_default(max(4.0, size))
    left, top, right, bottom = (round(side) for side in font.getbbox(words))
    line = Image.new("RGBA", (max(1, right - left), max(1, bottom - top)), (*ink, 0))
    ImageDraw.Draw(line).text((-left, -top), words, font=font, fill=(*ink, 255))
    return line


def _tilted(size: tuple[int, int], rng: np.random.Generator, ink: tuple[int, int, int]) -> Layer:
    """One line across the middle, 20 to 50 degrees up or down."""
    line = _line(rng.uniform(0.7, 0.95) * min(size), rng, ink)
    turned = line.rotate(
        float(rng.uniform(20, 50) * rng.choice([-1, 1])), Image.Resampling.BICUBIC, expand=True
    )
    layer = Image.new("RGBA", size, (*ink, 0))
    layer.paste(turned, ((size[0] - turned.width) // 2, (size[1] - turned.height) // 2), turned)
    return layer


def _tiled(size: tuple[int, int], rng: np.random.Generator, ink: tuple[int, int, int]) -> Layer:
    """The same words again and again over all of the photo, in rows that stand apart."""
    line = _line(rng.uniform(0.25, 0.4) * size[0], rng, ink)
    turned = line.rotate(float(rng.uniform(15, 40)), Image.Resampling.BICUBIC, expand=True)
    layer = Image.new("RGBA", size, (*ink, 0))
    across, down = round(turned.width * 1.1), round(turned.height * 1.1)
    for row, top in enumerate(range(-down // 2, size[1], down)):
        for left in range(-(row % 2) * across // 2, size[0], across):
            layer.paste(turned, (left, top), turned)
    return layer


def _upright(size: tuple[int, int], rng: np.random.Generator, ink: tuple[int, int, int]) -> Layer:
    """One line down the left or right side."""
    line = _line(rng.uniform(0.6, 0.9) * size[1], rng, ink)
    line.thumbnail((size[1], max(4, round(0.14 * size[0]))))
    turned = line.rotate(90, expand=True)
    left = 0.03 * size[0] if rng.random() < 0.5 else 0.97 * size[0] - turned.width
    layer = Image.new("RGBA", size, (*ink, 0))
    layer.paste(turned, (round(left), (size[1] - turned.height) // 2), turned)
    return layer


_WAYS: dict[str, Callable[[tuple[int, int], np.random.Generator, tuple[int, int, int]], Layer]] = {
    "tilted words": _tilted,
    "tiled words": _tiled,
    "words down a side": _upright,
}
WATERMARKS = tuple(_WAYS)


def watermarked(
    picture: Image.Image, way: str, opacity: float, rng: np.random.Generator
) -> Image.Image:
    """Lay words over an RGB picture by ``way`` (one of ``WATERMARKS``) with ``opacity`` 0 to 1."""
    ink = _INKS[int(rng.integers(len(_INKS)))]
    layer = _WAYS[way](picture.size, rng, ink)
    inked = Image.new("RGB", picture.size, ink)
    return Image.composite(inked, picture, layer.getchannel("A").point(lambda a: a * opacity))
