"""Copies of photos: resized, recompressed, cropped, mirrored, with a band; and harder ones."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.bench.data.compression import COMPRESSIONS, recompressed
from tools.bench.data.watermarks import WATERMARKS, watermarked

RECIPE = (
    "resize to 30-80% bicubic; JPEG quality 20-60; crop away 5-15% of the width and 5-15% of the "
    "height, placed at "
    "random; mirror; band of text of 10-15% of the height at the top, middle or bottom, opacity "
    "50-100%; all but "
    "recompress at JPEG quality 85; seeded by set, photo and kind"
)

HARDER_RECIPE = (
    "beyond what the search for copies is made for: crop away 15-30% of both sides; a band of text "
    "of 17-30% of the height; a watermark of tilted, tiled or upright words, opacity 30-80%; "
    "turned by 2 to 8 degrees and cut to a rectangle; a frame of one colour of 4-10% of each side; "
    "tables of other encoders or WebP at quality 20-60, one of them by turns"
)


def made(picture: Image.Image, kind: str, seed: list[int]) -> bytes:
    """A JPEG of a copy of ``kind`` (one of ``KINDS`` or ``HARDER``) of an RGB picture."""
    rng = np.random.default_rng(seed)
    quality = int(rng.integers(20, 61)) if kind == "recompress" else 85
    stream = io.BytesIO()
    {**_WAYS, **_HARDER}[kind](picture, rng).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _resized(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    factor = rng.uniform(0.3, 0.8)
    width, height = (max(16, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _cropped(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _cut(picture, rng, 0.05, 0.15)


def _cut(picture: Image.Image, rng: np.random.Generator, least: float, most: float) -> Image.Image:
    """Crop away a share of both sides between two bounds, placed at random."""
    width, height = (round(side * (1 - rng.uniform(least, most))) for side in picture.size)
    left, top = (
        int(rng.integers(0, whole - part + 1))
        for whole, part in zip(picture.size, (width, height), strict=True)
    )
    return picture.crop((left, top, left + width, top + height))


def _with_text(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _banded(picture, rng, 0.1, 0.15)


def _banded(
    picture: Image.Image, rng: np.random.Generator, least: float, most: float
) -> Image.Image:
    """Lay a band over a share of the height between two bounds."""
    width, height = picture.size
    high = round(height * rng.uniform(least, most))
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


def _marked(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    way = WATERMARKS[int(rng.integers(len(WATERMARKS)))]
    return watermarked(picture, way, float(rng.uniform(0.3, 0.8)), rng)


def _turned(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turn by a few degrees, and cut to the largest upright rectangle of the same shape."""
    angle = float(rng.uniform(2, 8) * rng.choice([-1, 1]))
    turned = picture.rotate(angle, Image.Resampling.BICUBIC)
    sine, cosine = abs(math.sin(math.radians(angle))), math.cos(math.radians(angle))
    width, height = picture.size
    kept = min(
        1 / (cosine + sine * height / width),
        1 / (cosine + sine * width / height),
    )
    left, top = width * (1 - kept) / 2, height * (1 - kept) / 2
    return turned.crop(
        (math.ceil(left), math.ceil(top), math.floor(width - left), math.floor(height - top))
    )


def _framed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    across, down = (round(side * rng.uniform(0.04, 0.1)) for side in picture.size)
    size = (picture.width + 2 * across, picture.height + 2 * down)
    framed = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
    framed.paste(picture, (across, down))
    return framed


def _re_encoded(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    way = COMPRESSIONS[int(rng.integers(len(COMPRESSIONS)))]
    return recompressed(picture, way, int(rng.integers(20, 61)))


_HARDER: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "crop of 15-30%": lambda picture, rng: _cut(picture, rng, 0.15, 0.3),
    "band of 17-30%": lambda picture, rng: _banded(picture, rng, 0.17, 0.3),
    "watermark": _marked,
    "turn": _turned,
    "frame": _framed,
    "other encoder": _re_encoded,
}
HARDER = tuple(_HARDER)
