"""Emblems as cloth and cameras show them: slanted, folded, partly hidden, woven."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter, map_coordinates

RECIPE = (
    "the emblem on the stated share of the area, JPEG 75, and one of: upright as in the plain "
    "recipe; turned 20 to 45 degrees; seen at a slant (a side 25 to 50% shorter than the other); "
    "folded (three to five waves of 3 to 6% of the width, with their shade); 25 to 45% cut off by "
    "the frame or covered; woven (printed at .6 to .9 over the cloth, with threads and light); "
    "faint (the same, printed at .35 to .55); blurred (a Gaussian of 1.5 to 2.5% of the width, and "
    "JPEG 40); crumpled (turned, at a slant, in one or two waves, 10 to 25% hidden, woven, JPEG 40)"
)


def _turned(logo: Image.Image, rng: np.random.Generator) -> Image.Image:
    angle = float(rng.uniform(20, 45) * rng.choice([-1, 1]))
    return logo.rotate(angle, Image.Resampling.BICUBIC, expand=True)


def _slanted(logo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """One side shorter than the other, as of a thing that turns away."""
    width, height = logo.size
    short = height * rng.uniform(0.25, 0.5) / 2
    far = width * rng.uniform(0.6, 0.85)
    corners = [(0, 0), (far, short), (far, height - short), (0, height)]
    found = logo.transform(
        (round(far), height),
        Image.Transform.PERSPECTIVE,
        _perspective(corners, logo.size),
        Image.Resampling.BICUBIC,
    )
    return found if rng.random() < 0.5 else found.transpose(Image.Transpose.ROTATE_90)


def _perspective(corners: list[tuple[float, float]], size: tuple[int, int]) -> list[float]:
    """The eight numbers that carry the shown ``corners`` to those of a picture of ``size``."""
    width, height = size
    rows, sides = [], []
    for (x, y), (u, v) in zip(
        corners, [(0, 0), (width, 0), (width, height), (0, height)], strict=True
    ):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        sides += [u, v]
    return [float(value) for value in np.linalg.solve(np.array(rows, float), np.array(sides))]


def _folded(
    logo: Image.Image, rng: np.random.Generator, waves: tuple[float, float] = (3, 5)
) -> Image.Image:
    """Waves across, each with a light and a dark side."""
    values = np.asarray(logo, np.float32)
    height, width = values.shape[:2]
    down, across = np.mgrid[:height, :width].astype(np.float32)
    lean = rng.uniform(-0.5, 0.5)
    phase = 2 * math.pi * rng.uniform(*waves) * (across + lean * down) / width + rng.uniform(0, 6)
    reach = rng.uniform(0.03, 0.06) * width
    places = np.stack([down + 0.6 * reach * np.sin(phase), across + reach * np.cos(phase)])
    moved = np.stack(
        [map_coordinates(values[..., c], places, order=1, cval=0.0) for c in range(4)], axis=2
    )
    moved[..., :3] *= (1 - rng.uniform(0.15, 0.35) * (1 + np.sin(phase)) / 2)[..., None]
    return Image.fromarray(moved.clip(0, 255).astype(np.uint8), "RGBA")


def _woven(
    logo: Image.Image,
    rng: np.random.Generator,
    opacity: tuple[float, float] = (0.6, 0.9),
) -> Image.Image:
    """Threads, uneven light and a print that the cloth shows through."""
    values = np.asarray(logo, np.float32).copy()
    height, width = values.shape[:2]
    down, across = np.mgrid[:height, :width]
    pitch = max(3.0, width / rng.uniform(40, 70))
    threads = np.sin(2 * math.pi * across / pitch) * np.sin(2 * math.pi * down / pitch)
    light = gaussian_filter(rng.normal(size=(height, width)), width / 8)
    shade = 1 + 0.18 * threads + 0.15 * light / max(float(np.abs(light).max()), 1e-6)
    values[..., :3] = values[..., :3] * shade[..., None] + rng.normal(0, 8, values[..., :3].shape)
    values[..., 3] *= rng.uniform(*opacity)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8), "RGBA")


def _whole(logo: Image.Image, rng: np.random.Generator) -> Image.Image:
    return logo.rotate(float(rng.uniform(-8, 8)), Image.Resampling.BICUBIC, expand=True)


def _faint(logo: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _woven(_whole(logo, rng), rng, (0.35, 0.55))


def _blurred(logo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Out of focus."""
    return _whole(logo, rng).filter(
        ImageFilter.GaussianBlur(rng.uniform(0.015, 0.025) * logo.width)
    )


def _crumpled(logo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A little of everything."""
    bent = _folded(_slanted(logo, rng), rng, (1, 2))
    return _woven(_turned(_cut(bent, rng, (0.1, 0.25)), rng), rng)


def _half_hidden(logo: Image.Image, rng: np.random.Generator) -> Image.Image:
    return _cut(_whole(logo, rng), rng, (0.25, 0.45))


def _cut(logo: Image.Image, rng: np.random.Generator, hidden: tuple[float, float]) -> Image.Image:
    """A part cut off by a straight edge in any direction."""
    values = np.asarray(logo).copy()
    height, width = values.shape[:2]
    angle = rng.uniform(0, 2 * math.pi)
    down, across = np.mgrid[:height, :width]
    along = across * math.cos(angle) + down * math.sin(angle)
    inside = values[..., 3] > 0
    bar = np.quantile(along[inside], rng.uniform(*hidden))
    values[along < bar, 3] = 0
    return Image.fromarray(values, "RGBA")


_WAYS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "upright": _whole,
    "turned": _turned,
    "slanted": _slanted,
    "folded": _folded,
    "partial": _half_hidden,
    "woven": _woven,
    "faint": _faint,
    "blurred": _blurred,
    "crumpled": _crumpled,
}
WORN = tuple(_WAYS)
# of the photo's JPEG file, by way
_QUALITY = {"blurred": 40, "crumpled": 40}


def worn(photo: Image.Image, logo: Image.Image, way: str, share: float, seed: int) -> bytes:
    """A JPEG of the photo with the emblem worn by ``way`` (one of ``WORN``).

    ``share`` of the photo's area is that of the whole emblem before it is hidden or bent.
    """
    rng = np.random.default_rng([17, WORN.index(way), seed])
    area = photo.width * photo.height * share
    scale = math.sqrt(area / (logo.width * logo.height))
    shown = _WAYS[way](logo, rng)
    scale = min(scale, 0.95 * photo.width / shown.width, 0.95 * photo.height / shown.height)
    size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
    small = shown.resize(size, Image.Resampling.BOX)
    left = int(rng.integers(0, max(1, photo.width - small.width + 1)))
    top = int(rng.integers(0, max(1, photo.height - small.height + 1)))
    whole = photo.copy()
    whole.paste(small, (left, top), small)
    stream = io.BytesIO()
    whole.save(stream, "JPEG", quality=_QUALITY.get(way, 75))
    return stream.getvalue()
