"""Pictures of what no shop sells: noise, patterns, drawn landscapes, pages of text, charts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 240  # px


def draw_strange(count: int, *, seed: int = 0) -> list[tuple[str, Image.Image]]:
    """Draw ``count`` of each kind: (kind, picture)."""
    rng = np.random.default_rng(seed)
    return [(name, draw(rng)) for name, draw in _KINDS.items() for _ in range(count)]


def _noise(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))


def _blurred_noise(rng: np.random.Generator) -> Image.Image:
    side = int(rng.integers(3, 12))
    small = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    return small.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _checks(rng: np.random.Generator) -> Image.Image:
    step = int(rng.integers(6, 40))
    across, down = np.meshgrid(np.arange(SIDE) // step, np.arange(SIDE) // step)
    colours = rng.integers(0, 256, (2, 3), dtype=np.uint8)
    return Image.fromarray(colours[(across + down) % 2])


def _landscape(rng: np.random.Generator) -> Image.Image:
    sky = tuple(int(value) for value in rng.integers((80, 130, 190), (190, 220, 256)))
    image = Image.new("RGB", (SIDE, SIDE), sky)
    pen = ImageDraw.Draw(image)
    left, top, size = (int(value) for value in rng.integers((0, 0, 20), (180, 60, 50)))
    pen.ellipse((left, top, left + size, top + size), fill=(250, 230, 120))
    for level in (130, 160, 190):
        phase, height = rng.uniform(0, 6), rng.uniform(8, 30)
        curve = level + height * np.sin(np.arange(0, SIDE + 20, 20) / 40 + phase)
        ground = tuple(int(value) for value in rng.integers((20, 70, 10), (90, 160, 70)))
        edge = [(20 * place, float(y)) for place, y in enumerate(curve)]
        pen.polygon([(0, SIDE), *edge, (SIDE, SIDE)], fill=ground)
    return image.filter(ImageFilter.GaussianBlur(1))


def _page(rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), (250, 250, 245))
    pen = ImageDraw.Draw(image)
    for top in range(12, SIDE - 12, 12):
        words = "".join(rng.choice(list("etaoin shrdlu "), int(rng.integers(20, 36))))
        pen.text((10, top), words, fill=(30, 30, 30))
    return image


def _chart(rng: np.random.Generator) -> Image.Image:
    image = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    for place, height in enumerate(rng.integers(20, 190, 8).tolist()):
        colour = tuple(int(value) for value in rng.integers(0, 220, 3))
        pen.rectangle((25 + 25 * place, 210 - height, 43 + 25 * place, 210), fill=colour)
    pen.line((20, 15, 20, 210, 230, 210), fill=(0, 0, 0), width=2)
    return image


_KINDS: dict[str, Callable[[np.random.Generator], Image.Image]] = {
    "noise": _noise,
    "blurred noise": _blurred_noise,
    "checks": _checks,
    "landscape": _landscape,
    "page of text": _page,
    "chart": _chart,
}
