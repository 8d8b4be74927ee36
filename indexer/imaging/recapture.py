"""Simulated re-capture of a photo, for tuning and evaluation of instance search."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from PIL import Image, ImageEnhance, ImageStat

from indexer.imaging.decode import Photo, hash_content
from indexer.imaging.geometry import scaled_size

# standard deviation of the border's grey values, of 255, below which a background is plain
PLAIN_SPREAD = 12.0


def recapture(photo: Photo, *, seed: int = 0) -> Photo:
    """Photograph the same thing again, deterministic by the photo's bytes and ``seed``.

    Crop 60 to 90% of the area, rotate within 15 degrees, brightness, contrast and colour
    temperature within 25%, a new plain or busy background where the photo's own is plain, JPEG
    quality 40.
    """
    digest = hashlib.sha256(f"{seed} {photo.content_hash}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    image = photo.pixels
    background = _plain_background(image)
    if background is not None:
        image = _new_background(image, background, rng)
        fill = tuple(int(value) for value in np.asarray(image)[0, 0])
    else:
        fill = tuple(int(value) for value in ImageStat.Stat(image).mean)
    image = image.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC, fillcolor=fill)
    image = _cropped(image, rng)
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.75, 1.25))
    image = ImageEnhance.Contrast(image).enhance(rng.uniform(0.75, 1.25))
    warmth = rng.uniform(-0.25, 0.25)
    # Red and blue move apart by |warmth|.
    gains = np.array([[1 + warmth / 2], [1.0], [1 - warmth / 2]])
    image = image.point(np.clip(np.arange(256) * gains, 0, 255).astype(np.uint8).ravel().tolist())
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=40)
    data = stream.getvalue()
    with Image.open(io.BytesIO(data)) as shot:
        pixels = shot.convert("RGB")
    return Photo(pixels, "JPEG", pixels.width, pixels.height, hash_content(data))


def _cropped(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = rng.uniform(0.6, 0.9) ** 0.5
    width, height = scaled_size(image.size, share)
    left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    return image.crop((int(left), int(top), int(left) + width, int(top) + height))


def _plain_background(image: Image.Image) -> np.ndarray | None:
    """The border's median colour [3] where the border is of one colour, else None."""
    pixels = np.asarray(image)
    edge = max(1, min(image.size) // 50)
    sides = (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:])
    border = np.concatenate([side.reshape(-1, 3) for side in sides]).astype(np.float32)
    colour = np.median(border, axis=0)
    spread = float(np.sqrt(((border - colour) ** 2).mean()))
    return colour if spread < PLAIN_SPREAD else None


def _new_background(
    image: Image.Image, colour: np.ndarray, rng: np.random.Generator
) -> Image.Image:
    planes = [np.asarray(plane, np.float32) for plane in image.split()]
    # How far a pixel is from the old background's colour says how much of the product it is; the
    # edge stays soft.
    apart = [np.abs(plane - one) for plane, one in zip(planes, colour, strict=True)]
    product = np.clip((np.maximum.reduce(apart) - 10) / 20, 0, 1)
    ground = 1 - product
    if rng.random() < 0.5:
        fresh = list(rng.uniform(90, 245, 3))
    else:
        coarse = rng.uniform(60, 230, (rng.integers(4, 9), rng.integers(4, 9), 3)).astype(np.uint8)
        large = Image.fromarray(coarse).resize(image.size, Image.Resampling.BICUBIC)
        fresh = [np.asarray(plane, np.float32) for plane in large.split()]
    mixed = [product * own + ground * new for own, new in zip(planes, fresh, strict=True)]
    return Image.merge("RGB", [Image.fromarray(plane.astype(np.uint8)) for plane in mixed])
