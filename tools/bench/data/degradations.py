"""Photos degraded in five known strengths, the input of ``bench quality``."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from tools.bench.data.compression import COMPRESSIONS, recompressed
from tools.bench.data.watermarks import WATERMARKS, watermarked

FloatBox = tuple[float, float, float, float]  # x, y, width, height of the product in px
SIDES = ("left", "top", "right", "bottom")
MODERATE = 3  # of the strengths 1 to 5
_SHORT = 512  # px: blur is given for photos of this short side
_COLOURS = ((255, 255, 255), (0, 0, 0), (200, 30, 40), (30, 60, 160), (250, 210, 40))
_WORDS = (
    "NEW SEASON SALE",
    "BEST PRICE 50% OFF",
    "ORIGINAL QUALITY",
    "CALL 555-0134 TODAY",
    "FREE DELIVERY",
)


@dataclass(frozen=True)
class Degradation:
    """``apply(pixels, amount, box, rng)`` -> pixels [H, W, 3] uint8; ``code`` is the finding that
    should rise."""

    name: str
    code: str
    amounts: tuple[float, float, float, float, float]
    apply: Callable[[np.ndarray, float, FloatBox, np.random.Generator], np.ndarray]


def degrade(
    pixels: np.ndarray, what: Degradation, strength: int, box: FloatBox, seed: int
) -> np.ndarray:
    """``pixels`` (uint8 [H, W, 3]) at ``strength`` 1 to 5; all strengths of one seed draw the same
    chances."""
    return what.apply(pixels, what.amounts[strength - 1], box, np.random.default_rng(seed))


def blur(pixels: np.ndarray, sigma: float, box: FloatBox, rng: np.random.Generator) -> np.ndarray:
    """Gaussian blur of ``sigma`` px at short side 512."""
    own = sigma * min(pixels.shape[:2]) / _SHORT
    return _bytes(gaussian_filter(pixels.astype(np.float32), (own, own, 0)))


def jpeg(pixels: np.ndarray, quality: float, box: FloatBox, rng: np.random.Generator) -> np.ndarray:
    """Encoded as JPEG of ``quality`` and decoded again."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=int(quality))
    with Image.open(io.BytesIO(stream.getvalue())) as image:
        return np.asarray(image.convert("RGB"))


def noise(pixels: np.ndarray, sigma: float, box: FloatBox, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of ``sigma`` (of 255), each channel its own."""
    return _bytes(pixels + rng.normal(0, sigma, pixels.shape))


def gamma(pixels: np.ndarray, power: float, box: FloatBox, rng: np.random.Generator) -> np.ndarray:
    """Values in [0, 1] to ``power``: above 1 dark, below 1 bright."""
    return _bytes(255 * (np.arange(256) / 255) ** power)[pixels]


def crop_side(
    pixels: np.ndarray, share: float, box: FloatBox, rng: np.random.Generator
) -> np.ndarray:
    """The photo without ``share`` of the product's box, and all beyond it, at one side.

    The side is drawn among those where the box does not reach the frame already (all four, if it
    reaches all): what is cut there already says nothing about the cut.
    """
    height, width = pixels.shape[:2]
    x, y, w, h = box
    gaps = dict(zip(SIDES, (x, y, width - x - w, height - y - h), strict=True))
    free = [side for side in SIDES if gaps[side] > 0.01 * max(width, height)] or list(SIDES)
    return crop_at(pixels, share, box, free[int(rng.integers(len(free)))])


def crop_any_side(
    pixels: np.ndarray, share: float, box: FloatBox, rng: np.random.Generator
) -> np.ndarray:
    """As ``crop_side``, the side drawn among all four, also where the product was cut before."""
    return crop_at(pixels, share, box, SIDES[int(rng.integers(4))])


def crop_at(pixels: np.ndarray, share: float, box: FloatBox, side: str) -> np.ndarray:
    """The photo cropped so that ``share`` of the box at ``side`` is gone."""
    height, width = pixels.shape[:2]
    x, y, w, h = box
    left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    if side == "left":
        left = x + share * w
    elif side == "top":
        top = y + share * h
    elif side == "right":
        right = x + w - share * w
    else:
        bottom = y + h - share * h
    left, top = min(int(left), width - 2), min(int(top), height - 2)
    return pixels[top : max(top + 2, round(bottom)), left : max(left + 2, round(right))].copy()


def smaller(
    pixels: np.ndarray, share: float, box: FloatBox, rng: np.random.Generator
) -> np.ndarray:
    """The whole photo shrunk in its frame until the product's longer side is ``share`` of the
    frame's side there.

    What is round it is its own margin, mirrored again and again, so that the background goes on as
    it was; where the product leaves no margin, the opposite one, or the border's median colour
    where there is none either. A photo whose product is smaller already stays as it is.
    """
    height, width = pixels.shape[:2]
    x, y, w, h = box
    factor = share / max(w / width, h / height)
    if factor >= 1:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    strips = [int(margin * factor * 0.8) for margin in (x, width - x - w, y, height - y - h)]
    ring = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour = np.median(ring, axis=0).astype(np.uint8)
    wide = _mirrored(small, left, width - size[0] - left, strips[0], strips[1], colour, axis=1)
    return _mirrored(wide, top, height - size[1] - top, strips[2], strips[3], colour, axis=0)


def text_band(
    pixels: np.ndarray, opacity: float, box: FloatBox, rng: np.random.Generator
) -> np.ndarray:
    """A filled band with a line of text across the whole photo, laid over it with ``opacity``."""
    return _overlaid(pixels, opacity, rng, filled=True)


def text_only(
    pixels: np.ndarray, opacity: float, box: FloatBox, rng: np.random.Generator
) -> np.ndarray:
    """The line of text alone, without the band: a watermark."""
    return _overlaid(pixels, opacity, rng, filled=False)


def _overlaid(
    pixels: np.ndarray, opacity: float, rng: np.random.Generator, *, filled: bool
) -> np.ndarray:
    height, width = pixels.shape[:2]
    tall = max(6, round(height * rng.uniform(0.09, 0.16)))
    top = round(rng.uniform(0.08, 0.92) * (height - tall))
    ground = _COLOURS[int(rng.integers(len(_COLOURS)))]
    ink = (0, 0, 0) if sum(ground) > 380 else (255, 255, 255)
    words = _WORDS[int(rng.integers(len(_WORDS)))]
    if not filled:
        ink = (255, 255, 255) if pixels[top : top + tall].mean() < 128 else (40, 40, 40)
    size = tall * 0.7
    font = ImageFont.load_default(size)
    size *= min(1.0, 0.94 * width / max(font.getlength(words), 1))
    font = ImageFont.load_default(max(4.0, size))
    image = Image.fromarray(pixels)
    layer = image.copy()
    draw = ImageDraw.Draw(layer)
    if filled:
        draw.rectangle((0, top, width, top + tall - 1), fill=ground)
    draw.text((width / 2, top + tall / 2), words, font=font, fill=ink, anchor="mm")
    return np.asarray(Image.blend(image, layer, opacity))


def _mirrored(
    pixels: np.ndarray,
    before: int,
    after: int,
    first: int,
    last: int,
    colour: np.ndarray,
    *,
    axis: int,
) -> np.ndarray:
    """``pixels`` longer by ``before`` and ``after`` along ``axis``: strips of ``first`` and
    ``last`` px mirrored."""
    rest = pixels.shape[1 - axis]
    if max(first, last) < 2:
        shapes = [(count, rest, 3) if axis == 0 else (rest, count, 3) for count in (before, after)]
        head, tail = (np.broadcast_to(colour, shape) for shape in shapes)
        return np.concatenate([head, pixels, tail], axis=axis)

    def places(count: int, strip: int) -> np.ndarray:
        steps = np.arange(count) % (2 * strip)
        return np.where(steps < strip, steps, 2 * strip - 1 - steps)

    end = pixels.shape[axis] - 1
    head_places = places(before, first) if first >= 2 else end - places(before, last)
    tail_places = end - places(after, last) if last >= 2 else places(after, first)
    return np.take(
        pixels, np.concatenate([head_places[::-1], np.arange(end + 1), tail_places]), axis=axis
    )


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


DEGRADATIONS = (
    Degradation("blur", "blurred", (1, 2, 3, 5, 8), blur),
    Degradation("jpeg", "jpeg-blocking", (60, 40, 25, 12, 5), jpeg),
    Degradation("noise", "noisy", (5, 10, 20, 35, 50), noise),
    Degradation("dark", "underexposed", (1.5, 2, 3, 4, 6), gamma),
    Degradation("bright", "overexposed", (1 / 1.5, 1 / 2, 1 / 3, 1 / 4, 1 / 6), gamma),
    Degradation("crop", "product-cut", (0.05, 0.1, 0.2, 0.3, 0.4), crop_side),
    Degradation("small", "product-too-small", (0.6, 0.45, 0.3, 0.2, 0.1), smaller),
    Degradation("text", "text-overlay", (0.2, 0.4, 0.6, 0.8, 1.0), text_band),
)


@dataclass(frozen=True)
class _Compression:
    """Encoded by another encoder at a quality, and decoded again."""

    way: str

    def __call__(
        self, pixels: np.ndarray, quality: float, box: FloatBox, rng: np.random.Generator
    ) -> np.ndarray:
        return np.asarray(recompressed(Image.fromarray(pixels), self.way, int(quality)))


@dataclass(frozen=True)
class _Watermark:
    """Words laid over the photo elsewhere than in a horizontal band, with an opacity."""

    way: str

    def __call__(
        self, pixels: np.ndarray, opacity: float, box: FloatBox, rng: np.random.Generator
    ) -> np.ndarray:
        return np.asarray(watermarked(Image.fromarray(pixels), self.way, opacity, rng))


# Beside the fixed recipe, for information: harder forms of two of them.
BESIDE = (
    Degradation("crop, any side", "product-cut", (0.05, 0.1, 0.2, 0.3, 0.4), crop_any_side),
    Degradation("text without band", "text-overlay", (0.2, 0.4, 0.6, 0.8, 1.0), text_only),
)
# What the two findings were not made for: they look for the grid of one encoder, and for bands.
HARDER = (
    *(
        Degradation(way, "jpeg-blocking", (60, 40, 25, 12, 5), _Compression(way))
        for way in COMPRESSIONS
    ),
    *(
        Degradation(way, "text-overlay", (0.2, 0.4, 0.6, 0.8, 1.0), _Watermark(way))
        for way in WATERMARKS
    ),
)
