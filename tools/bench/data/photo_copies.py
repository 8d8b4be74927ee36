"""Copies of photos: resized, recompressed, cropped, mirrored, with a band of text."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

RECIPE = (
    "resize to 30-80% bicubic; JPEG quality 20-60; crop away 5-15% of the width and 5-15% of the "
    "height, placed at "
    "random; mirror; band of text of 10-15% of the height at the top, middle or bottom, opacity "
    "50-100%; all but "
    "recompress at JPEG quality 85; seeded by set, photo and kind"
)


def made(picture: Image.Image, kind: str, seed: list[int]) -> bytes:
    """A JPEG of a copy of ``kind`` (one of ``KINDS``) of an RGB picture."""
    rng = np.random.default_rng(seed)
    quality = int(rng.integers(20, 61)) if kind == "recompress" else 85
    stream = io.BytesIO()
    _WAYS[kind](picture, rng).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _resized(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = rng.uniform(0.3, 0.8)
    width, height = (max(16, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _cropped(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    width, height = (round(side * (1 - rng.uniform(0.05, 0.15))) for side in picture.size)
    left, top = (
        int(rng.integers(0, whole - part + 1))
        for whole, part in zip(picture.size, (width, height), strict=True)
    )
    return picture.crop((left, top, left + width, top + height))


def _with_text(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    width, height = picture.size
    high = round(height * rng.uniform(0.1, 0.15))
    top = int(rng.choice([0, (height - high) // 2, height - high]))
    colour = rng.integers(0, 256, 3)
    band = Image.new("RGB", (width, high), tuple(colour.tolist()))
    font = ImageFont.load_default(high * 0.7)
    ImageDraw.Draw(band).text(
        (width * 0.05, high * 0.1), "SALE 50% OFF", fill=tuple((255 - colour).tolist()), font=font
    )
    box = (0, top, width, top + high)
    copy = picture.copy()
    copy.paste(Image.blend(picture.crop(box), band, rng.uniform(0.5, 1)), box)
    return copy


_WAYS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "resize": _resized,
    "recompress": lambda picture, _: picture,
    "crop": _cropped,
    "mirror": lambda picture, _: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "text": _with_text,
}
KINDS = tuple(_WAYS)
