"""One photo of a product: background, light, shadow, the camera's turn and noise."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from tools.sample.surface import noise, tile

_PASTELS = (
    (236, 228, 218),
    (222, 231, 236),
    (234, 222, 222),
    (224, 233, 222),
    (238, 233, 214),
    (228, 224, 236),
    (216, 214, 210),
)
_BLEED = 32  # px by which shadows are drawn beyond the frame


def _gradient(size: int, rng: np.random.Generator) -> np.ndarray:
    """A ramp from about 0 to about 1, mostly downwards."""
    t = np.arange(size, dtype=np.float32) / np.float32(size)
    a = rng.uniform(-0.6, 0.6)
    return t[None] * np.float32(np.sin(a)) + t[:, None] * np.float32(np.cos(a))


def background(size: int, rng: np.random.Generator, standing: bool, plain: bool) -> np.ndarray:
    """What the product is photographed on: float32 [size, size, 3], 0..1. ``plain``: a studio
    sweep."""
    if plain:
        top = np.float32(rng.uniform(0.93, 0.985))
        tint = np.array([1, 1, 1], np.float32) + rng.uniform(-0.012, 0.012, 3).astype(np.float32)
        return (top - np.float32(rng.uniform(0.01, 0.07)) * _gradient(size, rng))[..., None] * tint
    wall = (
        np.array(_PASTELS[int(rng.integers(len(_PASTELS)))], np.float32)
        / 255
        * np.float32(rng.uniform(0.9, 1.03))
    )
    ground = (
        np.broadcast_to(wall, (size, size, 3)) * (1.04 - 0.14 * _gradient(size, rng))[..., None]
    )
    kind = int(rng.integers(4))
    y = np.arange(size, dtype=np.float32)[:, None, None]
    rows = rng.integers(0, 200, 2)
    if kind == 1 or (kind == 2 and standing):  # boards: a table below a wall, or the whole ground
        oak = np.array([0.78, 0.64, 0.49], np.float32) * np.float32(rng.uniform(0.75, 1.12))
        index = (np.arange(size) * 300 // size + rows[0]) % 512
        across = (np.arange(size) * 300 // size + rows[1]) % 512
        grain = tile("wood")[across][:, index].T
        boards = oak * (1 + 0.055 * grain)[..., None]
        each = max(size // 5, 1)
        for at in range(int(rng.integers(each)), size, each):
            boards[at : at + 1] *= 0.80
        edge = size * (rng.uniform(0.58, 0.70) if standing else -0.1)
        below = np.clip(y - edge, 0, 1)
        ground = ground * (1 - below) + boards * below
        if standing:
            ground = ground * (1 - 0.10 * np.exp(-np.abs(y - edge) / (0.02 * size)))
    elif kind == 2:  # terrazzo
        chips = noise(rng, (size, size), (26, 26))
        chips2 = noise(rng, (size, size), (20, 20))
        ground = ground - 0.10 * np.clip(chips * 6 - 4.5, 0, 1)[..., None] * np.array(
            [0.6, 1, 1.3], np.float32
        )
        ground = ground - 0.12 * np.clip(chips2 * 6 - 5, 0, 1)[..., None] * np.array(
            [1.3, 1, 0.6], np.float32
        )
    elif kind == 3 and standing:  # a room out of focus
        spots = np.stack([noise(rng, (size, size), (2.5, 3.5)) for _ in range(3)], -1)
        shared = noise(rng, (size, size), (2, 3))[..., None]
        ground = ground * (1 + 0.10 * shared + 0.03 * spots)
        edge = size * rng.uniform(0.62, 0.73)
        floor = np.clip((y - edge) / (0.03 * size) + 0.5, 0, 1)
        ground = ground * (1 - floor) + wall * np.float32(0.86) * floor
    else:  # cloth or paper with a soft fold of light
        ground = ground * (1 + 0.035 * noise(rng, (size, size), (2, 2)))[..., None]
        if standing:
            edge = size * rng.uniform(0.62, 0.74)
            ground = ground * (1 - 0.07 * np.clip((y - edge) / (0.10 * size), 0, 1))
    return ground.astype(np.float32)


def _blurred(mask: Image.Image, sigma: float) -> np.ndarray:
    """A soft version of a mask, 0..1, at half its size."""
    return np.asarray(
        mask.reduce(2).filter(ImageFilter.GaussianBlur(sigma / 2)), np.float32
    ) / np.float32(255)


def photograph(
    product: Image.Image, size: int, rng: np.random.Generator, *, standing: bool, first: bool
) -> Image.Image:
    """A photo ``size`` px square of an RGBA product.

    ``standing`` things throw their shadow on the floor, others lie flat. The ``first`` photo of a
    product is the catalog's: studio background, little turn.
    """
    plain = first or rng.random() < 0.30
    product = product.crop(product.getchannel("A").getbbox())
    scale = rng.uniform(0.80, 0.86) if first else rng.uniform(0.64, 0.90)
    turn = rng.normal(0, 1) * ((1.0 if first else 2.2) if standing else (2.0 if first else 7.5))
    turn = float(np.clip(turn, -18, 18))
    stretch = 1 + rng.uniform(-0.03, 0.03) * (0.3 if first else 1)
    bent = abs(np.radians(turn))
    high, across = (
        product.height * np.cos(bent) + product.width * np.sin(bent),
        product.width + product.height * np.sin(bent),
    )
    ratio = size * min(scale / max(product.size), 0.95 / max(high, across))
    shape = (max(8, round(product.width * ratio * stretch)), max(8, round(product.height * ratio)))
    cut = product.resize(shape, Image.Resampling.LANCZOS).rotate(
        turn, Image.Resampling.BICUBIC, expand=True
    )
    loose = 0.0 if first else 0.035
    frame = size + 2 * _BLEED
    left = (frame - cut.width) // 2 + round(size * rng.uniform(-loose, loose))
    top = (frame - cut.height) // 2 + round(size * rng.uniform(-loose, loose))
    if (
        standing and not first
    ):  # feet on the floor, which every background with a wall begins above this line
        top = round(max(top, _BLEED + size * rng.uniform(0.83, 0.90) - cut.height))
    layer = Image.new("RGBA", (frame, frame))
    layer.paste(cut, (left, top))
    mask = layer.getchannel("A")
    inner = (slice(_BLEED, _BLEED + size), slice(_BLEED, _BLEED + size))

    ground = background(size, rng, standing, plain)
    side = rng.uniform(-0.5, 1.0)
    depth = np.float32(rng.uniform(0.28, 0.5))
    if standing:
        # The product pressed flat onto the floor at its feet, once close and dark, once wide and
        # faint.
        box = mask.point(lambda v: 255 if v > 60 else 0).getbbox() or (0, 0, frame, frame)
        foot, tall = box[3], box[3] - box[1]
        flat = mask.crop((box[0], foot - tall * 2 // 5, box[2], foot))
        flat = flat.resize((box[2] - box[0], max(2, int(tall * 0.12))), Image.Resampling.BILINEAR)
        cast = Image.new("L", (frame, frame))
        cast.paste(flat, (box[0] + round(size * 0.035 * side), foot - int(flat.height * 0.80)))
        close = mask.crop((box[0], max(foot - max(4, tall // 22), 0), box[2], foot))
        contact = Image.new("L", (frame, frame))
        contact.paste(close.resize((close.width, max(2, size // 40))), (box[0], foot - size // 60))
        shadow = 0.75 * _blurred(cast, size * 0.022) + 0.9 * _blurred(contact, size * 0.010)
    else:
        reach = size * rng.uniform(0.012, 0.035)
        moved = Image.new("L", (frame, frame))
        moved.paste(mask, (round(reach * side), round(reach)))
        shadow = 0.55 * _blurred(moved, reach * 1.1) + 0.6 * _blurred(moved, size * 0.006)
    whole = Image.fromarray(shadow).resize((frame, frame), Image.Resampling.BICUBIC)
    ground = ground * (1 - depth * np.clip(np.asarray(whole)[inner], 0, 1.2))[..., None]

    product_ = np.asarray(layer)[inner].astype(np.float32) / np.float32(255)
    cover = product_[..., 3:]
    pixels = ground * (1 - cover) + product_[..., :3] * cover
    # Light of the room: exposure, warmth, a falloff across the picture, and the sensor's grain.
    calm = 0.4 if first else 1.0
    warmth = np.float32(rng.normal(0, 0.018) * calm)
    exposure = np.float32(1 + rng.uniform(-0.09, 0.05) * calm)
    falloff = 1 - np.float32(rng.uniform(0.0, 0.12) * calm) * (_gradient(size, rng) - 0.5)
    pixels *= falloff[..., None] * (exposure * np.array([1 + warmth, 1, 1 - warmth], np.float32))
    grain = rng.standard_normal((size, size), dtype=np.float32) * np.float32(
        rng.uniform(0.001, 0.008)
    )
    pixels += grain[..., None]
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))
